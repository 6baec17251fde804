"""The members of a zip this package wrote, with the places of their packed bytes, to be copied as they are."""

from __future__ import annotations

import struct
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from packager.archive.zip_format import LOCAL_HEADER_SIZE


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

    def local_header(self, stream: BinaryIO) -> bytes:
        """Its local header in the zip `stream`, which tells its own length; the packed bytes follow it."""
        stream.seek(self.offset)
        fixed = stream.read(LOCAL_HEADER_SIZE)
        name_size, extra_size = struct.unpack_from("<HH", fixed, 26)
        return fixed + stream.read(name_size + extra_size)


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
