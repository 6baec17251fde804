"""What a plan takes away, asked by path."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from packager.cleanup.oracle.subject import Ownership
from packager.cleanup.plan import CleanupPlan, Removal
from packager.cleanup.walk import lineage


@dataclass(frozen=True, kw_only=True)
class Finding:
    """Why a path is taken out of the plan. `how`: static, trace, probe or bisection; `probe` is what showed it."""

    path: str
    rule: str
    how: str
    probe: str
    evidence: str


class Gone:
    """The removals of a plan. `place` is where what they take lies: the tree before, the quarantine's files after."""

    def __init__(self, plan: CleanupPlan, place: Path) -> None:
        self._removals = {removal.path: removal for removal in plan.removals if not removal.emptied}
        self._rebuilt = {rule.id for rule in plan.rules if rule.rebuilt}
        self._chosen = {rule.id for rule in plan.rules if rule.tier == "opt-in"}
        self._place = place
        self._tree = plan.root

    def removal(self, path: str) -> Removal | None:
        """The removal that takes `path`, also as part of a folder; None if it stays or never was there."""
        found = next((self._removals[place] for place in lineage(path) if place in self._removals), None)
        return found if found is not None and os.path.lexists(self._place / path) else None

    def may_take(self, path: str) -> bool:
        """Whether `path` is, or would be if it were there, below something that goes; cheaper than `removal`."""
        return any(place in self._removals for place in lineage(path))

    def is_folder(self, path: str) -> bool:
        place = self._place / path
        return place.is_dir() and not place.is_symlink()

    def is_rebuilt(self, removal: Removal) -> bool:
        """Whether a rule takes it whose files the program makes again, such as bytecode."""
        return removal.rule in self._rebuilt

    def is_chosen(self, removal: Removal) -> bool:
        """Whether an opt-in rule takes it, whose loss somebody has asked for by name."""
        return removal.rule in self._chosen

    def lasting(self) -> Iterator[Removal]:
        """The removals whose files do not come back by themselves, in the plan's order."""
        return (removal for removal in self._removals.values() if not self.is_rebuilt(removal))

    def digests(self, ownership: Ownership) -> Mapping[str, str]:
        """Owner -> digest of what goes from it, for those that something goes from; what comes back by itself too."""
        told: dict[str, list[str]] = {}
        files = _by_removal(self._removals, ownership.files)
        for removal in self._removals.values():
            for path in files.get(removal.path, (removal.path,)):
                told.setdefault(ownership.near(path), []).append(path)
        return {
            owner: hashlib.sha256("\n".join(sorted(paths)).encode("utf-8", "surrogateescape")).hexdigest()
            for owner, paths in told.items()
        }


def _by_removal(removals: Mapping[str, Removal], files: Iterable[str]) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for path in files:
        for place in lineage(path):
            if place in removals:
                found.setdefault(place, []).append(path)
                break
    return found
