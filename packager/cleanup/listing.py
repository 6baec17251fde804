"""The rules as a list, for people and for programs."""

from __future__ import annotations

import dataclasses
import textwrap
from collections.abc import Mapping
from typing import Any, get_args

from packager.cleanup.rules import Rule, RuleSet
from packager.cleanup.savings import LastSaving
from packager.targets import OS


def rules_json(rules: RuleSet, last: Mapping[str, LastSaving] | None = None) -> dict[str, Any]:
    """Rules and protections as plain values, in the order in which they are tried; `last_build`: what `last` has."""
    saved = {rule: dataclasses.asdict(saving) for rule, saving in (last or {}).items()}
    return {
        "rules": [
            dataclasses.asdict(rule) | ({"last_build": saved[rule.id]} if rule.id in saved else {})
            for rule in rules.rules
        ],
        "protected": [dataclasses.asdict(protection) for protection in rules.protections],
    }


def rules_table(rules: RuleSet, last: Mapping[str, LastSaving] | None = None) -> str:
    """Tier, id, folders, patterns, why, and the exceptions of each rule; then what no rule may touch.

    `last`: what rules saved in the last build here, by id.
    """
    saved = last or {}
    lines = []
    for tier in ("safe", "aggressive", "opt-in"):
        for rule in rules.rules:
            if rule.tier == tier:
                lines.append(f"{rule.tier:<11} {rule.id:<24} {', '.join(rule.scopes)}")
                lines += _paragraph("", f"{rule.why}." + (f" Saved: {rule.measured}." if rule.measured else ""))
                lines += _paragraph("goes:  ", ", ".join(rule.patterns))
                lines += _conditions(rule)
                for keep in rule.keep:
                    lines += _paragraph("stays: ", f"{keep.pattern} ({keep.reason}; source: {keep.source})")
                if rule.id in saved:
                    lines += _paragraph("last build: ", str(saved[rule.id]))
    lines += ["", "no rule touches"]
    for protection in rules.protections:
        lines.append(f"{'':<11} {protection.id:<24} {', '.join(protection.patterns)}")
        lines += _paragraph("", f"{protection.reason}.")
    return "\n".join(lines)


def _conditions(rule: Rule) -> list[str]:
    """When alone the patterns hold."""
    lines = []
    if rule.beside:
        lines += _paragraph("only if beside it lies: ", ", ".join(rule.beside).replace("{stem}", "NAME"))
    if len(rule.targets) < len(get_args(OS)):
        lines += _paragraph("only for: ", ", ".join(rule.targets))
    if rule.bundle_only:
        lines += _paragraph("only in: ", "what a build made; anywhere else somebody may be at work on these files")
    return lines


def _paragraph(title: str, text: str) -> list[str]:
    margin = " " * 14
    return textwrap.wrap(
        text, 120, initial_indent=margin + title, subsequent_indent=margin + " " * len(title), break_on_hyphens=False
    )
