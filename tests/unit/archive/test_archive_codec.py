"""The codec: pieces join to one stream that zlib reads, and levels mean what they say."""

from __future__ import annotations

import random
import sys
import zlib

import deflate
import pytest
from archive_trees import real_text
from hypothesis import given, settings
from hypothesis import strategies as st

from packager.archive import deflate_join
from packager.archive.codec import compress_block, crc32, crc32_joined, deflate_level, is_incompressible
from packager.archive.deflate_join import open_ended
from packager.archive.tar_zst import zstd_level
from packager.errors import InputError

_NOISE = random.Random(1).randbytes(400_000)
_CONTENTS = {
    "empty": b"",
    "one byte": b"x",
    "zeros": bytes(2_000_000),
    "text": real_text(3_000_000),
    "noise": _NOISE,
    "text, then noise": real_text(700_000) + _NOISE,
    "noise, then text": _NOISE + real_text(700_000),
    "text, then a little noise": real_text(2_000_000) + _NOISE[:6000],
    "short text": real_text(300),
    "two symbols": bytes(random.Random(2).choices(b"ab", k=500_000)),
    "runs": b"".join(bytes([i % 251]) * (i % 977) for i in range(2000)),
}


@pytest.mark.parametrize("level", [1, 3, 6, 7, 9, 12])
@pytest.mark.parametrize("content", _CONTENTS.values(), ids=_CONTENTS)
def test_open_ended_pieces_join_to_one_stream(content: bytes, level: int) -> None:
    joined = compress_block(content, level, last=False) + compress_block(b"the end", level, last=True)
    decoder = zlib.decompressobj(-zlib.MAX_WBITS)
    assert decoder.decompress(joined) == content + b"the end"
    assert decoder.eof
    assert decoder.unused_data == b""
    assert bytes(deflate.deflate_decompress(joined, len(content) + 7)) == content + b"the end"


@pytest.mark.parametrize(
    "content",
    [
        real_text(3_000_000),
        (real_text(300_000) + _NOISE) * 4,  # was packed anew in halves, each of which ended in noise again
        (real_text(300_000) + _NOISE) * 4 + bytes(300),
        real_text(300_000) + _NOISE[: 65_535 + 5],
    ],
    ids=["text", "text and noise", "zeros after noise", "a short stored block after a full one"],
)
def test_open_ended_keeps_libdeflates_own_packing(content: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    """The detour over halves must stay the exception; here it may not be taken at all."""
    monkeypatch.setattr(deflate_join, "_HALVED", sys.maxsize)
    monkeypatch.delattr(deflate_join, "_stored")
    for level in (3, 6, 7, 12):
        assert len(open_ended(content, level)) <= len(deflate.deflate_compress(content, level)) + 5


@pytest.mark.parametrize("level", [1, 3, 7, 12])
@pytest.mark.parametrize("tail", [_NOISE, _NOISE * 2 + bytes(300), bytes(9_000_000)], ids=["noise", "more", "zeros"])
def test_no_other_packer_has_a_say_and_hardly_a_byte_is_lost(
    tail: bytes, level: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """zlib packs otherwise where it is zlib-ng; what libdeflate stores at the end has no header with codes."""
    monkeypatch.delattr(zlib, "compressobj")
    content = real_text(1_000_000) + tail
    joined = open_ended(content, level)
    assert zlib.decompressobj(-zlib.MAX_WBITS).decompress(joined + b"\x03\x00") == content
    assert len(joined) < len(deflate.deflate_compress(content, level)) * 1.002 + 4096


@settings(max_examples=60, deadline=None)
@given(
    st.lists(
        st.tuples(st.sampled_from([b"a", b"import os\n", b"\0\xff", _NOISE[:999]]), st.integers(1, 9000)), max_size=9
    ),
    st.integers(0, len(_NOISE)),
    st.sampled_from([1, 6, 12]),
)
def test_any_piece_can_be_followed(parts: list[tuple[bytes, int]], noise: int, level: int) -> None:
    content = b"".join(text * count for text, count in parts)[:1_500_000] + _NOISE[:noise]
    assert zlib.decompressobj(-zlib.MAX_WBITS).decompress(open_ended(content, level) + b"\x03\x00") == content


@given(st.binary(max_size=70), st.sampled_from([1, 2, 99]), st.sampled_from([1, 7, 12]))
def test_the_smallest_pieces_can_be_followed(data: bytes, times: int, level: int) -> None:
    assert zlib.decompressobj(-zlib.MAX_WBITS).decompress(open_ended(data * times, level) + b"\x03\x00") == data * times


@given(st.binary(max_size=3000), st.binary(max_size=3000))
def test_crc32_of_two_strings_from_theirs(first: bytes, second: bytes) -> None:
    assert crc32_joined(crc32(first), crc32(second), len(second)) == zlib.crc32(first + second)


def test_crc32_joined_over_more_than_one_block_of_zeros() -> None:
    first, second = b"abc", real_text(2_500_001)
    assert crc32_joined(crc32(first), crc32(second), len(second)) == zlib.crc32(first + second)


def test_samples_tell_noise_from_text() -> None:
    assert is_incompressible([_NOISE[:16384], _NOISE[16384:32768]])
    assert not is_incompressible([_NOISE[:16384], real_text(16384)])


def test_levels() -> None:
    assert deflate_level("fast") < deflate_level("default") < deflate_level("max") == 12
    assert zstd_level("fast") < zstd_level("default") < zstd_level("max") == 18
    assert deflate_level("9") == deflate_level(9) == 9
    for wrong in ("", "0", "13", "best", "-1", "\u0669"):
        with pytest.raises(InputError, match="level"):
            deflate_level(wrong)
    with pytest.raises(InputError, match="level"):
        zstd_level("23")
