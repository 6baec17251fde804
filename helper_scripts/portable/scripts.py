"""Console scripts that pip has just made: made to find their Python from where they lie, so that the bundle may move.

The build does the same, for more kinds of scripts; the lines written here are the same (script_header.txt), so a script
is left alone by the one after the other. Nothing is rewritten twice.
"""

from __future__ import annotations

import base64
import csv
import hashlib
import io
import os
import re
import shlex
import stat
import tempfile
from pathlib import Path

from portable.bundle import WINDOWS, site_packages_of

_HEADER = Path(__file__).absolute().with_name("script_header.txt")
_PYTHON = rb"(?P<python>pythonw?(?:3(?:\.\d+)?)?t?)"
_FLAGS = rb"(?P<flags>(?:[ \t]+-[\w=:.,+-]+)*)"
_PLAIN = re.compile(rb"#![ \t]*/(?:[^\n]*/)?" + _PYTHON + _FLAGS + rb"[ \t]*\n")
# Where the path holds a space or is too long for a shebang, pip's distlib (and uv, with
# single quotes) writes three lines instead of one.
_LONG = re.compile(
    rb"#!/bin/sh\n'''exec' [\"']?/(?:[^\n]*/)?" + _PYTHON + rb"[\"']?" + _FLAGS + rb"[ \t]+\"\$0\" \"\$@\"\n' '''\n"
)
_LAUNCHER = re.compile(rb"#![ \t]*\"?[^\r\n\"]*?(?P<python>pythonw?)\.exe\"?" + _FLAGS + rb"[ \t]*\r?\n", re.IGNORECASE)
_END_OF_ZIP = b"PK\5\6"


def make_relocatable(root: Path, *, windows: bool = WINDOWS) -> list[str]:
    """Rewrite the console scripts of the bundle in `root` that hold an absolute path; returns their names, sorted.

    RECORD gets the new hash and size. Files are replaced, never written through: they may be linked elsewhere.
    """
    changed = find_absolute(root, windows=windows)
    for path, content in changed.items():
        _replace(path, content)
    if changed:
        _update_records(site_packages_of(root, windows=windows), changed)
    return [path.name for path in changed]


def find_absolute(root: Path, *, windows: bool = WINDOWS) -> dict[Path, bytes]:
    """The console scripts that hold an absolute path and so fail after a move, each with what it should be."""
    folder = root / "python" / ("Scripts" if windows else "bin")
    found = {}
    for path in sorted(folder.glob("*")):
        if path.is_symlink() or not path.is_file() or (windows and path.suffix.lower() != ".exe"):
            continue
        if content := _rewrite(path, windows):
            found[path] = content
    return found


def _rewrite(path: Path, windows: bool) -> bytes | None:
    with path.open("rb") as stream:
        if stream.read(2) != (b"MZ" if windows else b"#!"):
            return None
        stream.seek(0)
        content = stream.read()
    return relocatable_launcher(content) if windows else relocatable_script(content)


def relocatable_script(content: bytes) -> bytes | None:
    """`content` with a first part that starts the Python beside it; None if it names no absolute Python.

    None as well for a script that would not compile any more: one with `from __future__` below a docstring.
    """
    found = _LONG.match(content) or _PLAIN.match(content)
    if not found:
        return None
    flags = "".join(f" {shlex.quote(flag)}" for flag in found["flags"].decode().split())
    header = _HEADER.read_text(encoding="utf-8").replace("@PYTHON@", found["python"].decode()).replace("@FLAGS@", flags)
    made = b"#!/bin/sh\n" + header.encode() + content[found.end() :]
    try:
        compile(made, "script", "exec", dont_inherit=True)
    except (SyntaxError, ValueError):
        return None
    return made


def relocatable_launcher(content: bytes) -> bytes | None:
    r"""A launcher of pip (stub, `#!` line, zip) that starts `..\python.exe`; None if it is none, or does so already.

    The stub replaces `<launcher_dir>` by its own folder (distlib's documentation, "relative shebangs").
    """
    end = content.rfind(_END_OF_ZIP)
    if end < 0 or end + 22 > len(content):
        return None
    size = int.from_bytes(content[end + 12 : end + 16], "little")
    offset = int.from_bytes(content[end + 16 : end + 20], "little")
    start = end - size - offset  # offsets count from the zip's own first byte
    line_start = content.rfind(b"#!", 0, max(start, 0))
    if line_start < 0 or content[start : start + 4] != b"PK\3\4":
        return None
    found = _LAUNCHER.fullmatch(content[line_start:start])
    if not found:
        return None
    line = b"#!<launcher_dir>\\..\\" + found["python"].lower() + b".exe" + found["flags"] + b"\r\n"
    made = content[:line_start] + line + content[start:]
    return None if made == content else made


def _replace(path: Path, content: bytes) -> None:
    """Put `content` at `path` with the mode it had, in one step."""
    mode = stat.S_IMODE(path.stat().st_mode)
    descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=".portable.")
    temporary = Path(name)
    try:
        with os.fdopen(descriptor, "wb") as stream:
            stream.write(content)
        temporary.chmod(mode)
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def _update_records(site_packages: Path, changed: dict[Path, bytes]) -> None:
    """State the new hash and size wherever a RECORD (PEP 376) lists one of the `changed` files."""
    for record in sorted(site_packages.glob("*.dist-info/RECORD")):
        text = record.read_bytes().decode("utf-8", "surrogateescape")
        rows = list(csv.reader(io.StringIO(text, newline="")))
        hit = False
        for row in rows:
            place = Path(os.path.normpath(site_packages / row[0])) if len(row) == 3 else None
            if place in changed and row[1]:
                digest = base64.urlsafe_b64encode(hashlib.sha256(changed[place]).digest()).rstrip(b"=").decode()
                row[1:] = [f"sha256={digest}", str(len(changed[place]))]
                hit = True
        if hit:
            stream = io.StringIO(newline="")
            csv.writer(stream, lineterminator="\r\n" if "\r\n" in text else "\n").writerows(rows)
            _replace(record, stream.getvalue().encode("utf-8", "surrogateescape"))
