"""A tree becomes a zip: packed by many threads, written in the order of the manifest, the same bytes every time."""

from __future__ import annotations

import functools
import hashlib
import itertools
import stat
from collections.abc import Iterable, Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path

from packager.archive import packing
from packager.archive.codec import BLOCK, compress, crc32, deflate_level
from packager.archive.content import Content, Effort
from packager.archive.follower import Follower
from packager.archive.manifest import Entry
from packager.archive.packing import Packed
from packager.archive.pipeline import ordered
from packager.archive.publish import ArchiveInfo, published
from packager.archive.reuse import Earlier, Reusable
from packager.archive.zip_format import DEFLATED, STORED
from packager.archive.zip_output import Piece, Placed, ZipOutput
from packager.console import Advance, Console

_KINDS = {"file": stat.S_IFREG, "link": stat.S_IFLNK, "directory": stat.S_IFDIR}
_RECORDS = 512  # bytes that headers and names take for one member, at most and about


def write_zip(
    content: Content,
    destination: Path,
    *,
    effort: Effort,
    console: Console,
    earlier: Reusable | None = None,
) -> ArchiveInfo:
    """Write `content` to the zip `destination`; `earlier` are contents packed already.

    The bytes depend on `content` and the level, 1 to 12 if it is a number, alone; what several files hold is packed
    once. Raises InputError if a file changed, NoSpaceError if the disk is full.
    """
    root, manifest, number = content.root, content.manifest, deflate_level(effort.level)
    small = {path: _packed_bytes(path, data, number) for path, data in content.extra.items()}
    entries = content.entries
    earlier = earlier or Reusable()
    known = earlier.members
    results = ordered(
        packing.jobs(root, _first_of_each(entry for entry in manifest.entries if entry.sha256 not in known)),
        functools.partial(packing.work, root, level=number),
        threads=effort.threads,
        budget=max(effort.memory, 3 * BLOCK),
        cost=lambda job: job.cost,
    )
    needed = manifest.total_size + _RECORDS * len(entries)
    with (
        published(destination, needed=needed) as stream,
        Follower(stream) as follower,
        closing(results),
    ):
        output = ZipOutput(stream, epoch=content.epoch, settled=follower.settled)
        with console.bar("zip", manifest.total_size) as advance:
            members = _Members(
                output=output,
                prefix=content.prefix,
                packed=itertools.chain.from_iterable(results),
                small=small,
                known=known,
                advance=advance,
            )
            for entry in entries:
                members.add(entry)
        count = output.finish()
        earlier.check_unchanged()
        sha256 = follower.finish()
    return ArchiveInfo(path=destination, size=destination.stat().st_size, sha256=sha256, members=count)


@dataclass(frozen=True, kw_only=True)
class _Members:
    """Adds one entry after the other to `output`, each in the cheapest way there is.

    `packed` comes in the order of the entries that no other way takes; `small` by path, `known` by sha256.
    """

    output: ZipOutput
    prefix: str
    packed: Iterator[Packed]
    small: Mapping[str, Packed]
    known: Mapping[str, Earlier]
    advance: Advance
    written: dict[str, Placed] = field(default_factory=dict)  # by sha256

    def add(self, entry: Entry) -> None:
        name, mode = self.prefix + entry.path, _KINDS[entry.kind] | entry.mode
        if entry.kind != "file":
            content = entry.target.encode()
            piece = Piece(crc=crc32(content), size=len(content), packed=content)
            self.output.add(name, mode=mode, method=STORED, piece=piece)
        elif entry.path in self.small:
            self._add_packed(name, mode, self.small[entry.path])
        elif copied := self.known.get(entry.sha256):
            self.output.copy(copied.member, copied.source, name=name, mode=mode)
            self.advance(entry.size)
        elif entry.sha256 in self.written:
            self.output.repeat(name, mode=mode, of=self.written[entry.sha256])
            self.advance(entry.size)
        else:
            packed = next(self.packed)
            if packed.entry.path != entry.path:
                raise ValueError(f"{packed.entry.path} was packed in the place of {entry.path}")
            self._add_packed(name, mode, packed)
            self.written[entry.sha256] = self.output.last

    def _add_packed(self, name: str, mode: int, first: Packed) -> None:
        if first.last:
            self.output.add(name, mode=mode, method=first.method, piece=first.piece)
            self.advance(first.entry.size)
        else:
            pieces = self._pieces(first)
            self.output.add_pieces(name, mode=mode, method=first.method, size=first.entry.size, pieces=pieces)

    def _pieces(self, packed: Packed) -> Iterator[Piece]:
        digest = hashlib.sha256()
        while True:
            yield packed.piece
            digest.update(packed.data)
            self.advance(packed.piece.size)
            if packed.last:
                packing.check_content(packed.entry, digest.hexdigest())
                return
            packed = next(self.packed)


def _first_of_each(entries: Iterable[Entry]) -> Iterator[Entry]:
    """What has to be packed: of several files with one content the first."""
    seen = set()
    for entry in entries:
        if entry.kind != "file" or entry.sha256 not in seen:
            seen.add(entry.sha256)
            yield entry


def _packed_bytes(path: str, content: bytes, level: int) -> Packed:
    entry = Entry(path=path, kind="file", mode=0o644, size=len(content))
    piece = Piece(crc=crc32(content), size=len(content), packed=compress(content, level))
    return Packed(entry=entry, method=DEFLATED, piece=piece, last=True)
