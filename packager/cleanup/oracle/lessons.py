"""What was learned, as exceptions that can be pasted into a recipe or a rule."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import yaml

from packager.cleanup.layout import TreeLayout
from packager.cleanup.oracle.gone import Finding
from packager.cleanup.patterns import pattern_problem
from packager.cleanup.walk import lineage, printable

_REASON = 1000  # characters a reason may have in a rule (schema.json)
_RECIPE_REASON = 500  # and in a recipe (recipe.schema.json)


def exceptions_yaml(findings: Iterable[Finding], layout: TreeLayout) -> str:
    """What was learned in both forms: `cleanup.exceptions` of a recipe, and for each rule its `keep` list as in
    cleanup_rules/*.yml; "" if it is nothing."""
    by_rule: dict[str, list[dict[str, str]]] = {}
    for finding in findings:
        by_rule.setdefault(finding.rule, []).append(_keep(finding, layout))
    if not by_rule:
        return ""
    exceptions = [
        {"rule": rule, "pattern": keep["pattern"], "reason": keep["reason"][:_RECIPE_REASON]}
        for rule in sorted(by_rule)
        for keep in by_rule[rule]
    ]
    texts = [f"# for a recipe\n{_yaml({'cleanup': {'exceptions': exceptions}})}"]
    texts += [f"# or for a rule file, to rule {rule}\n{_yaml({'keep': by_rule[rule]})}" for rule in sorted(by_rule)]
    return "\n".join(texts)


def _yaml(value: Any) -> str:
    return yaml.safe_dump(value, sort_keys=False, allow_unicode=True, width=120)


def _keep(finding: Finding, layout: TreeLayout) -> dict[str, str]:
    source = f"found by the oracle ({finding.how}{f', {finding.probe}' if finding.probe else ''})"
    return {
        "pattern": _pattern(finding.path, layout),
        "reason": printable(finding.evidence)[:_REASON],
        "source": source,
    }


def _pattern(path: str, layout: TreeLayout) -> str:
    """From the folder of the scope. What is special in a pattern, or cannot be written in one, matches any letter."""
    folder = next((place for place in [*lineage(path), ""] if place in layout.scopes and place != path), "")
    local = path[len(folder) + 1 if folder else 0 :]
    plain = "".join(letter if letter.isprintable() and letter not in "*?[]\\" else "?" for letter in local)
    pattern = f"/{plain}"
    return pattern if pattern_problem(pattern) is None else f"/{plain.rpartition('/')[0] or '*'}/"
