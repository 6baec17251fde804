"""Whether a zstd file is whole, by its frames' own lengths (RFC 8878, 3.1): the decoder takes a cut end for the end."""

from __future__ import annotations

import os
import struct
from typing import BinaryIO

_MAGIC = 0xFD2FB528
_SKIPPABLE = range(0x184D2A50, 0x184D2A60)  # 3.1.2
_DICTIONARY = (0, 1, 2, 4)  # bytes of the dictionary id by its flag, 3.1.1.1.3
_CONTENT_SIZE = (0, 2, 4, 8)  # bytes of the content size by its flag, 3.1.1.1.4
_RLE = 1


def is_whole(stream: BinaryIO) -> bool:
    """Whether `stream` is frames to its very end, checksums included. Nothing is decoded; its position moves."""
    end = stream.seek(0, os.SEEK_END)
    position = 0
    while position < end:
        stream.seek(position)
        following = _frame_end(stream)
        if following is None or following > end:
            return False
        position = following
    return True


def _frame_end(stream: BinaryIO) -> int | None:
    """Where the frame that begins here should end; None if a header is cut, or none of zstd's."""
    head = stream.read(8)
    if len(head) < 8:
        return None
    magic, size = struct.unpack("<II", head)
    if magic in _SKIPPABLE:
        return stream.tell() + int(size)
    if magic != _MAGIC:
        return None
    descriptor = head[4]
    single_segment, has_checksum = descriptor & 0x20, descriptor & 0x04
    content_size = _CONTENT_SIZE[descriptor >> 6] or (1 if single_segment else 0)
    position = stream.tell() - 3 + (0 if single_segment else 1) + _DICTIONARY[descriptor & 3] + content_size
    last = 0
    while not last:
        stream.seek(position)
        header = stream.read(3)
        if len(header) < 3:
            return None
        value = int.from_bytes(header, "little")
        last = value & 1
        position += 3 + (1 if value >> 1 & 3 == _RLE else value >> 3)
    return position + (4 if has_checksum else 0)
