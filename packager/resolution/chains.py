"""Which lines lead to a package, and through which packages."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

from packaging.utils import canonicalize_name

from packager.lock import LockedPackage
from packager.resolution.conflicts import Wish


def by_package(wishes: Iterable[Wish]) -> dict[str, list[Wish]]:
    """The wishes of each package, by its normalised name."""
    found: dict[str, list[Wish]] = {}
    for wish in wishes:
        found.setdefault(wish.package, []).append(wish)
    return found


def chains(package: str, wishes: Mapping[str, Sequence[Wish]], packages: Mapping[str, LockedPackage]) -> list[Wish]:
    """For each of `wishes` that leads to `package`, the wish with the shortest chain of packages between.

    `wishes` and `packages` are by normalised name. The lines for `package` itself come first, with nothing between.
    """
    found: dict[Wish, Wish] = {}
    queue: list[tuple[str, tuple[str, ...]]] = [(package, ())]
    seen = {package}
    for here, through in queue:
        for wish in wishes.get(here, ()):
            found.setdefault(wish, replace(wish, through=through))
        for above in map(canonicalize_name, packages[here].via if here in packages else ()):
            if above in packages and above not in seen:
                seen.add(above)
                queue.append((above, (packages[above].pin, *through)))
    return list(found.values())
