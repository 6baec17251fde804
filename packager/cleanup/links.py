"""Where a link leads, hop by hop, through whatever links lie on its way."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

_MAX_LINKS = 40  # Linux gives up there (path_resolution(7))


def hops(link: Path) -> Iterator[Path]:
    """The links that following `link` goes through, itself first, and what it ends at, there or not.

    Each is named by real folders, if those of `link` are: `lib64/x` comes as `lib64`, then as `lib/x`. A circle ends.
    """
    place, ahead, followed = link.parent, [link.name], 0
    while ahead:
        name = ahead.pop()
        if name == os.pardir:
            place = place.parent
            continue
        try:
            target = (place / name).readlink()
        except OSError:  # no link, or nothing at all
            place /= name
            continue
        yield place / name
        followed += 1
        if followed == _MAX_LINKS:
            return
        parts = target.parts
        if target.is_absolute():
            place, parts = Path(target.anchor), parts[1:]
        ahead += reversed(parts)
    yield place
