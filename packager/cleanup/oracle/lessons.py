"""What was learned, as exceptions that can be pasted into a rule."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import yaml

from packager.cleanup.layout import TreeLayout
from packager.cleanup.oracle.gone import Finding
from packager.cleanup.patterns import pattern_problem
from packager.cleanup.walk import lineage, printable

_REASON = 1000  # characters a reason may have (schema.json)


def exceptions_yaml(findings: Iterable[Finding], layout: TreeLayout) -> str:
    """For each rule its `keep` list, in the form of cleanup_rules/*.yml; "" if nothing was learned."""
    by_rule: dict[str, list[Finding]] = {}
    for finding in findings:
        by_rule.setdefault(finding.rule, []).append(finding)
    texts = []
    for rule in sorted(by_rule):
        keeps = [_keep(finding, layout) for finding in by_rule[rule]]
        listed = yaml.safe_dump({"keep": keeps}, sort_keys=False, allow_unicode=True, width=120)
        texts.append(f"# to rule {rule}\n{listed}")
    return "\n".join(texts)


def _keep(finding: Finding, layout: TreeLayout) -> dict[str, Any]:
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
