"""A treemap of the bundle before and after the clean-up, as an SVG that needs nothing else.

Squarified (Bruls, Huizing and van Wijk, "Squarified Treemaps", 2000). Both pictures have one scale, so that the second
is smaller by what was saved; in the first, what went is the pale share of each field.
"""

from __future__ import annotations

import html
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from packager.console import format_bytes
from packager.places import Places

_WIDTH, _HEIGHT, _TITLE = 960.0, 420.0, 22.0  # pixels; the last is the height of a picture's own line
_SMALLEST = 2.0  # pixels: a side shorter than this cannot be seen
_LETTER = 6.4  # pixels a letter takes
_COLOURS = {
    "packages": "#3d6fb4",
    "standard library": "#2f8f83",
    "Python": "#7a5fb0",
    "nodes": "#c2703a",
    "app": "#b0883b",
    "helpers": "#7d8796",
}


@dataclass(frozen=True, kw_only=True)
class Box:
    x: float
    y: float
    width: float
    height: float


def treemap(before: Places, after: Places) -> str:
    """The picture of both, largest first; '' if there was nothing. Texts from outside are escaped."""
    whole = sum(sum(items.values()) for items in before.values())
    if not whole:
        return ""
    left = sum(sum(items.values()) for items in after.values())
    first = Box(x=0, y=_TITLE, width=_WIDTH, height=_HEIGHT)
    share = min((left / whole) ** 0.5, 1.0)
    second = Box(x=0, y=_HEIGHT + 2.5 * _TITLE, width=_WIDTH * share, height=_HEIGHT * share)
    height = second.y + second.height + _TITLE
    parts = [
        f'<svg viewBox="0 0 {_WIDTH:.0f} {height:.0f}" role="img" aria-label="where the bytes are" class="treemap">',
        _line(0, _TITLE - 7, f"before the clean-up: {format_bytes(whole)}"),
        *_picture(first, before, after),
        _line(0, second.y - 7, f"in the bundle: {format_bytes(left)}"),
        *_picture(second, after, after),
        "</svg>",
        '<p class="muted">'
        + " ".join(
            f'<span class="key" style="background:{_COLOURS.get(part, "#7d8796")}"></span> {html.escape(part)} '
            f"{format_bytes(sum(items.values()))}"
            for part, items in _largest_first(before)
        )
        + " before; pale: what went. Hold the pointer over a field to read it.</p>",
    ]
    return "\n".join(parts)


def _picture(box: Box, places: Places, left: Places) -> Iterator[str]:
    groups = _largest_first(places)
    boxes = squarify([sum(items.values()) for _, items in groups], box)
    for (part, items), place in zip(groups, boxes, strict=True):
        colour = _COLOURS.get(part, "#7d8796")
        fields = sorted(items.items(), key=lambda item: (-item[1], item[0]))
        for (name, size), field in zip(fields, squarify([size for _, size in fields], place), strict=True):
            if min(field.width, field.height) >= _SMALLEST:
                yield _field(field, colour, part, name, size, left.get(part, {}).get(name, 0))


def _field(box: Box, colour: str, part: str, name: str, size: int, left: int) -> str:
    stays = min(left / size, 1.0) if size else 1.0
    told = f"{part}: {name}, {format_bytes(size)}" + (
        f", of which {format_bytes(size - left)} went" if stays < 1 else ""
    )
    place = f'x="{box.x:.1f}" y="{box.y:.1f}" height="{box.height:.1f}"'
    shown = (
        f'<rect {place} width="{box.width:.1f}" fill="{colour}" fill-opacity=".3"/>'
        f'<rect {place} width="{box.width * stays:.1f}" fill="{colour}"/>'
        f'<rect {place} width="{box.width:.1f}" class="edge"/>'
    )
    return f"<g><title>{html.escape(told)}</title>{shown}{_label(box, name, size)}</g>"


def _label(box: Box, name: str, size: int) -> str:
    room = int((box.width - 8) / _LETTER)
    if room < 4 or box.height < 16:
        return ""
    text = name if len(name) <= room else f"{name[: room - 1]}…"
    lines = [_line(box.x + 4, box.y + 13, text, "label")]
    if box.height >= 32 and room >= 9:
        lines.append(_line(box.x + 4, box.y + 27, format_bytes(size), "label"))
    return "".join(lines)


def _line(x: float, y: float, text: str, kind: str = "head") -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" class="{kind}">{html.escape(text)}</text>'


def squarify(sizes: Sequence[int], box: Box) -> list[Box]:
    """Boxes that fill `box`, as near to squares as can be; their areas are as `sizes`, which are largest first."""
    total = sum(sizes)
    if not total:
        return [Box(x=box.x, y=box.y, width=0, height=0) for _ in sizes]
    scale = box.width * box.height / total
    areas = [size * scale for size in sizes]
    boxes: list[Box] = []
    start = 0
    while start < len(areas):
        side = min(box.width, box.height)
        end = start + 1
        while end < len(areas) and _worst(areas[start : end + 1], side) <= _worst(areas[start:end], side):
            end += 1
        row = areas[start:end]
        placed, box = _lay(row, box)
        boxes += placed
        start = end
    return boxes


def _worst(row: Sequence[float], side: float) -> float:
    """The largest ratio of sides among the boxes of a row along `side`."""
    total = sum(row)
    if total <= 0 or side <= 0 or row[-1] <= 0:
        return float("inf")
    return max(side * side * row[0] / (total * total), total * total / (side * side * row[-1]))


def _lay(row: Sequence[float], box: Box) -> tuple[list[Box], Box]:
    """The boxes of a row along the shorter side, and what is left of `box`."""
    total = sum(row)
    upright = box.width >= box.height
    length = box.height if upright else box.width
    thickness = total / length if length > 0 else 0
    boxes, offset = [], 0.0
    for area in row:
        step = area / thickness if thickness > 0 else 0
        if upright:
            boxes.append(Box(x=box.x, y=box.y + offset, width=thickness, height=step))
        else:
            boxes.append(Box(x=box.x + offset, y=box.y, width=step, height=thickness))
        offset += step
    if upright:
        rest = Box(x=box.x + thickness, y=box.y, width=max(box.width - thickness, 0), height=box.height)
    else:
        rest = Box(x=box.x, y=box.y + thickness, width=box.width, height=max(box.height - thickness, 0))
    return boxes, rest


def _largest_first(places: Places) -> list[tuple[str, Mapping[str, int]]]:
    return sorted(places.items(), key=lambda item: (-sum(item[1].values()), item[0]))
