"""Which compressor makes a zip member, at which level, and which members are stored instead.

libdeflate makes everything: it is several times as fast as zlib for the same size, and its binding releases the GIL. It
takes a whole content and gives a whole stream, so a member longer than BLOCK is packed block by block, each by
itself, and `deflate_join` turns all but the last into pieces of one stream. The bytes depend on the content and the
level, never on threads or memory.
"""

from __future__ import annotations

from collections.abc import Sequence
from importlib import metadata

import deflate

from packager.archive.deflate_join import open_ended
from packager.archive.levels import level_number, levels

BLOCK = 16 * 1024 * 1024  # bytes of a member compressed at once; the window lost at each border costs under 0.1 %
SAMPLE = 16 * 1024  # bytes of one sample
SAMPLES = 16  # samples over the length of a member
_RULES = 3  # of what is stored and how blocks are joined; a change that packs otherwise takes the next number
_HARDLY = 0.99  # a sample packed to more than this share is not worth the reader's time


def deflate_level(level: str | int) -> int:
    """The libdeflate level, 1 to 12, that `fast`, `default`, `max` or a number stands for. Raises InputError."""
    return level_number(level, levels().deflate, highest=12)


def packing_identity(level: str | int) -> str:
    """What, beside a content, its packed bytes depend on: compressor, level, block size and the rules here."""
    return f"deflate {metadata.version('deflate')}, level {deflate_level(level)}, block {BLOCK}, rules {_RULES}"


def compress(data: bytes, level: int) -> bytes | bytearray:
    """`data` as one complete stream of raw deflate (RFC 1951)."""
    return deflate.deflate_compress(data, level)


def compress_block(data: bytes, level: int, *, last: bool) -> bytes | bytearray:
    """`data` as a piece of a stream: pieces put one after the other, the last with `last`, are a complete stream."""
    return compress(data, level) if last else open_ended(data, level)


def is_incompressible(samples: Sequence[bytes]) -> bool:
    """Whether samples from all over a member say that compressing it is in vain."""
    size = sum(len(sample) for sample in samples)
    return sum(len(deflate.deflate_compress(sample, 1)) for sample in samples) > size * _HARDLY


def crc32(data: bytes, start: int = 0) -> int:
    return deflate.crc32(data, start)


def crc32_joined(first: int, second: int, second_size: int) -> int:
    """The CRC-32 of two strings put together, from theirs and the second's size in bytes.

    CRC-32 is affine in its start value: crc(b, start) = crc(zeros, start) ^ crc(zeros, 0) ^ crc(b, 0), for as many
    zeros as b has bytes.
    """
    return _crc32_of_zeros(second_size, first) ^ _crc32_of_zeros(second_size, 0) ^ second


def _crc32_of_zeros(size: int, start: int) -> int:
    for _ in range(size // len(_ZEROS)):
        start = deflate.crc32(_ZEROS, start)
    return deflate.crc32(memoryview(_ZEROS)[: size % len(_ZEROS)], start)


_ZEROS = bytes(1024 * 1024)
