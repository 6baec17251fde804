"""The baseline of an earlier build counts as long as tree and machine are the same, wherever the tree lies."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from packager import targets
from packager.baseline_memory import remembered_baseline
from packager.bundle import BundleTree
from packager.process import Finished
from packager.proof.baseline import Baseline
from packager.proof.probing import why_it_ended

BASELINE = Baseline(
    python="3.11.7",
    pip="25.2",
    modules={"demo": "ok", "broken": "ImportError: no"},
    distributions={"demo": "1.0"},
    listed={"demo": "1.0"},
    scripts={},
    entry_points=("console_scripts: demo = demo:main",),
    pip_check=("No broken requirements found.",),
    host_libraries={"demo": ("/usr/lib/libx.so",)},
)


class Taker:
    def __init__(self) -> None:
        self.times = 0

    def __call__(self) -> Baseline:
        self.times += 1
        return BASELINE


def make_tree(root: Path, *, version: str = "1.0") -> BundleTree:
    tree = BundleTree(root=root, target=targets.current(), python_version="3.11.7")
    meta = tree.site_packages / f"demo-{version}.dist-info"
    meta.mkdir(parents=True)
    (meta / "METADATA").write_text(f"Metadata-Version: 2.1\nName: demo\nVersion: {version}\n")
    (meta / "RECORD").write_text("demo.py,,\n")
    (tree.site_packages / "demo.py").write_text("")
    (tree.app).mkdir()
    (tree.app / "main.py").write_text("")
    return tree


def test_same_tree_elsewhere_is_not_asked_again_and_another_one_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    programs = tmp_path / "programs"
    programs.mkdir()
    monkeypatch.setenv("PATH", str(programs))
    take, cache = Taker(), tmp_path / "cache"

    def ask(tree: BundleTree, **env: str) -> bool:
        baseline, remembered = remembered_baseline(tree, take, cache=cache, env=env)
        assert baseline == BASELINE
        return remembered

    first = make_tree(tmp_path / "first")
    assert [ask(first), ask(first), ask(make_tree(tmp_path / "second place"))] == [False, True, True]
    assert take.times == 1
    assert not ask(first, HF_HOME="x"), "the recipe's environment is another"
    assert not ask(make_tree(tmp_path / "newer", version="1.1"))
    (first.app / "main.py").write_text("import demo")
    assert not ask(first)
    assert ask(first)
    (programs / "git").touch()
    assert not ask(first), "what the machine has is other"


def test_baseline_of_a_busy_machine_is_not_remembered(tmp_path: Path) -> None:
    tree, cache = make_tree(tmp_path / "tree"), tmp_path / "cache"
    late = why_it_ended(Finished(command=(), returncode=-9, stdout="", stderr="", timed_out=True), 300)
    killed = why_it_ended(Finished(command=(), returncode=-9, stdout="", stderr=""), 300)
    for outcome, kept in ((late, False), (killed, False), ("ImportError: no", True)):
        baseline = replace(BASELINE, modules={"demo": outcome})
        for again in (False, True):
            found, remembered = remembered_baseline(tree, lambda value=baseline: value, cache=cache, env={})
            assert found == baseline
            assert remembered == (kept and again), outcome
