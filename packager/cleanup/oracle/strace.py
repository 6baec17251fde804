"""strace, where the machine has it and lets it work: it sees what C code looks for, which no audit event tells."""

from __future__ import annotations

import codecs
import functools
import re
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

from packager import process

# `1234 openat(AT_FDCWD, "/a/b\303\251", O_RDONLY|O_CLOEXEC) = 3`; names are whole with -s, escaped as in C.
_CALL = re.compile(rb'(\w+)\((?:[A-Z_0-9]+, )?"((?:[^"\\]|\\.)*)"([^\n]*)')
_WORDS = ("strace", "-f", "-qq", "-s", "4096", "-e", "trace=%file", "-e", "signal=none")


@functools.cache
def strace_words() -> tuple[str, ...]:
    """The words before a command that trace it, then `-o FILE`; none where strace is missing or forbidden."""
    if not sys.platform.startswith("linux") or shutil.which("strace") is None:
        return ()
    for words in ((_WORDS[0], "--seccomp-bpf", *_WORDS[1:]), _WORDS):  # strace 5.3: stops at the traced calls alone
        if process.run([*words, "-o", "/dev/null", "true"], check=False, timeout=20).returncode == 0:
            return words
    return ()


def seen_by_strace(output: Path) -> Iterator[str]:
    """Absolute paths that the traced program opened or looked for, there or not; folders it opened as such left out."""
    try:
        content = output.read_bytes()
    except OSError:
        return
    seen: set[bytes] = set()
    for match in _CALL.finditer(content):
        name = match[2]
        if name.startswith(b"/") and b"O_DIRECTORY" not in match[3] and name not in seen:
            seen.add(name)
            yield codecs.escape_decode(name)[0].decode("utf-8", "surrogateescape") if b"\\" in name else name.decode()
