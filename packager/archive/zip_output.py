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
from packager.archive.zip_members import PlacedMember

_COPY = 1024 * 1024
_PUT_OFF = 16 * 1024 * 1024  # bytes copied in one go, about: others wait for them


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


@dataclass(frozen=True, kw_only=True, slots=True)
class _Range:
    """Bytes of a file that come next in the zip."""

    source: BinaryIO
    start: int
    end: int


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
        self._put_off: _Range | None = None

    def add(self, name: str, *, mode: int, method: int, piece: Piece) -> None:
        """Add a member whose content is one piece. `mode` includes the kind (stat.S_IF*)."""
        self._copy_put_off()
        member = self._member(
            name, mode=mode, method=method, size=piece.size, crc=piece.crc, packed_size=len(piece.packed)
        )
        header = local_header(member)
        self._stream.write(header)
        self._stream.write(piece.packed)
        self._append(member, len(header))

    def add_pieces(self, name: str, *, mode: int, method: int, size: int, pieces: Iterable[Piece]) -> None:
        """Add a member whose content is `pieces` in a row, taken one by one.

        `size` is known beforehand. Raises ValueError if the pieces do not add up to it.
        """
        self._copy_put_off()
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

    def copy(self, placed: PlacedMember, source: BinaryIO, *, name: str, mode: int) -> None:
        """Add, as `name` and with `mode`, a member packed already in the zip `source`.

        Members that lie in `source` one after the other, with the headers they get here, are copied in one go: the
        bytes come with a later call.
        """
        member = self._member(
            name, mode=mode, method=placed.method, size=placed.size, crc=placed.crc, packed_size=placed.packed_size
        )
        header, start = local_header(member), placed.offset
        if header != placed.header:
            self._copy_put_off()
            self._stream.write(header)
            start += len(placed.header)
        end = placed.offset + len(placed.header) + placed.packed_size
        before = self._put_off
        if before and before.source is source and before.end == start:
            self._put_off = _Range(source=source, start=before.start, end=end)
        else:
            self._copy_put_off()
            self._put_off = _Range(source=source, start=start, end=end)
        self._append(member, len(header))

    def repeat(self, name: str, *, mode: int, of: Placed) -> None:
        """Add a file with the content of one added before, whose packed bytes are copied from there."""
        self._copy_put_off()
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

    def _member(self, name: str, *, mode: int, method: int, size: int, crc: int = 0, packed_size: int = 0) -> Member:
        return Member(
            name=(name + "/" if stat.S_ISDIR(mode) else name).encode(),
            mode=mode,
            dos_time=self._dos_time,
            method=method,
            crc=crc,
            size=size,
            packed_size=packed_size,
            offset=self._offset,
        )

    def _append(self, member: Member, header_size: int) -> None:
        self._members.append(member)
        self._last = Placed(member=member, at=self._offset + header_size)
        self._offset += header_size + member.packed_size
        if self._put_off is None:
            self._settled(self._offset)
        elif self._put_off.end - self._put_off.start >= _PUT_OFF:
            self._copy_put_off()

    def _copy_put_off(self) -> None:
        if self._put_off is None:
            return
        source, left = self._put_off.source, self._put_off.end - self._put_off.start
        source.seek(self._put_off.start)
        while left:
            block = source.read(min(left, _COPY))
            if not block:
                raise ValueError(f"{source.name}: {left} packed bytes are missing")
            self._stream.write(block)
            left -= len(block)
        self._put_off = None
        self._settled(self._offset)

    def finish(self) -> int:
        """Write the central directory and return how many members there are."""
        self._copy_put_off()
        directory_size = 0
        for member in self._members:
            header = central_header(member)
            self._stream.write(header)
            directory_size += len(header)
        count = len(self._members)
        self._stream.write(end_records(members=count, directory_offset=self._offset, directory_size=directory_size))
        return count
