"""All that differs between the bundle as it is and as it was shipped, put together for `verify` and `doctor`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any

from portable import snapshots
from portable.bundle import Bundle
from portable.completeness import MANIFEST
from portable.unknown import Removed, find_unknown, read_removed, why_removed
from portable.user_data import UserData
from portable.verify import Damage, find_damage, judge, left_by, parts_to_unzip, read_manifest


@dataclass(frozen=True, kw_only=True)
class Inspection:
    """`damage` is missing or damaged, `changed` what a helper did on purpose, `yours` differences in what is the user's
    own, `unknown` paths with the number of files each stands for. `removed` was left out when the bundle was built."""

    checked: int
    damage: tuple[Damage, ...]
    changed: tuple[Damage, ...]
    yours: tuple[Damage, ...]
    unknown: tuple[tuple[str, int], ...]
    advice: tuple[str, ...]
    removed: Mapping[str, Removed]

    def to_json(self) -> dict[str, Any]:
        return {
            "checked": self.checked,
            "damage": [vars(item) for item in self.damage],
            "changed": [vars(item) for item in self.changed],
            "yours": [vars(item) for item in self.yours],
            "unknown": [
                {"path": path, "files": count, "removed": vars(rule) if rule else None}
                for path, count in self.unknown
                for rule in [why_removed(path, self.removed)]
            ],
            "advice": list(self.advice),
        }

    @property
    def summary(self) -> str:
        notes = [
            f", {count} {what}"
            for count, what in (
                (len(self.changed), "changed by helpers"),
                (len(self.yours), "of yours differ"),
                (sum(count for _, count in self.unknown), "unknown"),
            )
            if count
        ]
        return f"{self.checked} entries checked{''.join(notes)}, {len(self.damage)} missing or damaged"


def inspect(bundle: Bundle, *, contents: bool = True) -> Inspection:
    """Compare the bundle with its manifest; without `contents` by sizes alone. Raises HelperError if there is none."""
    entries = read_manifest(bundle.root / MANIFEST)
    by_path = {entry["path"]: entry for entry in entries}
    own = UserData.of(bundle, by_path)
    records = snapshots.history(bundle.root)
    sorted_out: dict[str, list[Damage]] = {"damage": [], "changed": [], "yours": []}
    for item in judge(bundle.root, find_damage(bundle.root, entries, contents=contents), records):
        yours = own.decides(item.path, is_there=item.kind != "missing")
        kind = "changed" if item.kind == "changed" else "yours" if yours else "damage"
        sorted_out[kind].append(item)
    left = left_by(records)
    known = {*by_path, MANIFEST, *(path for path, (_, content) in left.items() if content is not None)}
    whole = [path for path, (_, content) in left.items() if content is not None and content.kind == "directory"]
    return Inspection(
        checked=len(entries),
        damage=tuple(sorted_out["damage"]),
        changed=tuple(sorted_out["changed"]),
        yours=tuple(sorted_out["yours"]),
        unknown=tuple(find_unknown(bundle.root, known, whole, own)),
        advice=tuple(parts_to_unzip(bundle.root, entries, sorted_out["damage"])),
        removed=read_removed(bundle.portable / "removed.json"),
    )


def explain(bundle: Bundle, inspection: Inspection, path: str) -> str:
    """One sentence on what is at `path`, from the bundle's root with forward slashes."""
    for item in (*inspection.damage, *inspection.changed, *inspection.yours):
        if item.path == path:
            return f"{item.kind}{f': {item.detail}' if item.detail else ''}"
    places = [path, *(f"{parent}" for parent in PurePosixPath(path).parents)]
    there = (bundle.root / path).exists() or (bundle.root / path).is_symlink()
    rule = why_removed(path, inspection.removed)
    if rule and not there:
        return f"left out when the bundle was built, by rule {rule.rule}: {rule.why}"
    if any(name.rstrip("/") in places for name, _ in inspection.unknown):
        return "unknown: it was not shipped, and no helper put it there" + (
            f" (it was left out by rule {rule.rule}: {rule.why})" if rule else ""
        )
    return "as it should be" if there else "not there, and it was not shipped"
