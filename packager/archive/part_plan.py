"""Which part each entry of a large bundle goes into: whole members, balanced, and the same from build to build.

Entries are taken together by folder, so that a changed package touches the part it lies in. Groups of some size are
placed largest first on the part that holds least, by sizes rounded up so coarsely that a small change leaves all of
them where they are; the small groups fill the room left by the hash of their folder's name, so that a new one moves no
other.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from pathlib import PurePosixPath

from packager.errors import InputError

_DEPTH = 5  # folders of python/lib/python3.X/site-packages/NAME
_STEPS = 64  # sizes are rounded up to this share of a part
_HEAVY = 16  # groups from this share of a part are placed by size
_LARGEST = 8  # a folder over this share of a part is divided into what is in it


def plan_parts(sizes: Mapping[str, int], limit: int, *, is_first: Callable[[str], bool]) -> dict[str, int]:
    """Path -> part, from 1. `sizes` are the bytes an entry takes in a zip, headers included; `limit` those of a part.

    Paths of which `is_first` holds lie in part 1. Raises InputError for an entry, or first entries together, over
    `limit`.
    """
    largest = max(sizes, key=lambda path: (sizes[path], path))
    if sizes[largest] > limit:
        raise InputError(
            f"it takes {sizes[largest]} bytes, and a part may have {limit}",
            where=largest,
            remedy="raise archive.max_part_size (--max-part-size), or leave the file out of the bundle",
        )
    first = {path for path in sizes if is_first(path)}
    pinned = sum(sizes[path] for path in first)
    if pinned > limit:
        raise InputError(
            f"what part 1 must hold takes {pinned} bytes, and a part may have {limit}",
            where="archive.max_part_size",
            remedy="raise it at least so far",
        )
    groups = _groups({path: size for path, size in sizes.items() if path not in first}, limit // _LARGEST, _DEPTH)
    count = -(-sum(sizes.values()) // limit)
    while True:
        plan = _place(groups, sizes, pinned, count, limit)
        loads = [pinned] + [0] * (count - 1)
        for path, part in plan.items():
            loads[part - 1] += sizes[path]
        if max(loads) <= limit:
            return plan | dict.fromkeys(first, 1)
        count += 1


def _groups(sizes: Mapping[str, int], largest: int, depth: int) -> dict[str, list[str]]:
    """Folder, or path of a member alone -> its paths: no group is over `largest` bytes unless it is one member."""
    by_folder: dict[str, list[str]] = {}
    for path in sizes:
        parts = PurePosixPath(path).parts
        alone = sizes[path] > largest // (_STEPS // _LARGEST)
        by_folder.setdefault(path if alone else "/".join(parts[:depth]), []).append(path)
    groups: dict[str, list[str]] = {}
    for key, paths in by_folder.items():
        if len(paths) > 1 and sum(sizes[path] for path in paths) > largest:
            groups |= _groups({path: sizes[path] for path in paths}, largest, depth + 1)
        else:
            groups[key] = paths
    return groups


def _place(
    groups: Mapping[str, list[str]], sizes: Mapping[str, int], pinned: int, count: int, limit: int
) -> dict[str, int]:
    step = max(limit // _STEPS, 1)
    weights = {key: sum(sizes[path] for path in paths) for key, paths in groups.items()}
    steps = {key: -(-weight // step) for key, weight in weights.items() if weight >= limit // _HEAVY}
    loads = [-(-pinned // step)] + [0] * (count - 1)
    places = {}
    for key in sorted(steps, key=lambda key: (-steps[key], key)):
        place = loads.index(min(loads))
        loads[place] += steps[key]
        places[key] = place
    rest = -(-sum(weight for key, weight in weights.items() if key not in steps) // step)
    level = -(-(sum(loads) + rest) // count)
    rooms = [max(level - load, 0) for load in loads]
    for key in weights:
        if key not in steps:
            places[key] = _by_hash(key, rooms)
    return {path: places[key] + 1 for key, paths in groups.items() for path in paths}


def _by_hash(key: str, rooms: list[int]) -> int:
    """The part in whose share of all room the hash of `key` falls."""
    number = int.from_bytes(hashlib.sha256(key.encode(errors="surrogateescape")).digest()[:8], "big")
    point = number * sum(rooms) >> 64
    for place, room in enumerate(rooms):
        if point < room:
            return place
        point -= room
    return 0
