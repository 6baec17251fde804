"""Making a libdeflate stream go on: raw deflate (RFC 1951) that ends at a byte border and is not final.

libdeflate has no streaming and no flush: what it returns always ends with a block whose BFINAL bit is set. That bit is
found and cleared, and the result is kept only if it decodes to the very data.

Noise at the end is a stored block (3.2.4): its length, twice, stands before as many bytes of the data as it says, and
before that, up to the byte border, there are zeros and the bit. Any other block with its own codes is found by decoding
the stream with zlib, which cannot name block borders either, but is silent while it reads the code lengths in a block's
header: the last silence of eight bytes or more is the header of the last block (3.2.7; inside a block, a symbol with
its match takes at most 48 bits). There, an empty stored block is added to reach a byte border. Decoding costs about a
third of compressing at level 6, and a fiftieth of it at level 12.

The few streams whose last block has no such header are made anew in halves: zlib would make them too, but is not the
same on all machines.

Beside the data and the stream, at most the rest of two times the data is held: what the stream's end decodes to.
"""

from __future__ import annotations

import struct
import zlib
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import deflate

_PIECE = 64 * 1024  # compressed bytes between two copies of the decoder's state
_STEP = 8
_TAIL = 8  # pieces searched from the end; libdeflate's blocks are at most about 300 kB of input
_EMPTY_FINAL = b"\x03\x00"  # a final block of the fixed code with nothing in it
_BORDERS = (b"\x00\x00\xff\xff", b"\x00\x00\x00\xff\xff")  # an empty stored block; its 3 header bits may need a byte
_STORED_SHARE = 0.99
_STORED_MAX = 0xFFFF  # bytes
_LENGTHS = struct.Struct("<HH")  # of a stored block: its length and that length inverted
_TOLD = 16  # bytes that tell by being alike whether the end of the data may be stored
_HALVED = 4096  # bytes: what is shorter, and cannot be left open, is stored


@dataclass(frozen=True, kw_only=True)
class _Point:
    """A decoder after `consumed` compressed bytes, which gave `produced` bytes."""

    consumed: int
    produced: int
    decoder: Any  # zlib's decompress object has no public type


def open_ended(data: bytes | memoryview, level: int) -> bytearray:
    """`data` as deflate blocks that end at a byte border, none of them final, so that others can follow.

    What follows may be any deflate blocks, which must not refer back into `data`.
    """
    stream = deflate.deflate_compress(data, level)
    is_smaller = len(stream) <= len(data) * _STORED_SHARE
    if is_smaller and _reopen(stream, data):
        return stream
    del stream  # not to be held beside what takes its place
    if not is_smaller or len(data) < _HALVED:
        return _stored(data)
    view = memoryview(data)
    joined = open_ended(view[: len(view) // 2], level)
    joined += open_ended(view[len(view) // 2 :], level)
    return joined


def _reopen(stream: bytearray, data: bytes | memoryview) -> bool:
    """Make `stream` one that can go on; whether that could be done."""
    points = _last_points(stream)
    return _reopen_stored(stream, data, points) or _reopen_coded(stream, data, points)


def _reopen_stored(stream: bytearray, data: bytes | memoryview, points: list[_Point]) -> bool:
    for border in _stored_borders(stream, data):
        byte = border - 1 if stream[border - 1] else border - 2
        start = next((point for point in reversed(points) if point.consumed <= byte), None)
        if start and stream[byte] and _clear(stream, data, start, byte, stream[byte].bit_length() - 1, (b"",)):
            return True
    return False


def _stored_borders(stream: bytearray, data: bytes | memoryview) -> Iterator[int]:
    """The byte borders after which a stored block may reach to the end of `stream`: its two lengths are there."""
    ends_alike = stream[-_TOLD:] == bytes(data[-_TOLD:])
    for length in range((_STORED_MAX if ends_alike else _TOLD) + 1):
        border = len(stream) - length - _LENGTHS.size
        if border < 1:
            return
        if _LENGTHS.unpack_from(stream, border) == (length, length ^ _STORED_MAX):
            yield border


def _reopen_coded(stream: bytearray, data: bytes | memoryview, points: list[_Point]) -> bool:
    for start, header in _last_headers(stream, points):
        for bit in range((header - _STEP) * 8, (header + 3) * 8):
            byte, shift = divmod(bit, 8)
            # BFINAL set, BTYPE 10: a final block with its own codes
            if byte < start.consumed or (stream[byte] | stream[byte + 1] << 8) >> shift & 0b111 != 0b101:
                continue
            if _clear(stream, data, start, byte, shift, _BORDERS):
                return True
    return False


def _clear(
    stream: bytearray, data: bytes | memoryview, start: _Point, byte: int, shift: int, borders: Sequence[bytes]
) -> bool:
    """Clear that bit and add the first of `borders` with which the stream decodes to `data`; else leave it alone."""
    tail = stream[start.consumed :]
    tail[byte - start.consumed] &= ~(1 << shift)
    for border in borders:
        if _decodes(start, tail + border + _EMPTY_FINAL, data):
            stream[byte] &= ~(1 << shift)
            stream += border
            return True
    return False


def _decodes(start: _Point, rest: bytearray, data: bytes | memoryview) -> bool:
    """Whether `rest` carries the decoder at `start` exactly to the end of `data` and of the stream."""
    decoder = start.decoder.copy()
    try:
        decoded = decoder.decompress(rest)
    except zlib.error:
        return False
    return decoder.eof and not decoder.unused_data and decoded == memoryview(data)[start.produced :]


def _last_headers(stream: bytearray, points: list[_Point]) -> Iterator[tuple[_Point, int]]:
    """Where the last block header may begin: a point before it, and the first silent byte. Nearest the end first."""
    for index in range(len(points) - 1, -1, -1):
        start = points[index]
        # a header may straddle two pieces: its beginning is looked for in this one, its end may lie in the next
        silences = [at for at in _silences(start, stream) if at < start.consumed + _PIECE]
        if silences:
            yield (points[index - 1] if index and silences[-1] - start.consumed < _STEP else start), silences[-1]
            return


def _last_points(stream: bytearray) -> list[_Point]:
    decoder = zlib.decompressobj(-zlib.MAX_WBITS)
    produced = 0
    points: deque[_Point] = deque(maxlen=_TAIL)
    for consumed in range(0, len(stream), _PIECE):
        points.append(_Point(consumed=consumed, produced=produced, decoder=decoder.copy()))
        produced += len(decoder.decompress(memoryview(stream)[consumed : consumed + _PIECE]))
    return list(points)


def _silences(start: _Point, stream: bytearray) -> Iterator[int]:
    """Where, from `start` on for two pieces, the decoder begins to read without giving anything."""
    decoder = start.decoder.copy()
    silent = False
    for at in range(start.consumed, min(start.consumed + 2 * _PIECE, len(stream)), _STEP):
        gave = decoder.decompress(stream[at : at + _STEP])
        if not gave and not silent and not decoder.eof:
            yield at
        silent = not gave


def _stored(data: bytes | memoryview) -> bytearray:
    stream = bytearray()
    for start in range(0, len(data), _STORED_MAX):
        part = memoryview(data)[start : start + _STORED_MAX]
        stream += b"\x00" + _LENGTHS.pack(len(part), len(part) ^ _STORED_MAX)
        stream += part
    return stream
