"""The record that ships with a bundle: what was removed and by which rule, so that `doctor` can tell."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from packager.cleanup.plan import CleanupPlan, Saving
from packager.cleanup.walk import printable
from packager.filesystem import write_json


def removed_record(plan: CleanupPlan) -> dict[str, Any]:
    """`format` 1, `tier`, `opt_in` and `rules`, sorted by id: id, why, rebuilt, removed, files, bytes.

    `removed` maps a folder, from the bundle's root ("" for the root itself), to names in it; a name that ends with / is
    a folder that went whole. Of a rule whose files come back by themselves (`rebuilt`) nothing more is told: bytecode
    holds the path it was compiled at, so that even its size would differ from one build folder to another.
    """
    rules = {rule.id: rule for rule in plan.rules}
    removed: dict[str, dict[str, list[str]]] = {rule: {} for rule in rules}
    for removal in plan.removals:
        folder, _, name = removal.path.rpartition("/")
        names = removed[removal.rule].setdefault(printable(folder), [])
        names.append(printable(name) + ("/" if removal.is_dir else ""))
    return {
        "format": 1,
        "tier": plan.tier,
        "opt_in": list(plan.opt_in),
        "rules": [
            {"id": saving.name, "why": rules[saving.name].why, "rebuilt": rules[saving.name].rebuilt}
            | ({} if rules[saving.name].rebuilt else _what_went(saving, removed[saving.name]))
            for saving in sorted(plan.by_rule(), key=lambda saving: saving.name)
        ],
    }


def _what_went(saving: Saving, removed: dict[str, list[str]]) -> dict[str, Any]:
    return {"files": saving.files, "bytes": saving.bytes, "removed": removed}


def write_removed(plan: CleanupPlan, path: Path) -> None:
    """Write the record of `plan` to `path`, atomically. Same plan, same bytes."""
    write_json(path, removed_record(plan))
