"""What a recipe adds to the rules and takes back from them, and how its mistakes are told."""

from __future__ import annotations

from pathlib import Path

import pytest

from packager.bundle import BundleTree
from packager.cleanup import last_savings, plan_cleanup, remember_savings, rules_of, rules_table
from packager.errors import DocumentError, InputError
from packager.recipe import Recipe, load_recipe

RULE = """{id: demo-media, scope: [site-packages], tier: safe, category: documentation,
      why: pictures nobody is shown, patterns: [/demo/mixed/]}"""
RULE_FILE = """format: 1
rules:
  - id: demo-data
    scope: [site-packages]
    tier: opt-in
    category: tests
    why: data nobody reads
    patterns: [/demo/native/]
"""


def recipe(folder: Path, *lines: str) -> Recipe:
    path = folder / "trial.yml"
    text = [
        "schema_version: 2",
        "version_id: trial",
        "comfy: {repo: app}",
        "cleanup:",
        *(f"  {line}" for line in lines),
    ]
    path.write_text("\n".join([*text, ""]))
    return load_recipe(path)


def removed(bundle: BundleTree, wanted: Recipe) -> dict[str, str]:
    plan = plan_cleanup(bundle, rules_of(wanted), tier=wanted.cleanup.tier, opt_in=wanted.cleanup.opt_in)
    return {removal.path.rpartition("site-packages/")[2]: removal.rule for removal in plan.removals}


def test_rules_of_its_own_and_of_a_file_beside_it(bundle: BundleTree, tmp_path: Path) -> None:
    (tmp_path / "mine.yml").write_text(RULE_FILE)
    gone = removed(bundle, recipe(tmp_path, "rules:", "  - mine.yml", f"  - {RULE}", "opt_in: [demo-data]"))
    assert "demo-media" in gone.values()
    assert gone["demo/native/tests/test_native.py"] in ("package-tests", "demo-data")
    assert "demo/native/tests/libneeded.so" not in gone  # a library is protected from every rule
    assert "demo-data" not in removed(bundle, recipe(tmp_path, "rules: [mine.yml]")).values()


def test_an_exception_holds_for_its_rule(bundle: BundleTree, tmp_path: Path) -> None:
    assert "demo/tests" in removed(bundle, recipe(tmp_path, "tier: safe"))
    line = "exceptions: [{rule: package-tests, pattern: /demo/tests/, reason: demo reads them}]"
    gone = removed(bundle, recipe(tmp_path, line))
    assert gone["demo/tests/__pycache__"] == "bytecode"
    assert not [path for path in gone if path.startswith("demo/tests/") and "__pycache__" not in path]


@pytest.mark.parametrize(
    ("lines", "words"),
    [
        (["striip: true"], ["trial.yml:5", "striip", "strip"]),
        (["bytecode: 1"], ["trial.yml:5", "cleanup.bytecode"]),
        (["exceptions:", "  - {rule: package-tests, pattern: /x/}"], ["trial.yml:6", "reason"]),
        (
            ["exceptions: [{rule: package-test, pattern: /x/, reason: it is needed}]"],
            ["package-tests", "exceptions[0]"],
        ),
        (["exceptions: [{rule: package-tests, pattern: ../x, reason: it is needed}]"], ["'..'", "exceptions[0]"]),
        (["rules: [nowhere.yml]"], ["nowhere.yml", "cannot be read"]),
        (["rules:", "  - id: a-rule", "    scope: [site-packages]", "    teir: safe"], ["trial.yml:6", "teir"]),
        (
            ["rules:", f"  - {RULE.replace('demo-media', 'bytecode')}"],
            ["trial.yml:6", "'bytecode' is taken", "30-packages.yml"],
        ),
        (["rules:", f"  - {RULE.replace('/demo/mixed/', '../x')}"], ["trial.yml:", "'..'"]),
        (["opt_in: [no-such]"], ["no-such"]),
    ],
)
def test_mistakes_are_told_with_their_line(tmp_path: Path, lines: list[str], words: list[str]) -> None:
    with pytest.raises((DocumentError, InputError)) as raised:
        rules_of(recipe(tmp_path, *lines))
    for word in words:
        assert word in str(raised.value)


@pytest.mark.parametrize(
    ("lines", "strip", "bytecode"),
    [
        ([], False, True),
        (["tier: aggressive"], True, True),
        (["tier: none"], False, False),
        (["tier: aggressive", "strip: false", "bytecode: false"], False, False),
        (["tier: none", "strip: true", "bytecode: true"], True, True),
    ],
)
def test_the_tier_decides_on_strip_and_bytecode_unless_the_recipe_does(
    tmp_path: Path, lines: list[str], strip: bool, bytecode: bool
) -> None:
    wanted = recipe(tmp_path, *(lines or ["tier: safe"])).cleanup
    assert (wanted.wants_strip, wanted.wants_bytecode) == (strip, bytecode)


def test_the_list_tells_what_a_rule_saved_last(tmp_path: Path) -> None:
    rules = rules_of(recipe(tmp_path, "tier: safe"))
    remember_savings(tmp_path, "first-1.0", [{"rule": "package-tests", "files": 3, "bytes": 2048}])
    remember_savings(tmp_path, "second-1.0", [{"rule": "bytecode", "files": 1, "bytes": 10}])
    table = rules_table(rules, last_savings(tmp_path))
    assert "last build: 2.0 KiB in 3 files (first-1.0)" in table
    assert "last build: 10 B in 1 files (second-1.0)" in table
    (tmp_path / "cleanup-savings.json").write_text("[]")
    assert last_savings(tmp_path) == {}
