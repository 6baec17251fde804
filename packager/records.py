"""RECORD: which distribution owns a file, and the hash and size it states. Sources: PEP 376, PEP 427, PEP 627."""

from __future__ import annotations

import base64
import csv
import hashlib
import io
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from packager.errors import InputError

Row = tuple[str, str, str]  # path, "sha256=...", size in bytes; the last two may be empty


@dataclass(frozen=True, kw_only=True)
class FileState:
    """What RECORD says of one file after a change. `digest` is hex sha256, `size` is in bytes."""

    digest: str
    size: int


@dataclass(frozen=True, kw_only=True)
class Record:
    """A RECORD file. `owned` maps each file's place in the tree to its row; rows that lead out of it are left out."""

    path: Path
    newline: str
    rows: tuple[Row, ...]
    owned: Mapping[Path, int]

    @property
    def distribution(self) -> str:
        """Name and version, as in the folder's name."""
        return self.path.parent.name.removesuffix(".dist-info")


def read_record(path: Path, root: Path) -> Record:
    """The RECORD at `path` of a tree at `root`. Raises InputError for one that cannot be read."""
    try:
        text = path.read_bytes().decode()
        rows = [_row(fields) for fields in csv.reader(io.StringIO(text, newline="")) if fields]
    except (UnicodeDecodeError, csv.Error, ValueError) as error:
        raise InputError(
            f"is no list of installed files: {error}", where=str(path), remedy="install the distribution anew"
        ) from None
    base = path.parent.parent
    owned = {}
    for index, (name, _, _) in enumerate(rows):
        place = Path(os.path.normpath(base / name.replace("\\", "/")))
        if place.is_relative_to(root):
            owned[place] = index
    return Record(path=path, newline="\r\n" if "\r\n" in text else "\n", rows=tuple(rows), owned=owned)


def changed_record(record: Record, *, changed: Mapping[Path, FileState], removed: Iterable[Path]) -> bytes | None:
    """The content of `record` after the changes, None if none concerns it. Keys are absolute places in the tree.

    A row without a hash stays without. An absolute path into the tree becomes relative to site-packages.
    """
    rows: dict[int, Row] = dict(enumerate(record.rows))
    for place, state in changed.items():
        index = record.owned.get(place)
        if index is not None and rows[index][1]:
            rows[index] = (rows[index][0], record_digest(state.digest), str(state.size))
    for place in removed:
        rows.pop(record.owned.get(place, -1), None)
    base = record.path.parent.parent
    for place, index in record.owned.items():
        if index in rows and Path(rows[index][0]).is_absolute():
            rows[index] = (Path(os.path.relpath(place, base)).as_posix(), *rows[index][1:])
    if tuple(rows.values()) == record.rows:
        return None
    stream = io.StringIO(newline="")
    csv.writer(stream, lineterminator=record.newline).writerows(rows.values())
    return stream.getvalue().encode()


def record_digest(digest: str) -> str:
    """Hex sha256 as RECORD writes it: URL-safe base64 without padding (PEP 427)."""
    return "sha256=" + base64.urlsafe_b64encode(bytes.fromhex(digest)).rstrip(b"=").decode()


def state_of(content: bytes) -> FileState:
    return FileState(digest=hashlib.sha256(content).hexdigest(), size=len(content))


def _row(fields: list[str]) -> Row:
    if len(fields) > 3 or "\0" in fields[0]:
        raise ValueError(f"line {','.join(fields)[:80]!r}")
    path, digest, size = [*fields, "", ""][:3]
    return path, digest, size
