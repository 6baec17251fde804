"""Packed members of an earlier zip, by what they hold, so that a new zip can take them over as they are.

The bytes of a member depend on its content and on how it was packed alone; where both are the same, so is the copy. The
earlier zip is believed only if SHA256SUMS beside it lists the hash it still has.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from packager.archive.checksums import NAME, read_checksums
from packager.archive.zip_members import PlacedMember, read_members
from packager.console import Console
from packager.errors import InputError
from packager.filesystem import sha256_file
from packager.parts import find_parts, manifest_path


@dataclass(frozen=True, kw_only=True)
class Earlier:
    """One packed member of the zip `archive`."""

    archive: Path
    member: PlacedMember


def find_earlier(archive: Path, packing: str, console: Console) -> dict[str, Earlier]:
    """Hex sha256 of a content -> where it lies packed in the zip `archive` or, if that is a part, in all of its set.

    Empty, with a warning that tells why, if the zip is not whole, or was packed otherwise than `packing` says. Raises
    InputError if there is no such file, or a part or the manifest beside it is missing.
    """
    parts = find_parts(archive)
    beside = manifest_path(archive)
    for path in (*parts, beside):
        if not path.is_file():
            raise InputError("there is no such file", where=str(path), remedy="give a zip with its manifest beside it")
    sums = archive.with_name(NAME)
    listed = read_checksums(sums) if sums.is_file() else {}
    if wrong := [path.name for path in (*parts, beside) if listed.get(path.name) != sha256_file(path)]:
        console.warn(f"{sums} does not confirm {', '.join(wrong)}: everything is packed anew")
        return {}
    try:
        said, contents = _read(beside)
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        console.warn(f"{beside} is no manifest ({error}): everything is packed anew")
        return {}
    if said != packing:
        console.warn(f"{archive} was packed by '{said}', now it is '{packing}': everything is packed anew")
        return {}
    members = {member.path: Earlier(archive=part, member=member) for part in parts for member in read_members(part)}
    if not contents.keys() <= members.keys():
        members = {path.partition("/")[2]: earlier for path, earlier in members.items()}
    return {
        sha256: members[path]
        for path, (size, sha256) in contents.items()
        if path in members and members[path].member.size == size
    }


def _read(beside: Path) -> tuple[str, dict[str, tuple[int, str]]]:
    """What the manifest says of packing, and of each file: path -> size and sha256.

    Read without the schema, which takes longer than the hashes of a large tree: names and links are not acted on here,
    and a false hash would be the fault of whoever wrote SHA256SUMS as well.
    """
    value = json.loads(beside.read_text(encoding="utf-8"))
    files = (entry for entry in value["entries"] if entry["kind"] == "file")
    return value.get("packing", ""), {entry["path"]: (entry["size"], entry["sha256"]) for entry in files}
