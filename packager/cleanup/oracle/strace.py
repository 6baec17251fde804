"""strace, where the machine has it and lets it work: it sees what C code looks for, which no audit event tells."""

from __future__ import annotations

import codecs
import functools
import os
import re
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

from packager import process

# `1234 openat(AT_FDCWD</cwd>, "/a/b\303\251", O_RDONLY|O_CLOEXEC) = 3`; names are whole with -s, escaped as in C. -y
# tells what a descriptor stands for, of AT_FDCWD in newer versions alone.
_TEXT = rb'((?:[^"\\]|\\.)*)'
_CALL = re.compile(rb'(\w+)\((?:[A-Z_0-9]+(?:<([^>\n]*)>)?(?:\(deleted\))?, )?"' + _TEXT + rb'"([^\n]*)')
_FCHDIR = re.compile(rb"\bfchdir\(\d+<([^>\n]*)>")
_WORDS = ("strace", "-f", "-y", "-qq", "-s", "4096", "-e", "trace=%file,fchdir", "-e", "signal=none")


@functools.cache
def strace_words() -> tuple[str, ...]:
    """The words before a command that trace it, then `-o FILE`; none where strace is missing or forbidden."""
    if not sys.platform.startswith("linux") or shutil.which("strace") is None:
        return ()
    for words in ((_WORDS[0], "--seccomp-bpf", *_WORDS[1:]), _WORDS):  # strace 5.3: stops at the traced calls alone
        if process.run([*words, "-o", "/dev/null", "true"], check=False, timeout=20).returncode == 0:
            return words
    return ()


def seen_by_strace(output: Path, cwd: Path) -> Iterator[str]:
    """Absolute paths that the traced program, started in `cwd`, opened or looked for, there or not; folders it opened
    as such left out. A name relative to a working folder is taken to be in each that any of its processes had: which
    one had which at the time is not followed.
    """
    try:
        content = output.read_bytes()
    except OSError:
        return
    calls = {match.groups() for match in _CALL.finditer(content)}
    folders = _working_folders(content, os.fsencode(cwd))
    seen: set[bytes] = set()
    for _, at, name, rest in calls:
        if not name or b"O_DIRECTORY" in rest:
            continue
        path = _unescaped(name)
        starts = [b""] if path.startswith(b"/") else folders if at is None else [_unescaped(at)]
        seen |= {os.path.join(start, path) for start in starts}  # noqa: PTH118 -- bytes
    yield from (path.decode("utf-8", "surrogateescape") for path in seen if path.startswith(b"/"))


def _working_folders(content: bytes, start: bytes) -> list[bytes]:
    folders = [start, *(_unescaped(match[1]) for match in _FCHDIR.finditer(content))]
    for match in _CALL.finditer(content):
        if match[1] == b"chdir":
            name = _unescaped(match[3])
            entered = {os.path.normpath(os.path.join(folder, name)) for folder in folders}  # noqa: PTH118 -- bytes
            folders += entered - {*folders}
    return folders


def _unescaped(text: bytes) -> bytes:
    return codecs.escape_decode(text)[0] if b"\\" in text else text
