"""SHA256SUMS as coreutils' `sha256sum` writes and checks it: `hex`, two spaces, name, one line a file."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from pathlib import Path

from packager.errors import InputError
from packager.filesystem import sha256_file, write_atomic

NAME = "SHA256SUMS"
_PLAIN = r"[^/\\\x00-\x1f\x7f]+"
_LINE = re.compile(rf"([0-9a-f]{{64}}) [ *]({_PLAIN})")


def checksum_name_fault(name: str) -> str | None:
    """Why a file of this name can have no line in SHA256SUMS, or None."""
    if not re.fullmatch(_PLAIN, name):
        return "its name has a control character"
    try:
        name.encode()
    except UnicodeEncodeError:
        return "its name is not UTF-8"
    return None


def read_checksums(path: Path) -> dict[str, str]:
    """Name -> hex sha256. Raises InputError for a line that is not a checksum of a file in the same folder."""
    sums: dict[str, str] = {}
    try:
        # not splitlines(): U+2028 and its like may be in a name
        lines = path.read_text(encoding="utf-8").split("\n")
    except ValueError as error:
        raise InputError("it is not text in UTF-8", where=str(path), remedy=f"delete {path.name}") from error
    if not lines[-1]:
        lines.pop()
    for number, line in enumerate(lines, 1):
        found = _LINE.fullmatch(line)
        if not found:
            raise InputError(
                "it is not a checksum line (64 hex digits, two spaces, a file name)",
                where=f"{path}:{number}",
                remedy=f"correct the line, or delete {path.name} to have it written anew",
            )
        sums[found[2]] = found[1]
    return sums


def update_checksums(folder: Path, sums: Mapping[str, str]) -> Path:
    """Put `sums` (file name -> hex sha256) into the folder's SHA256SUMS, sorted by name, and return its path.

    Lines of other files stay while those files are there. Written atomically.
    """
    path = folder / NAME
    listed = read_checksums(path) if path.exists() else {}
    merged = {name: value for name, value in listed.items() if (folder / name).is_file()} | dict(sums)
    lines = [f"{merged[name]}  {name}\n" for name in sorted(merged, key=str.encode)]
    write_atomic(path, "".join(lines).encode(), mode=0o644)
    return path


def are_confirmed(paths: Iterable[Path]) -> bool:
    """Whether SHA256SUMS beside each of `paths` lists it with the hash it has. Raises InputError as read_checksums."""
    return all(_listed(path) == sha256_file(path) for path in paths)


def mismatches(paths: Iterable[Path]) -> tuple[str, ...]:
    """The names of those of `paths` that the SHA256SUMS beside them lists with another hash than they have.

    What is not listed, or has no SHA256SUMS beside it, passes. Raises InputError as read_checksums.
    """
    listed = ((path, _listed(path)) for path in paths)
    return tuple(path.name for path, sha256 in listed if sha256 and sha256 != sha256_file(path))


def _listed(path: Path) -> str | None:
    sums = path.with_name(NAME)
    return read_checksums(sums).get(path.name) if sums.is_file() else None
