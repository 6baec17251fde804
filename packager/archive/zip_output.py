"""Members, already packed, put one after the other into a zip file. Whoever packs them, or copies them, decides how."""

from __future__ import annotations

import dataclasses
import os
import stat
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import BinaryIO

from packager.archive.codec import crc32_joined
from packager.archive.zip_format import Member, central_header, dos_time, end_records, local_header

_COPY = 1024 * 1024


@dataclass(frozen=True, kw_only=True, slots=True)
class Piece:
    """Packed bytes of a member or of a part of one; `crc` and `size` are those of the bytes before packing."""

    crc: int
    size: int
    packed: bytes | bytearray


@dataclass(frozen=True, kw_only=True, slots=True)
class Placed:
    """A member that has been written; its packed bytes begin at `at`."""

    member: Member
    at: int


class ZipOutput:
    """Writes local headers and contents as members come, and the central directory at the end.

    `stream` must be empty, seekable and readable. `epoch` is the time all members get, in seconds (UTC). `settled` is
    told, after each member, up to where the bytes will not change.
    """

    def __init__(self, stream: BinaryIO, *, epoch: int, settled: Callable[[int], None] = lambda _: None) -> None:
        self._stream = stream
        self._settled = settled
        self._dos_time = dos_time(epoch)
        self._members: list[Member] = []
        self._offset = 0

    def add(self, name: str, *, mode: int, method: int, piece: Piece) -> None:
        """Add a member whose content is one piece. `mode` includes the kind (stat.S_IF*)."""
        member = self._member(name, mode=mode, method=method, size=piece.size)
        member = dataclasses.replace(member, crc=piece.crc, packed_size=len(piece.packed))
        header = local_header(member)
        self._stream.write(header)
        self._stream.write(piece.packed)
        self._append(member, len(header))

    def add_pieces(self, name: str, *, mode: int, method: int, size: int, pieces: Iterable[Piece]) -> None:
        """Add a member whose content is `pieces` in a row, taken one by one.

        `size` is known beforehand. Raises ValueError if the pieces do not add up to it.
        """
        member = self._member(name, mode=mode, method=method, size=size)
        header = local_header(member)
        self._stream.write(header)
        crc = done = packed_size = 0
        for piece in pieces:
            self._stream.write(piece.packed)
            crc = crc32_joined(crc, piece.crc, piece.size)
            done += piece.size
            packed_size += len(piece.packed)
        if done != size:
            raise ValueError(f"{name}: {done} bytes came instead of {size}")
        member = dataclasses.replace(member, crc=crc, packed_size=packed_size)
        self._stream.seek(member.offset)
        self._stream.write(local_header(member))
        self._stream.seek(0, os.SEEK_END)
        self._append(member, len(header))

    def copy(self, member: Member, source: BinaryIO, *, at: int) -> None:
        """Add a member packed already, whose packed bytes begin at `at` in `source`; `member.offset` is replaced."""
        member = dataclasses.replace(member, offset=self._offset, dos_time=self._dos_time)
        header = local_header(member)
        self._stream.write(header)
        source.seek(at)
        left = member.packed_size
        while left:
            block = source.read(min(left, _COPY))
            if not block:
                raise ValueError(f"{member.name!r}: {left} packed bytes are missing")
            self._stream.write(block)
            left -= len(block)
        self._append(member, len(header))

    def repeat(self, name: str, *, mode: int, of: Placed) -> None:
        """Add a file with the content of one added before, whose packed bytes are copied from there."""
        member = dataclasses.replace(of.member, name=name.encode(), mode=mode, offset=self._offset)
        header = local_header(member)
        self._stream.write(header)
        for start in range(0, member.packed_size, _COPY):
            self._stream.seek(of.at + start)
            block = self._stream.read(min(_COPY, member.packed_size - start))
            self._stream.seek(0, os.SEEK_END)
            self._stream.write(block)
        self._append(member, len(header))

    @property
    def last(self) -> Placed:
        """The member added last."""
        return self._last

    def _member(self, name: str, *, mode: int, method: int, size: int) -> Member:
        return Member(
            name=(name + "/" if stat.S_ISDIR(mode) else name).encode(),
            mode=mode,
            dos_time=self._dos_time,
            method=method,
            crc=0,
            size=size,
            packed_size=0,
            offset=self._offset,
        )

    def _append(self, member: Member, header_size: int) -> None:
        self._members.append(member)
        self._last = Placed(member=member, at=self._offset + header_size)
        self._offset += header_size + member.packed_size
        self._settled(self._offset)

    def finish(self) -> int:
        """Write the central directory and return how many members there are."""
        directory_size = 0
        for member in self._members:
            header = central_header(member)
            self._stream.write(header)
            directory_size += len(header)
        count = len(self._members)
        self._stream.write(end_records(members=count, directory_offset=self._offset, directory_size=directory_size))
        return count
