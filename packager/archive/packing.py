"""The work of packing zip members, cut into jobs that any thread can do and whose results do not depend on which."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from packager.archive.codec import BLOCK, SAMPLE, SAMPLES, compress, compress_block, crc32, is_incompressible
from packager.archive.manifest import Entry
from packager.archive.tree_files import changed, read_whole, unreadable
from packager.archive.zip_format import DEFLATED, STORED
from packager.archive.zip_output import Piece

_BATCH_BYTES = 2 * 1024 * 1024
_BATCH_FILES = 64


@dataclass(frozen=True, kw_only=True)
class Job:
    """Some whole files, or one block of a file longer than BLOCK that begins at `start`."""

    entries: tuple[Entry, ...]
    start: int | None = None
    method: int = DEFLATED

    @property
    def cost(self) -> int:
        """Bytes of memory it may take: what is read, what comes out of it, and the check of that (see deflate_join)."""
        if self.start is None:
            return 2 * sum(entry.size for entry in self.entries) + 4096 * len(self.entries)
        return (1 if self.method == STORED else 3) * min(BLOCK, self.entries[0].size - self.start)


@dataclass(frozen=True, kw_only=True)
class Packed:
    """One piece of a member, or all of it; `last` says that the member is complete with it.

    `data` is what a block held before packing, for the hash of the whole file; the others are checked already.
    """

    entry: Entry
    method: int
    piece: Piece
    last: bool
    data: bytes = b""


def jobs(root: Path, entries: Iterable[Entry]) -> Iterator[Job]:
    """The jobs that pack the files among `entries`, in the order of `entries`."""
    batch: list[Entry] = []
    for entry in (entry for entry in entries if entry.kind == "file"):
        in_blocks = entry.size > BLOCK
        is_full = len(batch) == _BATCH_FILES or sum(e.size for e in batch) + entry.size > _BATCH_BYTES
        if batch and (is_full or in_blocks):
            yield Job(entries=tuple(batch))
            batch = []
        if not in_blocks:
            batch.append(entry)
            continue
        with _open(root, entry) as stream:
            method = STORED if is_incompressible(_samples(stream, entry.size)) else DEFLATED
        for start in range(0, entry.size, BLOCK):
            yield Job(entries=(entry,), start=start, method=method)
    if batch:
        yield Job(entries=tuple(batch))


def work(root: Path, job: Job, level: int) -> list[Packed]:
    """Do one job. Raises InputError if a file is no longer as long as its entry says, or cannot be read."""
    if job.start is None:
        return [_pack_whole(root, entry, level) for entry in job.entries]
    entry = job.entries[0]
    last = job.start + BLOCK >= entry.size
    with _open(root, entry) as stream:
        data = _read_block(stream, job.start, entry, last=last)
    packed = data if job.method == STORED else compress_block(data, level, last=last)
    return [dataclasses.replace(_packed(entry, job.method, data, packed, last=last), data=data)]


def _pack_whole(root: Path, entry: Entry, level: int) -> Packed:
    data = read_whole(root, entry)
    check_content(entry, hashlib.sha256(data).hexdigest())
    if entry.size >= SAMPLE * SAMPLES:
        step = entry.size // SAMPLES
        if is_incompressible([data[start : start + SAMPLE] for start in range(0, step * SAMPLES, step)]):
            return _packed(entry, STORED, data, data, last=True)
    packed = compress(data, level)
    if len(packed) >= len(data):
        return _packed(entry, STORED, data, data, last=True)
    return _packed(entry, DEFLATED, data, packed, last=True)


def _packed(entry: Entry, method: int, data: bytes, packed: bytes | bytearray, *, last: bool) -> Packed:
    return Packed(entry=entry, method=method, piece=Piece(crc=crc32(data), size=len(data), packed=packed), last=last)


def check_content(entry: Entry, sha256: str) -> None:
    """Raise InputError if the file's hash is no longer the one its entry has."""
    if sha256 != entry.sha256:
        raise changed(entry)


def _samples(stream: BinaryIO, size: int) -> list[bytes]:
    taken = []
    for index in range(SAMPLES):
        stream.seek(size // SAMPLES * index)
        taken.append(stream.read(SAMPLE))
    return taken


def _open(root: Path, entry: Entry) -> BinaryIO:
    try:
        return (root / entry.path).open("rb")
    except OSError as error:
        raise unreadable(entry, error) from error


def _read_block(stream: BinaryIO, start: int, entry: Entry, *, last: bool) -> bytes:
    stream.seek(start)
    size = min(BLOCK, entry.size - start)
    data = stream.read(size)
    if len(data) != size or (last and stream.read(1)):
        raise changed(entry)
    return data
