"""The records of a zip file as bytes, after the .ZIP File Format Specification (APPNOTE.TXT 6.3). Nothing is read here.

Names are UTF-8 with the language bit set; modes and kinds are Unix external attributes, which Info-ZIP, 7-Zip,
libarchive and macOS restore. There are no extra fields but zip64's, no data descriptors and no comments.
"""

from __future__ import annotations

import stat
import struct
import time
from dataclasses import dataclass

STORED = 0
DEFLATED = 8
LOCAL_HEADER_SIZE = 30
_UTF8 = 0x800  # general purpose bit 11, 4.4.4
_UNIX = 3  # 4.4.2
_LIMIT = 0xFFFFFFFF
_VERSION, _VERSION_ZIP64 = 20, 45  # 4.4.3: deflate and folders; zip64
_ZIP64_SIZE = 0xF000_0000  # sizes from here are told by zip64, with room for what packing may add
_DIRECTORY_ATTRIBUTE = 0x10  # MS-DOS, for readers that know no Unix modes
_DOS_FIRST, _DOS_LAST = 315532800, 4354819198  # 1980-01-01 and 2107-12-31 23:59:58 UTC


@dataclass(frozen=True, kw_only=True, slots=True)
class Member:
    """One entry as its headers tell it. A folder's `name` ends in a slash; `mode` includes the kind (stat.S_IF*)."""

    name: bytes
    mode: int
    dos_time: int
    method: int
    crc: int
    size: int
    packed_size: int
    offset: int


def dos_time(epoch: int) -> int:
    """`epoch` (seconds, UTC) as DOS date and time in one 32-bit number; brought into the years 1980 to 2107 (4.4.6)."""
    moment = time.gmtime(min(max(epoch, _DOS_FIRST), _DOS_LAST))
    date = (moment.tm_year - 1980) << 9 | moment.tm_mon << 5 | moment.tm_mday
    return date << 16 | moment.tm_hour << 11 | moment.tm_min << 5 | moment.tm_sec // 2


def local_header(member: Member) -> bytes:
    """Section 4.3.7. Its length depends on the name and the size alone, so it can be written again over itself."""
    extra = b""
    sizes = (member.packed_size, member.size)
    if member.size >= _ZIP64_SIZE:
        extra = struct.pack("<HHQQ", 1, 16, member.size, member.packed_size)
        sizes = (_LIMIT, _LIMIT)
    return (
        struct.pack(
            "<IHHHIIIIHH",
            0x04034B50,
            _VERSION_ZIP64 if extra else _VERSION,
            _UTF8,
            member.method,
            member.dos_time,
            member.crc,
            *sizes,
            len(member.name),
            len(extra),
        )
        + member.name
        + extra
    )


def central_header(member: Member) -> bytes:
    """Section 4.3.12, with the zip64 field (4.5.3) holding just the values that do not fit."""
    wide: list[int] = []
    packed_size, size, offset = member.packed_size, member.size, member.offset
    if member.size >= _ZIP64_SIZE:
        wide += [size, packed_size]
        size = packed_size = _LIMIT
    if member.offset >= _LIMIT:
        wide.append(offset)
        offset = _LIMIT
    extra = struct.pack(f"<HH{len(wide)}Q", 1, 8 * len(wide), *wide) if wide else b""
    version = _VERSION_ZIP64 if wide else _VERSION
    directory = _DIRECTORY_ATTRIBUTE if stat.S_ISDIR(member.mode) else 0
    return (
        struct.pack(
            "<IHHHHIIIIHHHHHII",
            0x02014B50,
            _UNIX << 8 | _VERSION_ZIP64,
            version,
            _UTF8,
            member.method,
            member.dos_time,
            member.crc,
            packed_size,
            size,
            len(member.name),
            len(extra),
            0,
            0,
            0,
            member.mode << 16 | directory,
            offset,
        )
        + member.name
        + extra
    )


def end_records(*, members: int, directory_offset: int, directory_size: int) -> bytes:
    """Sections 4.3.14 to 4.3.16: zip64 records if a number asks for them, then the end of central directory."""
    zip64 = b""
    if members >= 0xFFFF or directory_offset >= _LIMIT or directory_size >= _LIMIT:
        zip64 = struct.pack(
            "<IQHHIIQQQQ",
            0x06064B50,
            44,
            _UNIX << 8 | _VERSION_ZIP64,
            _VERSION_ZIP64,
            0,
            0,
            members,
            members,
            directory_size,
            directory_offset,
        ) + struct.pack("<IIQI", 0x07064B50, 0, directory_offset + directory_size, 1)
    count = min(members, 0xFFFF)
    return zip64 + struct.pack(
        "<IHHHHIIH",
        0x06054B50,
        0,
        0,
        count,
        count,
        min(directory_size, _LIMIT),
        min(directory_offset, _LIMIT),
        0,
    )
