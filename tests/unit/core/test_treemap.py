"""The treemap's boxes: each has its share of the area, and together they fill the picture."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from packager.treemap import Box, squarify, treemap

_EDGE = 1e-6  # of a side: what sums of floats may be off


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.integers(1, 10**10), min_size=1, max_size=30).map(lambda sizes: sorted(sizes, reverse=True)),
    st.floats(1, 2000),
    st.floats(1, 2000),
)
def test_boxes_have_their_share_and_neither_overlap_nor_leave_the_picture(
    sizes: list[int], width: float, height: float
) -> None:
    whole = Box(x=3, y=5, width=width, height=height)
    boxes = squarify(sizes, whole)
    for size, box in zip(sizes, boxes, strict=True):
        assert box.width * box.height == pytest.approx(width * height * size / sum(sizes), rel=1e-6, abs=1e-6)
        assert box.x >= whole.x - _EDGE * width
        assert box.y >= whole.y - _EDGE * height
        assert box.x + box.width <= whole.x + width * (1 + _EDGE)
        assert box.y + box.height <= whole.y + height * (1 + _EDGE)
    assert sum(box.width * box.height for box in boxes) == pytest.approx(width * height)
    for one, other in itertools.combinations(boxes, 2):
        across = min(one.x + one.width, other.x + other.width) - max(one.x, other.x)
        down = min(one.y + one.height, other.y + other.height) - max(one.y, other.y)
        assert across <= _EDGE * width or down <= _EDGE * height


def test_boxes_are_near_to_squares() -> None:
    """The paper's example: 6, 6, 4, 3, 2, 2, 1 in 6 by 4; no box there is longer than 3 times its width."""
    boxes = squarify([6, 6, 4, 3, 2, 2, 1], Box(x=0, y=0, width=6, height=4))
    assert [(box.x, box.y) for box in boxes[:2]] == [(0, 0), (0, 2)]
    assert all(1 / 3 < box.width / box.height < 3 for box in boxes)


def test_what_is_empty_takes_no_room() -> None:
    whole = Box(x=0, y=0, width=10, height=10)
    assert squarify([], whole) == []
    assert [(box.width, box.height) for box in squarify([0, 0], whole)] == [(0, 0)] * 2
    assert [box.width * box.height for box in squarify([5, 0], whole)] == [100, 0]
    assert treemap({}, {}) == ""
