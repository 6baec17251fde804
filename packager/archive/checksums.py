"""SHA256SUMS as coreutils' `sha256sum` writes and checks it: `hex`, two spaces, name, one line a file."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

from packager.errors import InputError
from packager.filesystem import sha256_file, write_atomic

NAME = "SHA256SUMS"
_LINE = re.compile(r"([0-9a-f]{64}) [ *]([^/\\\x00-\x1f\x7f]+)")


def read_checksums(path: Path) -> dict[str, str]:
    """Name -> hex sha256. Raises InputError for a line that is not a checksum of a file in the same folder."""
    sums: dict[str, str] = {}
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except ValueError as error:
        raise InputError("it is not text in UTF-8", where=str(path), remedy=f"delete {path.name}") from error
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


def verify_checksums(path: Path) -> tuple[str, ...]:
    """The names listed in `path` whose file, beside it, is missing or has another hash."""
    folder = path.parent
    return tuple(
        name
        for name, expected in read_checksums(path).items()
        if not (folder / name).is_file() or sha256_file(folder / name) != expected
    )
