"""POSIX console scripts that find their Python from where they lie.

A shebang holds an absolute path, may not hold a space, and is cut after 127 bytes (Linux) or 512 (macOS). So line 1
becomes `#!/bin/sh`, followed by lines that are a shell program to sh and a string to Python.
"""

from __future__ import annotations

import functools
import re
import shlex
from dataclasses import dataclass

from packager import resources
from packager.errors import InputError
from packager.relocation.prologue import keep_prologue

_SH = b"#!/bin/sh\n"
_PYTHON = rb"pythonw?(?:3(?:\.\d+)?)?t?"
_PLAIN = re.compile(rb"#![ \t]*\"?(?:/.*?/)?" + _PYTHON + rb"\"?(?P<flags>[ \t]+-.*?)?[ \t]*\r?")
_ENV = re.compile(rb"#![ \t]*/usr/bin/env[ \t]+(?:-S[ \t]*)?" + _PYTHON + rb"(?P<flags>[ \t]+-.*?)?[ \t]*\r?")
_WINDOWS = re.compile(rb"#!\s*\"?(?:.*[\\/])?pythonw?(?:\.exe)?\"?(?:\s.*)?", re.IGNORECASE)
# pip and distlib (path bare or in double quotes), uv (in shell quotes, or relative with dirname and realpath), mamba
# (closes the string at the end of the line).
_LONG = re.compile(
    rb"'''exec' (?P<python>.+?)(?P<flags>(?:[ \t]+-[\w=:.,+-]+(?:[ \t]+[\w=:.,+][\w=:.,+-]*)?)*)"
    rb"[ \t]+\"\$0\"[ \t]+\"\$@\"(?P<closed>[ \t]*#''')?[ \t]*\r?"
)
_LONG_PYTHON = re.compile(rb".*(?:^|/)[\"']*" + _PYTHON + rb"[\"']?")
_MAX_LINE = 4608  # bytes: PATH_MAX and room for flags; a longer first line starts nothing
_COOKIE = re.compile(rb"[ \t\f]*#.*?coding[:=][ \t]*[-\w.]+")  # PEP 263
# The bundle's own installer writes the same start. It is POSIX sh, also for bash 3.2 (macOS): patterns of `case` need
# their opening parenthesis inside $( ). Everything happens in the substitution, so that no variable of the user's
# environment changes. `cd -P` matters: without it a script reached through a linked folder would start a Python that
# looks for its library beside the link. No realpath, which macOS lacks before 13; no backslash and no triple quote,
# since Python reads this as a plain string.
_TEMPLATE = resources.helper_scripts() / "portable" / "script_header.txt"
_SAFE_FLAGS = re.compile(r"[\w=:.,+/@%-]+", re.ASCII)
_SAFE_PYTHON = re.compile(r"[\w.+-]+(?:/[\w.+-]+)*", re.ASCII)


@dataclass(frozen=True, kw_only=True)
class Shebang:
    """How a script names its Python: the interpreter's flags, and the number of bytes that say so."""

    flags: tuple[str, ...]
    size: int


def read_shebang(content: bytes) -> Shebang | None:
    """What starts `content`, if that is a Python 3 or a Python of no stated version; None for anything else."""
    if not content.startswith(b"#!"):
        return None
    first, _, rest = content.partition(b"\n")
    if len(first) > _MAX_LINE:
        return None
    if first.rstrip() == b"#!/bin/sh":
        return _read_long(len(first) + 1, rest)
    found = _ENV.fullmatch(first) or _PLAIN.fullmatch(first)
    return Shebang(flags=_split_flags(found["flags"]), size=len(first) + 1) if found else None


def relocatable_script(content: bytes, *, python: str = "python") -> bytes | None:
    """`content` with a start that finds its interpreter, or None where nothing is to change.

    `python` is the interpreter's path from the folder the script lies in. Left alone: what is not started by Python,
    and what already has this start. The interpreter's flags, the encoding line (PEP 263), the docstring and the place
    of `from __future__` imports are kept. Raises InputError for flags which cannot be carried over.
    """
    if not _SAFE_PYTHON.fullmatch(python):
        raise ValueError(f"not a path from a script to its interpreter: {python!r}")
    own = _own_start().match(content)
    if own:
        if own["python"] == python.encode():
            return None
        shebang = Shebang(flags=_split_flags(own["flags"]), size=0)
        cookie, body = _split_cookie(content[len(_SH) :])
        body = body[own.end() - len(_SH) - len(cookie) :]
        return _SH + cookie + _header(python, shebang.flags) + body
    found = read_shebang(content)
    if found is None:
        return None
    cookie, body = _split_cookie(content[found.size :])
    return _SH + cookie + _header(python, found.flags) + keep_prologue(cookie, body)


def without_shebang(content: bytes) -> bytes | None:
    """`content` without the line that names its Python, or None if there is none: for a launcher's `x-script.py`."""
    found = read_shebang(content) or _read_windows_shebang(content)
    return content[found.size :] if found else None


@functools.cache
def _template() -> str:
    return _TEMPLATE.read_text(encoding="utf-8")


@functools.cache
def _own_start() -> re.Pattern[bytes]:
    """What a script starts with that was rewritten before, encoding line included."""
    header = re.escape(_template().encode())
    header = header.replace(b"@PYTHON@", rb"(?P<python>[^\n\"$`]+)").replace(b"@FLAGS@", rb"(?P<flags>(?: [^\n]+?)?)")
    return re.compile(re.escape(_SH) + rb"(?:[ \t\f]*#[^\n]*\n)?" + header)


def _header(python: str, flags: tuple[str, ...]) -> bytes:
    words = "".join(f" {shlex.quote(flag)}" for flag in flags)
    return _template().replace("@PYTHON@", python).replace("@FLAGS@", words).encode()


def _read_long(start: int, rest: bytes) -> Shebang | None:
    line, _, after = rest.partition(b"\n")
    found = _LONG.fullmatch(line) if len(line) <= _MAX_LINE else None
    if not found or not _LONG_PYTHON.fullmatch(found["python"]):
        return None
    size = start + len(line) + 1
    if not found["closed"]:
        closing, _, _ = after.partition(b"\n")
        if closing.rstrip() != b"' '''":
            return None
        size += len(closing) + 1
    return Shebang(flags=_split_flags(found["flags"]), size=size)


def _read_windows_shebang(content: bytes) -> Shebang | None:
    first, _, _ = content.partition(b"\n")
    found = _WINDOWS.fullmatch(first) if len(first) <= _MAX_LINE else None
    return Shebang(flags=(), size=len(first) + 1) if found else None


def _split_flags(flags: bytes | None) -> tuple[str, ...]:
    """The words of a shebang after the interpreter. The kernel would pass them as one; their authors meant several."""
    words = tuple((flags or b"").decode("utf-8", "surrogateescape").split())
    for word in words:
        if not _SAFE_FLAGS.fullmatch(word):
            raise InputError(
                f"its first line passes {word!r} to Python, which cannot be carried over",
                remedy="use plain options such as -s or -X utf8 in the script's first line",
            )
    return words


def _split_cookie(body: bytes) -> tuple[bytes, bytes]:
    """The encoding line (with its newline, or empty) and the rest: Python looks for it on lines 1 and 2 alone."""
    line, newline, rest = body.partition(b"\n")
    if newline and _COOKIE.match(line):
        return line.rstrip(b"\r") + b"\n", rest
    return b"", body
