"""The rule files: what is shipped, and every way in which one can be wrong."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from packager import resources
from packager.cleanup import RuleSet, load_rules, rules_json, rules_table
from packager.cleanup.patterns import pattern_problem
from packager.errors import DocumentError, InputError

RULE = """\
format: 1
rules:
  - id: mine
    scope: [site-packages]
    tier: safe
    category: tests
    why: because it is so
    patterns: [tests/]
"""


def write(folder: Path, text: str, name: str = "rules.yml") -> Path:
    (folder / name).write_text(text, encoding="utf-8")
    return folder


@pytest.mark.parametrize(
    "category",
    json.loads((resources.cleanup_rules() / "schema.json").read_text())["$defs"]["rule"]["properties"]["category"][
        "enum"
    ],
)
def test_every_category_has_a_rule(rules: RuleSet, category: str) -> None:
    assert any(rule.category == category for rule in rules.rules)


def test_shipped_rules_load_and_are_listed_with_reason_and_exceptions(rules: RuleSet) -> None:
    table = rules_table(rules)
    for rule in rules.rules:
        assert re.search(rf"^{rule.tier} +{rule.id} ", table, re.MULTILINE)
        for keep in rule.keep:
            assert f"stays: {keep.pattern}" in table
    told = {text.split()[1]: text for text in re.split(r"\n(?=safe|aggressive|opt-in)", table)}
    assert "only if beside it lies: NAME.*.so, NAME.so" in told["compiled-sources"]
    assert "only for: windows" in told["debug-symbols"]
    assert "only in: what a build made" in told["app-repository"]
    assert "only" not in told["stdlib-tests"].replace("only CPython", "")
    listed = json.loads(json.dumps(rules_json(rules)))
    assert [rule["id"] for rule in listed["rules"]] == [rule.id for rule in rules.rules]
    assert {"dynamic-libraries", "licences", "package-metadata"} <= {item["id"] for item in listed["protected"]}


def test_tiers_hold_one_another_and_opt_in_is_by_name(rules: RuleSet) -> None:
    def ids(tier: str, *opt_in: str) -> set[str]:
        return {rule.id for rule in rules.select(tier, opt_in, os="linux")}

    assert ids("none") == set()
    assert ids("safe") < ids("aggressive")
    assert not {"no-jit", "ui-template-media", "stdlib-tkinter"} & ids("aggressive")
    assert ids("safe", "no-jit") == ids("safe") | {"no-jit"}
    assert "debug-symbols" not in ids("safe")
    assert "debug-symbols" in {rule.id for rule in rules.select("safe", os="windows")}
    assert "debug-symbols" not in {rule.id for rule in rules.select("safe")}, "unknown system: no rule for one system"


@pytest.mark.parametrize(
    ("tier", "opt_in", "what"), [("reckless", (), "unknown tier"), ("safe", ("no-git",), "no-git")]
)
def test_unknown_tier_or_rule_is_bad_input(rules: RuleSet, tier: str, opt_in: tuple[str, ...], what: str) -> None:
    with pytest.raises(InputError, match=what):
        rules.select(tier, opt_in)


@pytest.mark.parametrize(
    ("change", "line", "what"),
    [
        (("tier: safe", "tier: reckless"), 5, "reckless"),
        (("scope: [site-packages]", "scope: [everywhere]"), 4, "everywhere"),
        (("scope: [site-packages]", "scope: site-packages"), 4, "must be a list"),
        (("why: because it is so", "because: it is so"), 7, "unknown field"),
        (("patterns: [tests/]", "patterns: []"), 8, "patterns"),
        (("patterns: [tests/]", "patterns: ['../tests/']"), 8, "'..'"),
        (("patterns: [tests/]", "patterns: ['a/../../b']"), 8, "'..'"),
        (("patterns: [tests/]", "patterns: ['**']"), 8, "whole folder"),
        (("patterns: [tests/]", "patterns: ['/']"), 8, "whole folder"),
        (("patterns: [tests/]", "patterns: ['!tests/']"), 8, "begins with !"),
        (("patterns: [tests/]", "patterns: ['C:/Windows/']"), 8, "drive"),
        (("patterns: [tests/]", "patterns: ['tests\\\\x']"), 8, "backslash"),
        (("patterns: [tests/]", 'patterns: ["a\\nb"]'), 8, "control characters"),
        (("patterns: [tests/]", "patterns: ['a*b*c*d*e*f*g']"), 8, "too many wildcards"),
        (("patterns: [tests/]", "patterns: ['tests/**']"), 8, "ends with /**"),
        (("patterns: [tests/]", "patterns: ['[a-']"), 8, "not a gitignore pattern"),
        (("patterns: [tests/]", "patterns: [tests/]\n    keep: [{pattern: /a/, reason: for a reason}]"), 9, "source"),
        (("patterns: [tests/]", "patterns: [tests/]\n    beside: [x.so]"), 9, "right form"),
        (("id: mine", "id: Mine Own"), 3, "right form"),
        (("format: 1", "format: 2"), 1, "2"),
    ],
)
def test_fault_names_file_line_and_remedy(tmp_path: Path, change: tuple[str, str], line: int, what: str) -> None:
    assert change[0] in RULE
    write(tmp_path, RULE.replace(*change))
    with pytest.raises(DocumentError) as caught:
        load_rules(tmp_path)
    assert caught.value.exit_code == 2
    fault = next(fault for fault in caught.value.faults if what in f"{fault.field} {fault.what}")
    assert (fault.where, fault.line) == (str(tmp_path / "rules.yml"), line)
    assert fault.remedy


def test_faults_of_all_files_come_at_once(tmp_path: Path) -> None:
    write(tmp_path, RULE.replace("tests/", "../a/"), "a.yml")
    write(tmp_path, RULE.replace("mine", "other").replace("tests/", "../b/"), "b.yml")
    with pytest.raises(DocumentError) as caught:
        load_rules(tmp_path)
    assert [Path(fault.where).name for fault in caught.value.faults] == ["a.yml", "b.yml"]


def test_an_id_is_used_once_over_all_files(tmp_path: Path) -> None:
    write(tmp_path, RULE, "a.yml")
    extra = write(tmp_path, RULE, "extra.yaml") / "extra.yaml"
    with pytest.raises(DocumentError, match=r"taken, first in .*a\.yml:3"):
        load_rules(tmp_path, extra=[extra])


def test_what_is_rebuilt_is_for_shipped_rules_to_say(tmp_path: Path) -> None:
    """The oracle neither watches nor digests such files, so that anybody's rule could take what is needed."""
    extra = write(tmp_path, f"{RULE}    rebuilt: true\n") / "rules.yml"
    with pytest.raises(DocumentError) as caught:
        load_rules(extra=[extra])
    assert [(fault.field, fault.line) for fault in caught.value.faults] == [("rules[0].rebuilt", 9)]
    assert "come with the program" in str(caught.value)


def test_extra_rule_files_come_after_the_shipped_ones(tmp_path: Path) -> None:
    extra = write(tmp_path, RULE) / "rules.yml"
    assert load_rules(extra=[extra]).rules[-1].id == "mine"


@pytest.mark.parametrize("text", ["", "- a list\n", "just text\n"])
def test_a_rule_file_that_is_no_mapping_is_refused(tmp_path: Path, text: str) -> None:
    with pytest.raises(InputError):
        load_rules(write(tmp_path, text))


def test_a_folder_without_rules_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no rule files"):
        load_rules(tmp_path)


def test_a_keep_of_a_recipe_may_not_climb_out(rules: RuleSet) -> None:
    with pytest.raises(InputError, match=r"'\.\.'"):
        rules.with_keeps([("../x", "wanted for a reason")], source="recipe.yml")


@pytest.mark.parametrize("pattern", ["tests/", "/a/**/b.map", "*.js.map", "~*", "[Tt]est/", "a b/c", "ünï/"])
def test_ordinary_patterns_have_no_problem(pattern: str) -> None:
    assert pattern_problem(pattern) is None
