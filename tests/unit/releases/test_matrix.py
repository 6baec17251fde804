"""The rows of a release: target x accelerator, where they go together."""

from __future__ import annotations

from pathlib import Path

import pytest

from packager.errors import DocumentError, InputError
from packager.recipe import Recipe, load_recipe
from packager.releases.cache_keys import KINDS, cache_keys
from packager.releases.matrix import plan_matrix, runners, with_accelerator
from packager.targets import TARGETS


def recipe(folder: Path, *lines: str) -> Recipe:
    path = folder / "r.yml"
    base = ["schema_version: 2", "version_id: r", "version: '1.0'", "comfy: {repo: https://example.org/c}"]
    path.write_text("\n".join([*base, *lines, ""]), encoding="utf-8")
    return load_recipe(path)


def pairs(*args, **more) -> list[tuple[str, str]]:
    return [(row.target, row.accelerator) for row in plan_matrix(*args, **more)]


def test_every_target_has_a_runner() -> None:
    assert set(runners()["runners"]) == set(TARGETS)


def test_all_targets_without_further_words(tmp_path: Path) -> None:
    assert pairs(recipe(tmp_path, "runtime: miniforge")) == [(name, "") for name in TARGETS]


def test_the_host_runtime_makes_linux_bundles_alone(tmp_path: Path) -> None:
    assert {target for target, _ in pairs(recipe(tmp_path, "runtime: host"))} == {"linux-x86_64", "linux-aarch64"}


def test_accelerators_go_to_the_targets_that_have_them(tmp_path: Path) -> None:
    found = recipe(tmp_path, "runtime: miniforge", "release: {accelerators: [cpu, cu128, mps]}")
    assert pairs(found) == [
        ("linux-x86_64", "cpu"),
        ("linux-x86_64", "cu128"),
        ("linux-aarch64", "cpu"),
        ("linux-aarch64", "cu128"),
        ("macos-arm64", "mps"),
        ("windows-x86_64", "cpu"),
        ("windows-x86_64", "cu128"),
    ]


def test_the_command_line_wins_over_the_recipe(tmp_path: Path) -> None:
    found = recipe(tmp_path, "runtime: miniforge", "release: {targets: [linux-x86_64], accelerators: [cpu]}")
    assert pairs(found, targets=["windows-x86_64"], accelerators_asked=["cu130"]) == [("windows-x86_64", "cu130")]
    row = plan_matrix(found)[0]
    assert row.stem == "r-1.0-linux-x86_64-cpu"
    assert with_accelerator(found, row).accelerator == "cpu"


def test_auto_is_no_accelerator_of_a_release(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="release is for others"):
        plan_matrix(recipe(tmp_path, "runtime: miniforge", "accelerator: auto"))


def test_an_empty_matrix_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no bundle would be made: mps for linux-x86_64"):
        plan_matrix(recipe(tmp_path, "runtime: host"), targets=["linux-x86_64"], accelerators_asked=["mps"])


@pytest.mark.parametrize(
    "line", ["release: {targets: [beos]}", "release: {accelerators: [cu999]}", "release: {runner: x}", "release: []"]
)
def test_faults_of_the_recipe_are_named(tmp_path: Path, line: str) -> None:
    with pytest.raises(DocumentError, match=r"r.yml:5: release"):
        recipe(tmp_path, line)


def test_cache_keys_change_with_what_they_hold(tmp_path: Path) -> None:
    found = recipe(tmp_path, "runtime: miniforge", "accelerator: cpu")
    one, two = (plan_matrix(found, targets=[name])[0] for name in ("linux-x86_64", "windows-x86_64"))
    keys = {key.kind: key for key in cache_keys(found, one)}
    assert tuple(keys) == KINDS
    assert all(key.key.startswith(key.restore) and key.key != key.restore for key in keys.values())
    assert {key.key for key in cache_keys(found, one)}.isdisjoint(key.key for key in cache_keys(found, two))
    locked = {key.kind: key for key in cache_keys(found, one, lock_digest="0" * 64)}
    assert [kind for kind in KINDS if locked[kind].key == keys[kind].key] == ["miniforge"]
    assert all(locked[kind].restore == keys[kind].restore for kind in KINDS)
