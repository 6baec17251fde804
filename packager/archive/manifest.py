"""The manifest: what an archive holds, file by file. It travels inside the archive and lies beside it.

JSON, one entry a line; manifest.schema.json has the fields. Folders are listed when they are empty; the others follow
from their files.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import resources
from typing import Any, Literal

import jsonschema

from packager.archive.names import link_faults, name_fault, parents
from packager.errors import InputError

FORMAT = 1
Kind = Literal["file", "link", "directory"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Entry:
    """One file, link or empty folder. `path` is from the root, with forward slashes; `size` in bytes; `part` from 1."""

    path: str
    kind: Kind
    mode: int
    size: int = 0
    sha256: str = ""  # hex; files only
    target: str = ""  # links only
    part: int = 1

    def as_json(self) -> dict[str, Any]:
        value: dict[str, Any] = {"path": self.path, "kind": self.kind, "mode": f"{self.mode:04o}"}
        if self.kind == "file":
            value |= {"size": self.size, "sha256": self.sha256}
        elif self.kind == "link":
            value["target"] = self.target
        return value | {"part": self.part}


@dataclass(frozen=True, kw_only=True)
class Difference:
    """Paths by which two manifests differ, each sorted."""

    added: tuple[str, ...]
    removed: tuple[str, ...]
    changed: tuple[str, ...]

    def __bool__(self) -> bool:
        return bool(self.added or self.removed or self.changed)


@dataclass(frozen=True, kw_only=True)
class Manifest:
    """The entries of a tree, sorted by the UTF-8 bytes of their paths, and facts of the bundle the caller gave.

    `parts` are the file names of the zips if it comes in several; `packing` tells how a zip's members were packed.
    """

    bundle: Mapping[str, Any]
    entries: tuple[Entry, ...]
    parts: tuple[str, ...] = ()
    packing: str = ""

    @property
    def total_size(self) -> int:
        """Bytes of all files."""
        return sum(entry.size for entry in self.entries)

    @property
    def repeated(self) -> tuple[int, int]:
        """How many files have a content that one before them has, and the bytes of those."""
        files = [entry for entry in self.entries if entry.kind == "file"]
        distinct = {entry.sha256: entry.size for entry in files}
        return len(files) - len(distinct), sum(entry.size for entry in files) - sum(distinct.values())

    @property
    def longest_path(self) -> str:
        """The entry whose path has the most characters, the first of several; what a limit such as MAX_PATH meets."""
        return max((entry.path for entry in self.entries), key=len, default="")

    @property
    def links(self) -> dict[str, str]:
        return {entry.path: entry.target for entry in self.entries if entry.kind == "link"}

    def to_json(self) -> str:
        """The same text for the same manifest, with a final newline."""
        head = {
            "format": FORMAT,
            "bundle": dict(self.bundle),
            "total_size": self.total_size,
            "longest_path": self.longest_path,
        }
        if self.packing:
            head["packing"] = self.packing
        if self.parts:
            head["parts"] = list(self.parts)
        lines = ",\n".join(_dump(entry.as_json()) for entry in self.entries)
        return f'{_dump(head)[:-1]}, "entries": [\n{lines}\n]}}\n'

    def compare(self, other: Manifest) -> Difference:
        """What turns this manifest into `other`. The part an entry lies in does not count."""
        mine = {entry.path: _content(entry) for entry in self.entries}
        theirs = {entry.path: _content(entry) for entry in other.entries}
        return Difference(
            added=tuple(path for path in theirs if path not in mine),
            removed=tuple(path for path in mine if path not in theirs),
            changed=tuple(path for path in mine if path in theirs and mine[path] != theirs[path]),
        )


def sort_key(path: str) -> bytes:
    """The order of entries: bytewise, so that no locale can change it."""
    return path.encode(errors="surrogateescape")


def from_json(text: str, *, where: str) -> Manifest:
    """The manifest that `text` spells. `where` names the document in errors.

    Raises InputError if it is not a manifest of this format, or one that asks for something unsafe: names or links out
    of the root, one name twice, an entry below a file or link, entries out of order.
    """
    schema = json.loads(
        resources.files("packager.archive").joinpath("manifest.schema.json").read_text(encoding="utf-8")
    )
    try:
        value = json.loads(text)
        jsonschema.Draft202012Validator(schema).validate(value)
    except (ValueError, RecursionError) as error:
        raise InputError(f"it is not JSON: {error}", where=where, remedy=_REMEDY) from error
    except jsonschema.ValidationError as error:
        raise InputError(f"{error.json_path}: {error.message[:200]}", where=where, remedy=_REMEDY) from error
    entries = tuple(_entry(item) for item in value["entries"])
    manifest = Manifest(
        bundle=value["bundle"], entries=entries, parts=tuple(value.get("parts", ())), packing=value.get("packing", "")
    )
    if fault := entries_fault(entries):
        raise InputError(fault, where=where, remedy=_REMEDY)
    if (value["total_size"], value["longest_path"]) != (manifest.total_size, manifest.longest_path):
        raise InputError("total_size or longest_path does not agree with the entries", where=where, remedy=_REMEDY)
    if max((entry.part for entry in entries), default=1) > max(len(manifest.parts), 1):
        raise InputError("an entry lies in a part that is not listed", where=where, remedy=_REMEDY)
    return manifest


def entries_fault(entries: tuple[Entry, ...]) -> str | None:
    """What is wrong with the entries as a whole, or None."""
    kinds: dict[str, str] = {}
    previous = b""
    for entry in entries:
        if fault := name_fault(entry.path, windows=False):
            return f"{entry.path!r}: {fault}"
        if sort_key(entry.path) <= previous:
            return f"{entry.path}: listed twice or out of order"
        previous = sort_key(entry.path)
        kinds[entry.path] = entry.kind
    for path in kinds:
        for parent in parents(path):
            if parent in kinds:
                return f"{path}: lies below {parent}, which is a {kinds[parent]} (an empty one, if a directory)"
    for path, fault in link_faults({entry.path: entry.target for entry in entries if entry.kind == "link"}):
        return f"{path}: {fault}"
    return None


_REMEDY = "use the manifest that came with the archive, unchanged"


def _dump(value: Mapping[str, Any]) -> str:
    return json.dumps(value, ensure_ascii=False)


def _entry(item: Mapping[str, Any]) -> Entry:
    return Entry(**{**item, "mode": int(item["mode"], 8)})


def _content(entry: Entry) -> tuple[object, ...]:
    return entry.kind, entry.mode, entry.size, entry.sha256, entry.target
