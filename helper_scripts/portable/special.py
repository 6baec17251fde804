"""Packages in requirement files that are taken as another one, or never: those that bring the same module under several
names, and strangers that hide a module of ComfyUI's. The rules are the bundle's, in portable/protected.json."""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Any

from portable.bundle import Bundle
from portable.distributions import normalise

_NAME = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9._-]*[A-Za-z0-9])?")


@dataclass(frozen=True, kw_only=True)
class Family:
    """`members` are in order of preference, each with what it has beyond the others."""

    members: Mapping[str, frozenset[str]]
    why: str


@dataclass(frozen=True, kw_only=True)
class Special:
    """`never` holds the reason by name."""

    never: Mapping[str, str] = field(default_factory=dict)
    families: tuple[Family, ...] = ()

    def judge(self, line: str, there: Collection[str]) -> tuple[str | None, str]:
        """What is taken instead of a requirement's `line`, None for nothing; and why, empty if it is taken as it is.

        `there` are the names of the installed packages: a member that is there already is preferred.
        """
        found = _NAME.match(line)
        if found is None or "@" in line or "://" in line:
            return line, ""
        name = normalise(found[0])
        if name in self.never:
            return None, f"never installed: {self.never[name]}"
        for family in self.families:
            if name not in family.members:
                continue
            able = [other for other, offers in family.members.items() if offers >= family.members[name]]
            chosen = next((other for other in able if other in there), able[0])
            if chosen != name:
                instead = chosen + line[found.end() :]
                return instead, f"taken as {instead!r}: {family.why}"
        return line, ""


def read_special(bundle: Bundle) -> Special:
    """The rules of the bundle; none if it was made without."""
    try:
        value: Any = json.loads((bundle.portable / "protected.json").read_text(encoding="utf-8"))
        families = [
            Family(
                members={normalise(item["name"]): frozenset(item["offers"]) for item in family["members"]},
                why=str(family["why"]),
            )
            for family in value.get("one_of", ())
        ]
        never = {normalise(item["name"]): str(item["why"]) for item in value.get("never", ())}
        return Special(never=never, families=tuple(families))
    except (OSError, ValueError, LookupError, TypeError, AttributeError):
        return Special()
