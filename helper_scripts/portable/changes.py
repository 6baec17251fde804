"""What a transaction changes: a plan before it is carried out, a record of it afterwards.

A change is about one place in the bundle: a file, a link or a whole folder, named by its path from the root with
forward slashes. It is put there (from a place on the same disk), or taken away.
"""

from __future__ import annotations

import hashlib
import json
import os
import stat
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any, Literal

from portable.bundle import WINDOWS
from portable.errors import HelperError

FORMAT = 1
STATE = "portable/state"
_BLOCK = 1024 * 1024
_NOT_LISTED = {".git", "__pycache__"}  # of a folder that was put: what changes by itself
Kind = Literal["file", "link", "directory"]


@dataclass(frozen=True, kw_only=True)
class Change:
    """`source` is what will be moved to `path`; None: what is at `path` goes away."""

    path: str
    source: Path | None = None


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What to change. `summary` is one line for people, `details` whatever the caller wants to find in the record."""

    summary: str
    changes: tuple[Change, ...] = ()
    details: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Content:
    """What is at a place: `digest` is the hex sha256 of a file's content or a link's target; `size` in bytes.

    `files` are those in a folder, by path from it, each with its sha256.
    """

    kind: Kind
    size: int = 0
    digest: str = ""
    files: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Recorded:
    """A change as it was carried out. The old content is `old/NUMBER` of the transaction's folder.

    `before` is the kind of what was there, `after` what was put there; None: nothing.
    """

    number: int
    path: str
    before: Kind | None
    after: Content | None


@dataclass(frozen=True, kw_only=True)
class Record:
    """A transaction: `id` counts from 1, `created` is in seconds since 1970, `kind` such as "install".

    `nodes` is what each custom node was at before (node_state.read_nodes). `created_folders` were not there before.
    """

    id: int
    kind: str
    command: tuple[str, ...]
    created: float
    summary: str
    changes: tuple[Recorded, ...]
    created_folders: tuple[str, ...]
    details: Mapping[str, Any]
    nodes: Mapping[str, str]

    def to_json(self) -> dict[str, Any]:
        changes = [
            {**vars(change), "after": None if change.after is None else vars(change.after)} for change in self.changes
        ]
        return {"format": FORMAT, **vars(self), "changes": changes}

    @classmethod
    def load(cls, path: Path) -> Record:
        """The record at `path`. Raises HelperError if it cannot be read, or names a place outside the bundle."""
        try:
            value: Any = json.loads(path.read_text(encoding="utf-8"))
            if value.pop("format") != FORMAT:
                raise HelperError(f"{path} has another format than these helpers read.")
            changes = tuple(
                Recorded(**{**item, "after": None if item["after"] is None else Content(**item["after"])})
                for item in value.pop("changes")
            )
            for name in ("command", "created_folders"):
                value[name] = tuple(value[name])
            record = cls(changes=changes, **value)
        except (OSError, ValueError, LookupError, TypeError, AttributeError) as error:
            raise HelperError(f"{path} cannot be read: {error}") from error
        for place in (*(change.path for change in changes), *record.created_folders):
            check_path(place)
        return record


def check_path(path: str) -> None:
    """Raise HelperError unless `path` may be changed: inside the bundle by its words, and not in portable/state."""
    name = PurePosixPath(path)
    if not path or name.is_absolute() or ".." in name.parts or str(name) != path or (WINDOWS and ":" in path):
        raise HelperError(f"{path!r} is no path inside the bundle: nothing was changed.")
    if path == STATE or path.startswith(f"{STATE}/") or path in (".", "portable"):
        raise HelperError(f"{path!r} belongs to the helpers themselves: nothing was changed.")


def check_place(root: Path, path: str) -> None:
    """As `check_path`, and no link on the way to `path` may lead out of the bundle in `root`."""
    check_path(path)
    parent = os.path.realpath((root / path).parent)
    real = os.path.realpath(root)
    if parent != real and not parent.startswith(real.rstrip(os.sep) + os.sep):
        raise HelperError(f"{root / path} lies outside the bundle, behind a link: it is left alone.")


def kind_of(path: Path) -> Kind | None:
    """What is at `path`, links not followed; None if nothing is."""
    try:
        mode = path.lstat().st_mode
    except (FileNotFoundError, NotADirectoryError):
        return None
    return "link" if stat.S_ISLNK(mode) else "directory" if stat.S_ISDIR(mode) else "file"


def content_of(path: Path) -> Content | None:
    """What is at `path`, read in full; None if nothing is."""
    kind = kind_of(path)
    if kind is None:
        return None
    if kind == "link":
        return Content(kind=kind, digest=hashlib.sha256(os.fsencode(path.readlink())).hexdigest())
    if kind == "file":
        return Content(kind=kind, size=path.stat().st_size, digest=sha256_of(path))
    files = {file.relative_to(path).as_posix(): sha256_of(file) for file in files_below(path)}
    size = sum((path / name).stat().st_size for name in files)
    return Content(kind=kind, size=size, digest=digest_of_files(files), files=files)


def files_below(folder: Path) -> Iterator[Path]:
    """The files in `folder`, sorted; without .git and bytecode; links are neither listed nor followed."""
    for entry in sorted(folder.iterdir()):
        if entry.is_symlink() or entry.name in _NOT_LISTED:
            continue
        if entry.is_dir():
            yield from files_below(entry)
        elif entry.is_file():
            yield entry


def digest_of_files(files: Mapping[str, str]) -> str:
    """One hex sha256 of names and digests, whatever their order."""
    lines = "".join(f"{digest}  {name}\n" for name, digest in sorted(files.items()))
    return hashlib.sha256(lines.encode("utf-8", "surrogateescape")).hexdigest()


def sha256_of(path: Path) -> str:
    """Hex sha256 of a file's content."""
    digest = hashlib.sha256()
    with path.open("rb") as stream:
        while block := stream.read(_BLOCK):
            digest.update(block)
    return digest.hexdigest()
