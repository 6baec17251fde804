"""Processes, files, journal: what every stage stands on."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from packager import build, locking, process, resources, targets
from packager.errors import InputError, PackagerError
from packager.filesystem import remove_tree, tree_digest, write_atomic
from packager.journal import Journal, exclusive


def test_failed_command_shows_its_words_and_output() -> None:
    with pytest.raises(process.CommandError, match=r"exited with 3:\nboom"):
        process.run([sys.executable, "-c", "import sys; print('boom', file=sys.stderr); sys.exit(3)"])


def test_missing_program_tells_what_to_install() -> None:
    with pytest.raises(PackagerError, match="install no-such-program"):
        process.run(["no-such-program"])


@pytest.mark.skipif(sys.platform == "win32", reason="process groups are POSIX's")
def test_time_limit_kills_grandchildren_too(tmp_path: Path) -> None:
    script = f"sleep 60 & echo $! > '{tmp_path}/pid'; sleep 60"
    finished = process.run(["sh", "-c", script], timeout=1, check=False)
    assert finished.timed_out
    pid = int((tmp_path / "pid").read_text())
    deadline = time.monotonic() + 10
    while Path(f"/proc/{pid}").exists() and "Z" not in Path(f"/proc/{pid}/stat").read_text().split()[2]:
        assert time.monotonic() < deadline, "the grandchild lives on"
        time.sleep(0.05)


def test_atomic_write_leaves_other_names_of_the_file_alone(tmp_path: Path) -> None:
    first, second = tmp_path / "a", tmp_path / "b"
    first.write_text("old")
    first.chmod(0o755)
    os.link(first, second)
    write_atomic(first, b"new")
    assert (first.read_text(), second.read_text()) == ("new", "old")
    assert first.stat().st_mode & 0o777 == 0o755
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a", "b"]


def test_remove_tree_does_not_follow_links_and_opens_read_only_folders(tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "keep").write_text("x")
    inside = tmp_path / "inside"
    (inside / "locked").mkdir(parents=True)
    (inside / "locked" / "f").write_text("x")
    (inside / "link").symlink_to(outside)
    (inside / "locked").chmod(0o500)
    remove_tree(inside)
    remove_tree(inside)
    assert not inside.exists()
    assert (outside / "keep").exists()


def test_remove_tree_outlasts_somebody_who_still_writes(tmp_path: Path) -> None:
    """What a killed build started may write a moment longer into what the next build removes."""
    folder = tmp_path / "busy"
    folder.mkdir()
    code = "import pathlib, sys, time\n"
    code += "for n in range(400):\n    p = pathlib.Path(sys.argv[1]) / str(n % 7) / str(n)\n"
    code += "    p.parent.mkdir(parents=True, exist_ok=True); p.write_text('x' * 1000); time.sleep(0.002)\n"
    writer = subprocess.Popen([sys.executable, "-c", code, folder], stderr=subprocess.DEVNULL)
    try:
        while not any(folder.iterdir()):
            time.sleep(0.01)
        remove_tree(folder)
    finally:
        writer.wait()


def test_tree_digest_sees_names_links_modes_and_content(tmp_path: Path) -> None:
    def make(folder: str, content: str = "x", mode: int = 0o644, link: str = "f", name: str = "f") -> str:
        root = tmp_path / folder
        root.mkdir()
        (root / name).write_text(content)
        (root / name).chmod(mode)
        (root / "l").symlink_to(link)
        return tree_digest(root)

    assert make("a") == make("b")
    assert (
        len({make("c", content="y"), make("d", mode=0o755), make("e", link="g"), make("f", name="z"), make("g")}) == 5
    )


def test_journal_reuses_equal_inputs_and_distrusts_a_killed_stage(tmp_path: Path) -> None:
    runs: list[str] = []

    def action() -> dict[str, int]:
        runs.append("ran")
        return {"value": len(runs)}

    assert Journal(tmp_path).run("s", "1", action) == {"value": 1}
    again = Journal(tmp_path)
    assert again.run("s", "1", action) == {"value": 1}
    assert again.ran[0].reused
    assert Journal(tmp_path).run("s", "2", action) == {"value": 2}
    assert Journal(tmp_path).run("s", "2", action, intact=lambda result: False) == {"value": 3}

    def killed() -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        Journal(tmp_path).run("s", "9", killed)
    assert Journal(tmp_path).started("s")
    assert not Journal(tmp_path).is_current("s", "9")


@pytest.mark.parametrize("content", ["", "[]", "{", '{"format": 0}', '{"format": 1}'])
def test_damaged_journal_means_everything_runs(tmp_path: Path, content: str) -> None:
    (tmp_path / "journal.json").write_text(content)
    assert Journal(tmp_path).run("s", "1", lambda: 5) == 5


def test_work_folder_has_one_builder_and_is_free_after_a_kill(tmp_path: Path) -> None:
    code = "import sys, pathlib, time; from packager.journal import exclusive\n"
    code += f"with exclusive(pathlib.Path({str(tmp_path)!r})): print('held', flush=True); time.sleep(60)"
    holder = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    assert holder.stdout is not None
    assert holder.stdout.readline() == "held\n"
    with pytest.raises(InputError, match="another build is at work"), exclusive(tmp_path):
        pass
    holder.kill()
    holder.wait()
    holder.stdout.close()
    with exclusive(tmp_path):
        pass


def test_targets_know_their_layout() -> None:
    linux, windows = targets.get("linux-x86_64"), targets.get("windows-x86_64")
    assert str(linux.site_packages("3.12.4")) == "lib/python3.12/site-packages"
    assert str(windows.site_packages("3.12.4")) == "Lib/site-packages"
    assert (linux.script_suffix, windows.script_suffix) == (".sh", ".bat")
    with pytest.raises(InputError, match="macos-arm64"):
        targets.get("amiga")


def test_every_part_of_the_program_that_reuse_depends_on_is_there() -> None:
    """A renamed module must not drop out of the digests by which stages and locks are reused."""
    parts = resources.program_digests().keys()
    assert parts >= locking._RESOLVING
    assert parts >= {room for rooms in build._ROOMS.values() for room in rooms}
