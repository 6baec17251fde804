"""The members of a zip this package wrote, with the places of their packed bytes, to be copied as they are."""

from __future__ import annotations

import struct
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from packager.archive.zip_format import LOCAL_HEADER_SIZE, Member


@dataclass(frozen=True, kw_only=True, slots=True)
class PlacedMember:
    """One member. `path` is its name without a folder's slash; `offset` that of its local header."""

    path: str
    name: bytes
    mode: int
    method: int
    crc: int
    size: int
    packed_size: int
    offset: int

    def as_member(self) -> Member:
        """What the headers of a copy tell; time and offset are the copy's own."""
        return Member(
            name=self.name,
            mode=self.mode,
            dos_time=0,
            method=self.method,
            crc=self.crc,
            size=self.size,
            packed_size=self.packed_size,
            offset=0,
        )

    def content_offset(self, stream: BinaryIO) -> int:
        """Where in the zip `stream` the packed bytes begin: after the local header, whose length it tells itself."""
        stream.seek(self.offset)
        name_size, extra_size = struct.unpack("<HH", stream.read(LOCAL_HEADER_SIZE)[26:])
        return self.offset + LOCAL_HEADER_SIZE + int(name_size) + int(extra_size)


def read_members(archive: Path) -> tuple[PlacedMember, ...]:
    """The members in the order they lie in."""
    with zipfile.ZipFile(archive) as opened:
        return tuple(
            PlacedMember(
                path=member.orig_filename.rstrip("/"),
                name=member.orig_filename.encode(),
                mode=member.external_attr >> 16,
                method=member.compress_type,
                crc=member.CRC,
                size=member.file_size,
                packed_size=member.compress_size,
                offset=member.header_offset,
            )
            for member in opened.infolist()
        )
