"""Hiding the build tree: masks, renames, Ctrl-C, kill -9 midway, a tree made anew meanwhile, scratch inside it."""

from __future__ import annotations

import contextlib
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from packager import process
from packager.errors import InputError
from packager.probes.environment import bare_environment
from packager.probes.pool import run_all
from packager.proof.sandbox import (
    Sandbox,
    can_mask,
    hidden,
    host_pythons,
    link_programs,
    restore_hidden,
)

HOLD = """
import sys, time
from pathlib import Path
from packager.proof.sandbox import hidden
with hidden([Path(sys.argv[1])], scratch=Path(sys.argv[2]), mask=False):
    print("hidden", flush=True)
    time.sleep(300)
"""

needs_bwrap = pytest.mark.skipif(not can_mask(), reason="bwrap is missing or may not make namespaces here")


@pytest.fixture
def built(tmp_path: Path) -> Path:
    tree = tmp_path / "work" / "bundle"
    tree.mkdir(parents=True)
    (tree / "file").write_text("content")
    return tree


@pytest.fixture
def scratch(tmp_path: Path) -> Path:
    folder = tmp_path / "scratch \u00e9"
    folder.mkdir()
    return folder


def hold(built: Path, scratch: Path) -> subprocess.Popen[str]:
    process = subprocess.Popen([sys.executable, "-c", HOLD, built, scratch], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "hidden\n"
    return process


def test_rename_hides_and_restores(built: Path, scratch: Path) -> None:
    with hidden([built, built.parent / "absent"], scratch=scratch, mask=False) as starter:
        assert starter == ()
        assert not built.exists()
    assert (built / "file").read_text() == "content"


def test_killed_while_hidden_is_restored_by_the_next(built: Path, scratch: Path) -> None:
    process = hold(built, scratch)
    process.kill()
    process.wait()
    assert not built.exists()
    with hidden([built], scratch=scratch, mask=False):
        assert not built.exists()
    assert (built / "file").read_text() == "content"


def test_restore_alone_and_only_once(built: Path, scratch: Path) -> None:
    process = hold(built, scratch)
    process.kill()
    process.wait()
    assert restore_hidden(built)
    assert not restore_hidden(built)
    assert (built / "file").read_text() == "content"


def test_ctrl_c_restores(built: Path, scratch: Path) -> None:
    process = hold(built, scratch)
    process.send_signal(signal.SIGINT)
    process.wait()
    assert (built / "file").read_text() == "content"


def test_a_tree_made_anew_is_not_overwritten(built: Path, scratch: Path) -> None:
    process = hold(built, scratch)
    process.kill()
    process.wait()
    built.mkdir()
    with pytest.raises(InputError, match="made anew"):
        restore_hidden(built)
    assert list(built.iterdir()) == []


@pytest.mark.parametrize("mask", [True, False])
def test_scratch_inside_what_is_hidden_is_refused(built: Path, mask: bool) -> None:
    with pytest.raises(InputError, match="lies inside"), hidden([built], scratch=built / "scratch", mask=mask):
        pass
    assert built.exists()


@needs_bwrap
def test_mask_hides_build_tree_and_every_python_but_not_scratch(built: Path, scratch: Path) -> None:
    (scratch / "kept").write_text("kept")
    inner = scratch / "inner"
    (inner / "deep").mkdir(parents=True)
    with hidden([built, inner], scratch=scratch, mask=True) as starter:
        assert built.exists()
        sandbox = Sandbox(starter=starter, environment={"PATH": "/usr/bin:/bin"}, folder=scratch)
        jobs = {
            "tree": ["ls", "-A", str(built)],
            "inner": ["ls", "-A", str(inner)],
            "scratch": ["sh", "-c", 'cat kept; echo new > "$PWD/new"'],
            "missing": ["/nowhere/at/all"],
        } | {str(python): [str(python)] for python in host_pythons() if python.is_file()}
        ended = run_all([sandbox.job(name, command, timeout=30) for name, command in jobs.items()])
    assert ended.pop("tree").stdout == ""
    assert ended.pop("inner").stdout == ""
    assert ended.pop("scratch").stdout == "kept"
    assert (scratch / "new").read_text() == "new\n"
    assert ended.pop("missing").returncode == 127
    assert {name: how.returncode for name, how in ended.items()} == dict.fromkeys(ended, 126)


@needs_bwrap
def test_mask_hides_the_prefix_of_the_running_python(scratch: Path) -> None:
    prefix = Path(sys.base_prefix).resolve()
    if prefix not in host_pythons():
        pytest.skip("the running Python is the system's, of which only parts can be masked")
    with hidden([], scratch=scratch, mask=True) as starter:
        assert process.run([*starter, "ls", "-A", str(prefix)]).stdout == ""


def test_path_holds_no_python_git_or_compiler(scratch: Path) -> None:
    path = link_programs(scratch / "bin", ["sh", "cat", "no-such-program"])
    assert sorted(link.name for link in Path(path).iterdir()) == ["cat", "sh"]
    assert link_programs(scratch / "bin", ["sh"]) == path
    assert process.run(["sh", "-c", "cat /dev/null"], env={"PATH": path}).returncode == 0


def test_environment_is_bare(scratch: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", "/somewhere")
    environment = bare_environment(scratch, path="/p", extra={"RECIPE": "1"})
    assert "PYTHONPATH" not in environment
    assert environment["RECIPE"] == "1"
    assert all(Path(environment[name]).is_relative_to(scratch) for name in ("HOME", "TMPDIR", "XDG_CACHE_HOME"))


def test_a_failure_inside_restores(built: Path, scratch: Path) -> None:
    with contextlib.suppress(RuntimeError), hidden([built], scratch=scratch, mask=False):
        raise RuntimeError
    assert built.exists()
