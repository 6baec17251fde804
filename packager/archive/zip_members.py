"""The members of a zip this package wrote, with the places of their packed bytes, to be copied as they are."""

from __future__ import annotations

import struct
import zipfile
from dataclasses import dataclass
from typing import BinaryIO

from packager.archive.zip_format import DEFLATED, LOCAL_HEADER_SIZE, STORED

_WIDE = 0xFFFFFFFF  # a size that the zip64 field tells
_UTF8_ALONE = 0x800  # the only flag this package sets: neither encrypted nor with a data descriptor


@dataclass(frozen=True, kw_only=True, slots=True)
class PlacedMember:
    """One member. `path` is its name without a folder's slash; `offset` that of `header`, its local header."""

    path: str
    mode: int
    method: int
    crc: int
    size: int
    packed_size: int
    offset: int
    header: bytes


def read_members(stream: BinaryIO) -> tuple[PlacedMember, ...]:
    """The members of the zip `stream` in the order of its directory.

    Raises ValueError, zipfile.BadZipFile or struct.error for what this package does not write: another method,
    encryption, a local header that does not agree with the directory, bytes beyond it.
    """
    with zipfile.ZipFile(stream) as opened:
        return tuple(_placed(stream, member, end=opened.start_dir) for member in opened.infolist())


def _placed(stream: BinaryIO, member: zipfile.ZipInfo, *, end: int) -> PlacedMember:
    stream.seek(member.header_offset)
    fixed = stream.read(LOCAL_HEADER_SIZE)
    magic, _, flags, method, _, crc, packed_size, _, name_size, extra_size = struct.unpack("<4sHHHIIIIHH", fixed)
    header = fixed + stream.read(name_size + extra_size)
    told = (b"PK\x03\x04", _UTF8_ALONE, member.compress_type, member.CRC)
    agrees = (magic, flags, method, crc) == told and packed_size in (member.compress_size, _WIDE)
    if not agrees or method not in (STORED, DEFLATED):
        raise ValueError(f"{member.orig_filename}: its header is none of ours")
    if header[LOCAL_HEADER_SIZE:][:name_size] != member.orig_filename.encode():
        raise ValueError(f"{member.orig_filename}: it has two names")
    if member.header_offset + len(header) + member.compress_size > end:
        raise ValueError(f"{member.orig_filename}: it ends beyond the members")
    return PlacedMember(
        path=member.orig_filename.rstrip("/"),
        mode=member.external_attr >> 16,
        method=member.compress_type,
        crc=member.CRC,
        size=member.file_size,
        packed_size=member.compress_size,
        offset=member.header_offset,
        header=header,
    )
