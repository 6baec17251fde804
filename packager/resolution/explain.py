"""Why a package is in a lock: who asked for it, through which packages, and which rule chose its version."""

from __future__ import annotations

import dataclasses
import difflib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from packaging.utils import canonicalize_name

from packager.errors import InputError
from packager.lock import Lock, LockedAddition, LockedPackage
from packager.resolution.chains import by_package, chains
from packager.resolution.conflicts import Decision, Wish

_LAWS = ("constraints", "overrides")


@dataclass(frozen=True, kw_only=True)
class Explanation:
    """`locked` is None for a package that is not in the lock, and `decisions` say why not.

    `asked` has one wish for each line that leads to the package, the packages between in `through`. `additions` are the
    patches and native packages that bring it or take it out, `brought` says how the last one does: 'patches[0] > a'.
    """

    package: str
    target: str
    locked: LockedPackage | None
    asked: tuple[Wish, ...]
    decisions: tuple[Decision, ...]
    rule: str
    additions: tuple[LockedAddition, ...] = ()
    brought: tuple[str, ...] = ()

    def to_json(self) -> dict[str, Any]:
        return dataclasses.asdict(self)

    def __str__(self) -> str:
        origin = f", from {self.locked.url or self.locked.index or 'an index'}" if self.locked else ""
        pin = self.locked.version or self.locked.url if self.locked else "is not installed"
        lines = [f"{self.package} {pin} for {self.target}{origin}", "asked for by:"]
        asked = [*(_chain(wish, self.package) for wish in self.asked), *self.brought]
        lines += [f"    {words}" for words in asked or ["the packager, for every bundle"]]
        lines.append(f"version chosen by: {self.rule}")
        lines += [f"    {line}" for item in (*self.decisions, *self.additions) for line in str(item).splitlines()]
        return "\n".join(lines)


def explain(lock: Lock, name: str, *, where: str) -> Explanation:
    """Explain package `name`. Raises InputError, naming the lock `where`, if it is neither in it nor decided upon."""
    wanted = canonicalize_name(name)
    packages: dict[str, LockedPackage] = {canonicalize_name(item.name): item for item in lock.packages}
    locked = packages.get(wanted)
    decisions = tuple(item for item in lock.decisions if _concerns(item, wanted, locked))
    additions = tuple(item for item in lock.additions if _is_about(item, wanted))
    direct = tuple(wish for wish in lock.asked if wish.package == wanted and wish.layer not in _LAWS)
    if locked is None and not decisions and not direct and not additions:
        added = [canonicalize_name(item.name) for addition in lock.additions for item in addition.packages]
        close = difflib.get_close_matches(wanted, [*packages, *added], n=3)
        remedy = f"did you mean {' or '.join(close)}?" if close else "the packages are listed in the lock"
        raise InputError(f"holds no package '{name}'", where=where, remedy=remedy)
    chains = [] if locked is None else _chains(lock, packages, wanted)
    overruled = [wish for item in decisions for wish in item.overruled]
    return Explanation(
        package=wanted,
        target=lock.target,
        locked=_installed(locked, additions, wanted),
        asked=tuple(dict.fromkeys([*direct, *chains, *overruled])),
        decisions=decisions,
        rule=_addition_rule(additions, wanted) or _rule(lock, wanted, decisions),
        additions=additions,
        brought=tuple(_way(addition, wanted) for addition in additions if _brings(addition, wanted)),
    )


def _is_about(addition: LockedAddition, package: str) -> bool:
    """Whether it brings `package`, takes it out, or is called so."""
    names = [addition.name, *addition.uninstall, *(item.name for item in addition.packages)]
    return package in {str(canonicalize_name(name)) for name in names}


def _brings(addition: LockedAddition, package: str) -> LockedPackage | None:
    return next((item for item in addition.packages if canonicalize_name(item.name) == package), None)


def _takes_out(addition: LockedAddition, package: str) -> bool:
    return any(canonicalize_name(name) == package for name in addition.uninstall)


def _installed(locked: LockedPackage | None, additions: Sequence[LockedAddition], package: str) -> LockedPackage | None:
    """What is there in the end: additions come after the packages, in their order."""
    for addition in additions:
        locked = _brings(addition, package) or (None if _takes_out(addition, package) else locked)
    return locked


def _way(addition: LockedAddition, package: str) -> str:
    """From the addition through packages to `package`: 'sageattention > einops==0.8'."""
    by_name: dict[str, LockedPackage] = {canonicalize_name(item.name): item for item in addition.packages}
    steps: list[str] = []
    while package in by_name and by_name[package].pin not in steps:
        steps.insert(0, by_name[package].pin)
        package = next((name for name in map(canonicalize_name, by_name[package].via) if name in by_name), "")
    return " > ".join([addition.name, *steps])


def _addition_rule(additions: Sequence[LockedAddition], package: str) -> str | None:
    """By which rule an addition had the last word; None if none had."""
    for addition in reversed(additions):
        kind = "the recipe's patches come after all else" if addition.kind == "patch" else "the first that can be had"
        if _brings(addition, package) or _takes_out(addition, package):
            return f"{addition.kind}: {addition.name} ({kind})"
        if canonicalize_name(addition.name) == package and addition.chosen is None:
            return f"{addition.kind}: {addition.name} is left out, since nothing can be had"
    return None


def _chain(wish: Wish, package: str) -> str:
    steps = "".join(f" > {step}" for step in wish.through)
    end = f" > {package}" if wish.through else ""
    return f"{wish.layer}: '{wish.text}' ({wish.file}:{wish.line}){steps}{end}"


def _concerns(decision: Decision, package: str, locked: LockedPackage | None) -> bool:
    return (
        decision.package == package
        or any(wish.package == package for wish in decision.wants)
        or (locked is not None and decision.chosen in (locked.name, locked.pin))
    )


def _rule(lock: Lock, package: str, decisions: tuple[Decision, ...]) -> str:
    if decisions:
        return f"{decisions[0].rule}: {decisions[0].why}"
    for law in _LAWS:
        for wish in lock.asked:
            if wish.layer == law and wish.package == package:
                return f"recipe: '{wish.text}' under `{law}:` ({wish.file}:{wish.line})"
    return "newest: the newest version that all who ask admit, unless an older lock held another"


def _chains(lock: Lock, packages: dict[str, LockedPackage], package: str) -> list[Wish]:
    """For each line that leads to `package`, the wish with the shortest chain of packages between."""
    lines = by_package(wish for wish in lock.asked if wish.layer not in _LAWS)
    for decision in lock.decisions:  # one package may stand for others, under whose names the lines ask
        for wish in decision.wants:
            if wish.package != decision.chosen and not wish.through:
                lines.setdefault(decision.chosen, []).append(wish)
    return chains(package, lines, packages)
