"""A zip that is too large becomes parts: each member's packed bytes are copied, and nothing is packed again.

The whole zip comes first, since only packed sizes tell which members fill a part.
"""

from __future__ import annotations

import dataclasses
import stat
from collections.abc import Callable
from pathlib import Path

from packager.archive.codec import compress, crc32, deflate_level
from packager.archive.content import Content
from packager.archive.follower import Follower
from packager.archive.manifest import Manifest
from packager.archive.part_plan import plan_parts
from packager.archive.publish import ArchiveInfo, published
from packager.archive.zip_format import DEFLATED
from packager.archive.zip_members import PlacedMember, read_members
from packager.archive.zip_output import Piece, ZipOutput
from packager.console import Console
from packager.parts import part_name

_CENTRAL = 46 - 30 + 28  # bytes that a central header is longer than the local one (APPNOTE 4.3.7, 4.3.12, 4.5.3)
_END = 98  # bytes of the end records (4.3.14 to 4.3.16)
_PART_TEXT = 512  # bytes that naming a few parts adds to the manifest; a hundredth of a part is for many


def split_zip(
    whole: Path,
    destination: Path,
    content: Content,
    *,
    limit: int,
    level: str | int,
    console: Console,
    is_first: Callable[[str], bool],
    manifest_member: str | None,
) -> tuple[tuple[ArchiveInfo, ...], Manifest]:
    """Write `content`, packed in the zip `whole`, to NAME-part1ofN.zip ... for `destination`, NAME.zip.

    `limit` is in bytes. Returns the parts and the manifest that tells them, which takes the place of `manifest_member`
    in part 1. `is_first` as in plan_parts. The parts get their names when all of them are written: of a failed run
    nothing is left, and what was there before stays. Raises InputError for a member over `limit`, NoSpaceError.
    """
    prefix, manifest = content.prefix, content.manifest
    with whole.open("rb") as stream:
        members = {member.path.removeprefix(prefix): member for member in read_members(stream)}
    sizes = {path: member.packed_size + 2 * len(member.header) + _CENTRAL for path, member in members.items()}
    if manifest_member is not None:
        # the numbers of the parts do not compress to nothing: to about a byte an entry for ten parts, three for 300
        sizes[manifest_member] += 3 * len(manifest.entries) + limit // 100 + _PART_TEXT
    plan = plan_parts(sizes, limit - _END, is_first=lambda path: path == manifest_member or is_first(path))
    count = max(plan.values())
    paths = [destination.with_name(part_name(destination.name, part, count)) for part in range(1, count + 1)]
    manifest = dataclasses.replace(
        manifest,
        entries=tuple(dataclasses.replace(entry, part=plan[entry.path]) for entry in manifest.entries),
        parts=tuple(path.name for path in paths),
    )
    text = manifest.to_json().encode()
    replaced = Piece(crc=crc32(text), size=len(text), packed=compress(text, deflate_level(level)))
    fresh = [path.with_name(f".{path.name}.new") for path in paths]
    done: list[ArchiveInfo] = []
    try:
        for part, (path, temporary) in enumerate(zip(paths, fresh, strict=True), 1):
            console.info(f"writing {path.name}")
            chosen = {name: member for name, member in members.items() if plan[name] == part}
            pieces = {manifest_member: replaced} if manifest_member is not None and part == 1 else {}
            info = _write_part(whole, temporary, chosen, pieces, prefix=prefix, epoch=content.epoch)
            done.append(dataclasses.replace(info, path=path))
        if too_large := [info.path.name for info in done if info.size > limit]:
            raise RuntimeError(f"over {limit} bytes: {', '.join(too_large)}")
        for path, temporary in zip(paths, fresh, strict=True):
            temporary.replace(path)
    finally:
        for temporary in fresh:
            temporary.unlink(missing_ok=True)
    return tuple(done), manifest


def _write_part(
    whole: Path,
    path: Path,
    members: dict[str, PlacedMember],
    replaced: dict[str, Piece],
    *,
    prefix: str,
    epoch: int,
) -> ArchiveInfo:
    needed = sum(member.packed_size for member in members.values())
    with whole.open("rb") as source, published(path, needed=needed) as stream, Follower(stream) as follower:
        output = ZipOutput(stream, epoch=epoch, settled=follower.settled)
        for name, member in members.items():
            if name in replaced:
                output.add(prefix + name, mode=stat.S_IFREG | 0o644, method=DEFLATED, piece=replaced[name])
            else:
                output.copy(member, source, name=prefix + name, mode=member.mode)
        count = output.finish()
        sha256 = follower.finish()
    return ArchiveInfo(path=path, size=path.stat().st_size, sha256=sha256, members=count)
