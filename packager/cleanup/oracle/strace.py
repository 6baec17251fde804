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
    folders = [os.fsencode(cwd), *{_unescaped(match[1]) for match in _FCHDIR.finditer(content)}]
    names: set[tuple[bytes, bytes]] = set()
    for call, at, name, rest in (match.groups(b"") for match in _CALL.finditer(content)):
        if call == b"chdir":
            folders += {_join(folder, _unescaped(name)) for folder in folders} - {*folders}
        if name and b"O_DIRECTORY" not in rest:
            names.add((at, name))
    seen: set[bytes] = set()
    for at, name in names:
        path = _unescaped(name)
        starts = [b"/"] if path.startswith(b"/") else [_unescaped(at)] if at else folders
        seen |= {_join(start, path) for start in starts}
    yield from (path.decode("utf-8", "surrogateescape") for path in seen if path.startswith(b"/"))


def _join(folder: bytes, name: bytes) -> bytes:
    return os.path.normpath(os.path.join(folder, name))  # noqa: PTH118 -- bytes


def _unescaped(text: bytes) -> bytes:
    return codecs.escape_decode(text)[0] if b"\\" in text else text
