"""Every category of the requirements that started this project: the rule that covers it, or why none does."""

from __future__ import annotations

import pytest

from packager.cleanup import RuleSet

# What the requirements name, line by line -> ids of rules, or of the protection that says why not.
COVERED = {
    "__pycache__": ("bytecode",),
    "tests, test directories": ("package-tests", "stdlib-tests", "app-tests", "node-tests"),
    "man": ("prefix-manuals",),
    "doc of the prefix": ("prefix-manuals",),
    "examples, benchmarks of packages that import none": ("package-samples",),
    "conda package cache: pkgs": ("conda-package-cache",),
    "conda-meta/*.json": ("conda-metadata",),
    "envs": ("conda-environments",),
    "static libraries (.a)": ("static-libraries", "prefix-static-libraries", "build-configuration"),
    "source maps (.js.map)": ("frontend-source-maps",),
    "headers (.h, .hpp)": ("no-jit",),
    "idlelib, turtledemo, lib2to3": ("stdlib-programs",),
    "tkinter": ("stdlib-tkinter",),
    "ensurepip": ("stdlib-ensurepip",),
    "distutils": ("stdlib-distutils",),
    ".git directories": ("app-repository", "node-repositories", "package-repositories"),
}
REFUSED = {
    "package metadata (.dist-info, .egg-info)": "package-metadata",
    "dynamic libraries, .dylibs": "dynamic-libraries",
    "unittest": "stdlib-in-use",
    "docs of comfyui_embedded_docs": "node-help",
}
# Categories whose loss somebody feels are never in the tier that is on by default.
NOT_SAFE = ("conda-metadata", "conda-environments", "no-jit", "stdlib-tkinter", "stdlib-distutils", "stdlib-ensurepip")


@pytest.mark.parametrize("category", COVERED)
def test_category_has_a_rule_that_says_why(rules: RuleSet, category: str) -> None:
    known = {rule.id: rule for rule in rules.rules}
    for rule in COVERED[category]:
        assert len(known[rule].why) > 20


@pytest.mark.parametrize("category", REFUSED)
def test_refusal_is_a_protection_with_reason_and_source(rules: RuleSet, category: str) -> None:
    found = {item.id: item for item in rules.protections}[REFUSED[category]]
    assert len(found.reason) > 20
    assert len(found.source) > 10


def test_what_somebody_misses_is_not_removed_by_default(rules: RuleSet) -> None:
    assert not {rule.id for rule in rules.select("safe", os="linux")} & set(NOT_SAFE)


def test_folders_called_docs_and_examples_are_taken_by_no_rule_as_such(rules: RuleSet) -> None:
    """10 of 217 probes fail without docs/; nodes have theirs served."""
    for rule in rules.rules:
        assert not {"docs/", "doc/", "examples/", "example/"} & set(rule.patterns), rule.id
