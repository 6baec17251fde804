from __future__ import annotations

import json
from pathlib import Path

import jsonschema
import pytest
import yaml

from packager import accelerators, targets
from packager.accelerators import TorchWish, choose_torch, find_accelerator, wheel_tag
from packager.errors import DocumentError, InputError
from packager.recipe import load_recipe
from packager.resolution import wheel_matrix

LINUX = targets.get("linux-x86_64")
MAC = targets.get("macos-arm64")
TABLES = [Path(accelerators.__file__).with_name("accelerators.yml"), Path(wheel_matrix.__file__).with_suffix(".yml")]


@pytest.mark.parametrize("table", TABLES, ids=lambda path: path.stem)
def test_data_keeps_its_schema(table: Path) -> None:
    document = yaml.safe_load(table.read_text())
    jsonschema.validate(document, json.loads(table.with_suffix(".schema.json").read_text()))


def test_rows_name_known_targets_and_accelerators() -> None:
    table = accelerators.table.facts()
    rows = table["accelerators"]
    assert {name for row in rows.values() for name in row["targets"]} <= set(targets.TARGETS)
    assert {name for versions in table["sets"] for name in versions["for"]} <= set(rows)
    assert {name for names in table["preference"].values() for name in names} <= set(rows)
    for name in table["preference"]["nvidia"]:
        assert {targets.get(target).os for target in rows[name]["targets"]} <= set(rows[name]["driver"])


@pytest.mark.parametrize(
    ("accelerator", "asked", "pins"),
    [
        ("cu128", [], ["torch==2.11.0+cu128", "torchvision==0.26.0+cu128", "torchaudio==2.11.0+cu128"]),
        ("cu128", ["torch<2.11"], ["torch==2.10.0+cu128", "torchvision==0.25.0+cu128", "torchaudio==2.10.0+cu128"]),
        (
            "cu128",
            ["TorchVision==0.24.1"],
            ["torch==2.9.1+cu128", "torchvision==0.24.1+cu128", "torchaudio==2.9.1+cu128"],
        ),
        ("cu130", ["torch<2.9"], []),  # never built for it: the index decides, and the solver says so
        ("cpu", ["torch==2.12.0", "numpy<2"], ["torch==2.12.0+cpu"]),
        ("cpu", ["torch==2.12.0+cpu"], ["torch==2.12.0+cpu"]),
    ],
)
def test_versions_made_for_each_other_are_pinned_with_their_label(
    accelerator: str, asked: list[str], pins: list[str]
) -> None:
    choice = choose_torch(accelerator, wish=TorchWish(), asked=asked, target=LINUX)
    assert list(choice.overrides) == pins
    assert choice.index == f"https://download.pytorch.org/whl/{accelerator}"


def test_recipe_wins_over_the_table() -> None:
    wish = TorchWish(version="2.9.1", index="https://example.org/simple/")
    choice = choose_torch("cu130", wish=wish, asked=[], target=LINUX)
    assert choice.index == "https://example.org/simple/"
    assert choice.overrides[0] == "torch==2.9.1+cu130"
    assert choice.merged(["torch<3", "numpy==1.26"])[0] == "numpy==1.26"
    assert "torch<3" not in choice.merged(["torch<3"])


def test_no_accelerator_changes_nothing_and_mps_has_no_label() -> None:
    choice = choose_torch(None, wish=TorchWish(), asked=["torch==2.11.0"], target=LINUX)
    assert (choice.index, choice.merged(["torch<3"])) == (None, ("torch<3",))
    choice = choose_torch("mps", wish=TorchWish(), asked=[], target=MAC)
    assert (choice.index, choice.overrides[0]) == (None, "torch==2.11.0")


@pytest.mark.parametrize(
    ("name", "target", "what", "remedy"),
    [
        ("cu128", MAC, "no 'cu128' build of torch for macos-arm64", "one of auto, mps"),
        ("rocm7.2", targets.get("windows-x86_64"), "no 'rocm7.2' build", "xpu"),
    ],
)
def test_accelerator_the_target_has_not(name: str, target: targets.Target, what: str, remedy: str) -> None:
    with pytest.raises(InputError, match=what) as caught:
        find_accelerator(name, target)
    assert remedy in (caught.value.remedy or "")


@pytest.mark.parametrize(("name", "remedy"), [("abacus", "one of auto, cpu"), ("cu129", "use cu128, whose wheels")])
def test_accelerator_nobody_knows_is_a_fault_of_the_recipe(tmp_path: Path, name: str, remedy: str) -> None:
    path = tmp_path / "recipe.yml"
    path.write_text(
        f"schema_version: 2\nversion_id: t\naccelerator: {name}\ncomfy: {{ repo: https://example.org/c }}\n"
    )
    with pytest.raises(DocumentError, match=f"recipe.yml:3: accelerator: unknown accelerator '{name}'\n.*{remedy}"):
        load_recipe(path)


def test_edge_tags_use_their_neighbours_wheels() -> None:
    assert [wheel_tag(tag) for tag in ("cu129", "cu128", "cu126")] == ["cu128", "cu128", "cu126"]
