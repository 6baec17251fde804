"""Many programs at once: time limits, missing programs, a child that is left behind, an exception midway."""

from __future__ import annotations

import os
import signal
import sys
import time
from pathlib import Path

import pytest

from packager.probes.pool import Job, Running, run_all
from packager.proof.app import group_members


def job(name: str, *command: str, timeout: float = 30) -> Job:
    return Job(name=name, command=command, cwd=Path("/"), env={"PATH": os.environ["PATH"]}, timeout=timeout)


def test_each_ends_by_its_name_and_progress_is_told() -> None:
    told: list[int] = []
    ended = run_all(
        [job("a", "sh", "-c", "echo out; echo err >&2"), job("b", "sh", "-c", "exit 3"), job("c", "true")],
        workers=2,
        advance=told.append,
    )
    assert (ended["a"].stdout, ended["a"].stderr) == ("out\n", "err\n")
    assert [ended[name].returncode for name in "abc"] == [0, 3, 0]
    assert told == [1, 1, 1]


def test_time_limit_kills_the_whole_group() -> None:
    ended = run_all([job("slow", "sh", "-c", "sleep 300 & echo $$; wait", timeout=0.5)])
    assert ended["slow"].timed_out
    assert group_members(int(ended["slow"].stdout)) == []


def test_a_child_left_behind_neither_blocks_nor_survives() -> None:
    ended = run_all([job("parent", "sh", "-c", "sleep 300 & echo $$")])
    assert ended["parent"].returncode == 0
    assert group_members(int(ended["parent"].stdout)) == []


def test_a_missing_program_is_127_and_a_folder_126() -> None:
    ended = run_all([job("missing", "/nowhere/at/all"), job("folder", "/usr")])
    assert [ended["missing"].returncode, ended["folder"].returncode] == [127, 126]


def test_an_exception_midway_kills_what_runs(tmp_path: Path) -> None:
    seen = tmp_path / "group"

    def interrupt(_: int) -> None:
        raise KeyboardInterrupt

    wait_for_it = f"while [ ! -s '{seen}' ]; do sleep 0.05; done"
    with pytest.raises(KeyboardInterrupt):
        run_all(
            [job("long", "sh", "-c", f"echo $$ > '{seen}'; sleep 300"), job("short", "sh", "-c", wait_for_it)],
            workers=2,
            advance=interrupt,
        )
    assert group_members(int(seen.read_text())) == []


def test_group_members_sees_the_living_and_not_the_ended() -> None:
    running = Running(job("one", sys.executable, "-c", "import time; time.sleep(300)"))
    try:
        assert group_members(running.process.pid) == [running.process.pid]
        os.kill(running.process.pid, signal.SIGKILL)
        while Path(f"/proc/{running.process.pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z":
            time.sleep(0.01)
        assert group_members(running.process.pid) == []
    finally:
        running.finish()
