"""Packages of requirement files that are taken as another, or never."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from fake_bundles import fill_bundle
from portable.bundle import read
from portable.special import Special, read_special

from packager import targets
from packager.protected import protected_packages


@pytest.fixture(scope="module")
def special(tmp_path_factory: pytest.TempPathFactory) -> Special:
    tree = fill_bundle(tmp_path_factory.mktemp("special") / "b", targets.get("linux-x86_64"))
    assert read_special(read(tree.root)) == Special()
    rules = protected_packages([], target="linux-x86_64", accelerator="cu128")
    (tree.portable / "protected.json").write_text(json.dumps(rules), encoding="utf-8")
    return read_special(read(tree.root))


@pytest.mark.parametrize(
    ("line", "there", "taken"),
    [
        ("numpy>=1", set(), "numpy>=1"),
        ("opencv-python", set(), "opencv-python-headless"),
        ("OpenCV_Python[x] >=4 ; python_version<'4'", set(), "opencv-python-headless[x] >=4 ; python_version<'4'"),
        ("opencv-python", {"opencv-python"}, "opencv-python"),
        ("opencv-python-headless", {"opencv-contrib-python"}, "opencv-contrib-python"),
        ("opencv-contrib-python", {"opencv-python-headless"}, "opencv-contrib-python-headless"),
        ("opencv-python @ https://example.org/x.whl", set(), "opencv-python @ https://example.org/x.whl"),
        ("https://example.org/x.whl", set(), "https://example.org/x.whl"),
        ("onnxruntime", {"onnxruntime-gpu"}, "onnxruntime-gpu"),
        ("comfy==0.1", set(), None),
    ],
)
def test_what_is_taken_instead(special: Special, line: str, there: set[str], taken: str | None) -> None:
    instead, why = special.judge(line, there)
    assert instead == taken
    assert bool(why) == (taken != line)


@pytest.mark.parametrize(
    "text", ["{", "[]", '{"one_of": 3}', '{"one_of": [{"members": [{}], "why": ""}]}', '{"never": [1]}']
)
def test_broken_rules_are_none(tmp_path: Path, text: str) -> None:
    tree = fill_bundle(tmp_path / "b", targets.get("linux-x86_64"))
    (tree.portable / "protected.json").write_text(text, encoding="utf-8")
    assert read_special(read(tree.root)) == Special()
