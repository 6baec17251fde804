"""The rules by which contradicting requirements are settled. Pure: what an index has is asked through a function.

Order of seeds: what ComfyUI and the recipe ask for wins over nodes; among nodes the newest wins.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

T = TypeVar("T")


@dataclass(frozen=True, kw_only=True)
class Wish:
    """One requirement and who has it.

    `layer` is a repository, or a field of the recipe; `file` and `line` (from 1) are where it stands. `through` are the
    packages between that line and `text` when a dependency, not the line itself, asks: ("mediapipe==0.10.9",).
    """

    layer: str
    file: str
    line: int
    text: str
    through: tuple[str, ...] = ()

    @property
    def requirement(self) -> Requirement:
        return Requirement(self.text)

    @property
    def package(self) -> str:
        """Normalised name (PEP 503)."""
        return canonicalize_name(self.requirement.name)

    def admits(self, version: str, url: str | None = None) -> bool:
        """Whether a package of that version, or from that address, is what is wished for."""
        requirement = self.requirement
        if requirement.url:
            return url is not None and _place(url) == _place(requirement.url)
        return not version or requirement.specifier.contains(version, prereleases=True)

    def __str__(self) -> str:
        chain = "".join(f" through {package}" for package in self.through)
        return f"{self.layer} wants '{self.text}'{chain} ({self.file}:{self.line})"


@dataclass(frozen=True, kw_only=True)
class Decision:
    """A settled conflict: who wanted what, what was chosen, by which rule, and what to write in the recipe instead.

    `wants` are all wishes for the package, the overruled ones are in `overruled` too.
    """

    package: str
    wants: tuple[Wish, ...]
    overruled: tuple[Wish, ...]
    chosen: str
    rule: str
    why: str
    override: str

    def __str__(self) -> str:
        lines = [f"conflict settled: {self.package}: chosen {self.chosen} by rule {self.rule} ({self.why})"]
        lines += [f"    {'overruled' if wish in self.overruled else 'heeded'}: {wish}" for wish in self.wants]
        return "\n".join([*lines, f"    to decide otherwise, in the recipe: {self.override}"])


RULES: Mapping[str, str] = {
    "recipe": "the recipe's author has the last word",
    "core-wins": "what ComfyUI and the recipe ask for goes before nodes",
    "newest-wins": "among nodes the newest version wins",
    "only-existing": "the index has no version for the other wish",
}


def _place(url: str) -> str:
    """An address without fragment and, for a repository, without the ref: a lock has the commit in its place."""
    place = url.split("#")[0]
    return re.sub(r"@[^/]*$", "", place).removesuffix(".git") if place.startswith("git+") else place


class UnsettledError(Exception):
    """Wishes that contradict each other, and no rule says which to leave."""

    def __init__(self, wishes: Sequence[Wish]) -> None:
        super().__init__("; ".join(map(str, wishes)))
        self.wishes = tuple(wishes)


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """Of the wishes for one package: those that hold, and those that give way with the rule that says so."""

    kept: tuple[Wish, ...]
    overruled: tuple[tuple[Wish, str], ...] = ()


Newest = Callable[[Sequence[Wish]], Version | None]


def settle(core: Sequence[Wish], nodes: Sequence[Wish], *, newest: Newest) -> Verdict:
    """Settle the wishes for one package; `core` are those of ComfyUI and the recipe.

    `newest` tells the newest version that admits all of the wishes it is given, None if there is none. The result does
    not depend on the order of `nodes`. Every kept wish is satisfied by `newest(kept)`. Raises UnsettledError if `core`
    contradicts itself, if nothing that is wished for exists, or if two nodes want different addresses.
    """
    if core and newest(core) is None:
        raise UnsettledError(core)
    ordered = sorted(nodes, key=lambda wish: (wish.layer, wish.file, wish.line, wish.text))
    overruled: list[tuple[Wish, str]] = []
    standing: list[tuple[Version, Wish]] = []
    for wish in ordered:
        version = newest([*core, wish])
        if version is not None:
            standing.append((version, wish))
        elif core:
            overruled.append((wish, "core-wins"))
        else:
            overruled.append((wish, "only-existing"))
    if nodes and not core and not standing:
        raise UnsettledError(ordered)
    kept = list(core)
    for _, wish in sorted(standing, key=lambda pair: pair[0], reverse=True):  # stable: equals stay in order
        if newest([*kept, wish]) is not None:
            kept.append(wish)
        elif rivals := [other for other in kept if wish.requirement.url or other.requirement.url]:
            raise UnsettledError([rivals[0], wish])
        else:
            overruled.append((wish, "newest-wins"))
    return Verdict(kept=tuple(kept), overruled=tuple(overruled))


def minimal(items: Sequence[T], fails: Callable[[Sequence[T]], bool]) -> list[T]:
    """A smallest-by-inclusion part of `items` for which `fails` still holds, in their order (QuickXplain, Junker 2004).

    `fails(items)` must hold, and must go on holding when items are added.
    """

    def explain(background: Sequence[T], added: bool, rest: Sequence[T]) -> list[T]:
        if added and fails(background):
            return []
        if len(rest) == 1:
            return list(rest)
        half = len(rest) // 2
        left, right = rest[:half], rest[half:]
        needed_right = explain([*background, *left], bool(left), right)
        needed_left = explain([*background, *needed_right], bool(needed_right), left)
        return needed_left + needed_right

    return [] if not items or fails([]) else explain([], False, items)


def faulty(items: Sequence[T], fails: Callable[[Sequence[T]], bool]) -> list[T]:
    """Those of `items` that fail by themselves; a half without a fault is asked about no further."""
    if not items or not fails(items):
        return []
    if len(items) == 1:
        return list(items)
    half = len(items) // 2
    return faulty(items[:half], fails) + faulty(items[half:], fails)


def bare(wish: Wish) -> Wish:
    """The same wish without a say in the version: name, extras and marker alone."""
    requirement = wish.requirement
    extras = f"[{','.join(sorted(requirement.extras))}]" if requirement.extras else ""
    marker = f" ; {requirement.marker}" if requirement.marker else ""
    return replace(wish, text=f"{requirement.name}{extras}{marker}")


def renamed(wish: Wish, package: str) -> Wish:
    """The same wish for another package of the same versions. An address, which is of one package, is dropped."""
    requirement = wish.requirement
    marker = f" ; {requirement.marker}" if requirement.marker else ""
    return replace(wish, text=f"{package}{requirement.specifier}{marker}")
