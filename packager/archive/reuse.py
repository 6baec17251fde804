"""Packed members of an earlier zip, by what they hold, so that a new zip can take them over as they are.

The bytes of a member depend on its content and on how it was packed alone; where both are the same, so is the copy. The
earlier zip is believed only if SHA256SUMS beside it lists the hash it still has, and it is held open from that hash to
the last copy.
"""

from __future__ import annotations

import json
import os
import struct
import zipfile
from collections.abc import Iterable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

from packager.archive.checksums import NAME, read_checksums
from packager.archive.zip_members import PlacedMember, read_members
from packager.console import Console
from packager.errors import InputError
from packager.filesystem import sha256_file, sha256_stream
from packager.parts import find_parts, manifest_path

_NOT_OURS = (
    zipfile.BadZipFile,
    struct.error,
    NotImplementedError,
    ValueError,
    KeyError,
    TypeError,
    AttributeError,
    RecursionError,
)


@dataclass(frozen=True, kw_only=True)
class Earlier:
    """One packed member of the zip `source`."""

    source: BinaryIO
    member: PlacedMember


@dataclass(frozen=True, kw_only=True)
class Reusable:
    """`members` by the hex sha256 of what they hold; `marks` are size and time of the zips they lie in."""

    members: Mapping[str, Earlier] = field(default_factory=dict)
    marks: tuple[tuple[BinaryIO, tuple[int, int]], ...] = ()

    def check_unchanged(self) -> None:
        """Raise InputError if a zip was written to since it was hashed."""
        for stream, mark in self.marks:
            if _mark(stream) != mark:
                raise InputError(
                    "it changed while members of it were copied",
                    where=stream.name,
                    remedy="let nothing write to it, and run again",
                )


def find_earlier(archive: Path, packing: str, console: Console, opened: ExitStack) -> Reusable:
    """What lies packed in the zip `archive` or, if that is a part, in all of its set. `opened` holds them open.

    Empty, with a warning that tells why, if the zip is not whole, or was packed otherwise than `packing` says. Raises
    InputError if there is no such file, or a part or the manifest beside it is missing.
    """
    parts = find_parts(archive)
    beside = manifest_path(archive)
    for path in (*parts, beside):
        if not path.is_file():
            raise InputError("there is no such file", where=str(path), remedy="give a zip with its manifest beside it")
    streams: list[BinaryIO] = [opened.enter_context(part.open("rb")) for part in parts]
    marks = tuple((stream, _mark(stream)) for stream in streams)
    sums = archive.with_name(NAME)
    listed = read_checksums(sums) if sums.is_file() else {}
    hashes = {part.name: sha256_stream(stream) for part, stream in zip(parts, streams, strict=True)}
    hashes[beside.name] = sha256_file(beside)
    if wrong := [name for name, sha256 in hashes.items() if listed.get(name) != sha256]:
        console.warn(f"{sums} does not confirm {', '.join(wrong)}: everything is packed anew")
        return Reusable()
    try:
        said = _read(beside)
        if said.parts != tuple(part.name for part in parts if len(parts) > 1):
            console.warn(f"{beside} is not that of {archive.name}, but of a later one: everything is packed anew")
            return Reusable()
        if said.packing != packing:
            console.warn(f"{archive} was packed by '{said.packing}', now it is '{packing}': everything is packed anew")
            return Reusable()
        return Reusable(members=_by_content(said, streams), marks=marks)
    except _NOT_OURS as error:
        console.warn(f"{archive} or its manifest is none of ours ({error}): everything is packed anew")
        return Reusable()


@dataclass(frozen=True, kw_only=True)
class _Said:
    """What a manifest says: `contents` is the size and hex sha256 of each file by its path."""

    packing: str
    parts: tuple[str, ...]
    contents: Mapping[str, tuple[int, str]]


def _read(beside: Path) -> _Said:
    """Read without the schema, which takes longer than the hashes of a large tree: names and links are not acted on."""
    value = json.loads(beside.read_text(encoding="utf-8"))
    files = (entry for entry in value["entries"] if entry["kind"] == "file")
    return _Said(
        packing=value.get("packing", ""),
        parts=tuple(value.get("parts", ())),
        contents={entry["path"]: (entry["size"], entry["sha256"]) for entry in files},
    )


def _by_content(said: _Said, streams: Iterable[BinaryIO]) -> dict[str, Earlier]:
    members = {
        member.path: Earlier(source=stream, member=member) for stream in streams for member in read_members(stream)
    }
    if not said.contents.keys() <= members.keys():
        members = {path.partition("/")[2]: earlier for path, earlier in members.items()}
    return {
        sha256: members[path]
        for path, (size, sha256) in said.contents.items()
        if path in members and members[path].member.size == size
    }


def _mark(stream: BinaryIO) -> tuple[int, int]:
    status = os.fstat(stream.fileno())
    return status.st_size, status.st_mtime_ns
