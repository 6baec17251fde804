"""The app that the oracle starts is a copy: nothing is written into the tree, nor where links of the app lead."""

from __future__ import annotations

import io
import os
from pathlib import Path

import pytest
from cleanup_trees import one_rule, snapshot, write_tree
from oracle_traps import TRAPS, make_environment

from packager.cleanup import Judgement, OracleMeans, clean_into, detect_layout
from packager.cleanup.oracle import app_copy, asking
from packager.console import Console
from packager.probes.environment import can_mask

pytestmark = pytest.mark.skipif(os.name != "posix", reason="a venv of this layout is POSIX")

NEEDS_MASKS = pytest.mark.skipif(not can_mask(), reason="bubblewrap is missing or may not mask here")
MAIN = """
import pathlib, sys
here = pathlib.Path(__file__).parent
(here / "user" / "settings.json").write_text("written at every start")
(here / "custom_nodes" / "mine" / "cache.txt").write_text("by a node")
(here / "log.txt").write_text((here / "custom_nodes" / "mine" / "data" / "a.json").read_text())
"""


@pytest.fixture
def app(tmp_path: Path) -> Path:
    """With a user folder and a node that lie outside of the tree."""
    make_environment(tmp_path / "root/python", TRAPS["docs package"])
    write_tree(tmp_path / "outside", {"user/settings.json": "mine", "node/__init__.py": "", "node/data/a.json": "{}"})
    app = write_tree(tmp_path / "root/ComfyUI", {"main.py": MAIN, "custom_nodes/other/extra/b.json": ""})
    (app / "user").symlink_to(tmp_path / "outside/user")
    (app / "custom_nodes/mine").symlink_to(tmp_path / "outside/node")
    (app / "custom_nodes/again").symlink_to("mine")
    (tmp_path / "outside/node/round").symlink_to(tmp_path / "outside")
    (app / "gone").symlink_to(tmp_path / "outside/nothing")
    os.mkfifo(app / "pipe")
    return app


def judge_app(app: Path, console: Console) -> Judgement:
    scratch = app.parent.with_name("scratch")
    return clean_into(
        app.parent.with_name("quarantine"),
        detect_layout(app.parent),
        one_rule("/other/extra/", scopes=("nodes",)),
        tier="safe",
        opt_in=(),
        oracle=OracleMeans(scratch=scratch, cache=None, console=console, use_strace=False),
    )


@pytest.mark.parametrize("masks", [True, False])
def test_linked_folders_are_copied(app: Path, monkeypatch: pytest.MonkeyPatch, masks: bool) -> None:
    if not masks:
        forbid_masks(monkeypatch)
    outside = app.parent.with_name("outside")
    before, console = snapshot(outside), Console(stream=io.StringIO())
    judged = judge_app(app, console)
    assert judged.report
    assert not judged.report["failed_before"], "it could write"
    assert snapshot(outside) == before
    assert not (app / "log.txt").exists()
    assert not console.warnings


@pytest.mark.parametrize("masks", [pytest.param(True, marks=NEEDS_MASKS), False])
def test_linked_folder_that_is_too_large_is_read_only_or_left_out(
    app: Path, monkeypatch: pytest.MonkeyPatch, masks: bool
) -> None:
    if not masks:
        forbid_masks(monkeypatch)
    monkeypatch.setattr(app_copy, "_LINKED_FILES", 1)
    outside = app.parent.with_name("outside")
    before, console = snapshot(outside), Console(stream=io.StringIO())
    judged = judge_app(app, console)
    assert judged.report
    failure = judged.report["failed_before"]["app"]
    assert ("Read-only" if masks else "No such file") in failure
    assert snapshot(outside) == before
    told = [text for text in console.warnings if "is started without" in text]
    assert ("user" in told[0] and len(told) == 1) if not masks else not told


def forbid_masks(monkeypatch: pytest.MonkeyPatch) -> None:
    """As on a machine without bubblewrap."""
    monkeypatch.setattr(asking, "can_mask", lambda: False)
    monkeypatch.setattr(asking, "read_only", lambda *_, **__: [])
