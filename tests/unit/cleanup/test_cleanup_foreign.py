"""`packager clean` on trees that no build made: somebody's own work lies in them, and nothing of it may be lost."""

from __future__ import annotations

import json
import multiprocessing
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from cleanup_trees import snapshot, write_tree

from packager import cli
from packager.bundle import BundleTree
from packager.cleanup import detect_layout, load_rules, plan_cleanup
from packager.cleanup.quarantine import default_quarantine

SITE = "lib/python3.12/site-packages"


def clean(capsys: pytest.CaptureFixture[str], *words: str | Path, code: int = 0) -> str:
    """What `packager clean` prints, errors after the rest."""
    assert cli.main(["clean", *map(str, words)]) == code
    said = capsys.readouterr()
    return said.out + said.err


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A project into which somebody made a venv (`python -m venv .`) and cloned ComfyUI, with a node of their own."""
    return write_tree(
        tmp_path / "my project",
        {
            "pyvenv.cfg": "home = /usr/bin\n",
            f"{SITE}/demo/__init__.py": "",
            f"{SITE}/demo/tests/test_demo.py": "",
            f"{SITE}/demo.git/.git/HEAD": "",
            "Doc/thesis.txt": "years of work",
            "man/notes": "",
            "share/man/mine": "",
            "lib/mine/libmine.a": "",
            "lib/libmine.a": "",
            "lib/pkgconfig/mine.pc": "",
            "pkgs/tool/main.go": "",
            ".git/HEAD": "",
            "ComfyUI/main.py": "",
            "ComfyUI/.git/HEAD": "ref",
            "ComfyUI/tests/test_mine.py": "",
            "ComfyUI/custom_nodes/node/.git/refs/heads/unpushed": "a" * 40,
            "ComfyUI/custom_nodes/node/.github/workflows/ci.yml": "",
            "ComfyUI/custom_nodes/node/tests/test_node.py": "",
        },
    )


@pytest.mark.parametrize("tier", ["safe", "aggressive"])
def test_a_project_around_an_environment_keeps_its_own_files(project: Path, tier: str) -> None:
    gone = {removal.path for removal in plan_cleanup(detect_layout(project), load_rules(), tier=tier).removals}
    assert gone == {f"{SITE}/demo/tests"}


def test_a_conda_environment_in_a_project_loses_what_conda_put_there(tmp_path: Path) -> None:
    root = write_tree(
        tmp_path,
        {
            "conda-meta/history": "",
            "lib/python3.12/os.py": "",
            "lib/libz.a": "",
            "lib/mine/libmine.a": "",
            "Doc/thesis.txt": "",
            "man/notes": "",
            "share/man/man1/xz.1": "",
            "share/mine": "",
            "pkgs/tool/main.go": "",
            "pkgs/xz-5.8-h1_0/bin/xz": "",
        },
    )
    gone = {removal.path for removal in plan_cleanup(detect_layout(root), load_rules()).removals}
    assert gone == {"lib/libz.a", "share/man", "pkgs/xz-5.8-h1_0"}


def test_what_goes_is_kept_until_it_is_undone_or_purged(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = snapshot(project)
    said = clean(capsys, project)
    assert not (project / SITE / "demo/tests").exists()
    for word in ("undo", "purge"):
        assert f"`packager clean '{project}' --{word}`" in said
    clean(capsys, project, "--undo")
    assert snapshot(project) == before
    assert json.loads(clean(capsys, project, "--json"))["quarantine"] == str(default_quarantine(project))
    clean(capsys, project, "--purge")
    assert not default_quarantine(project).exists()
    assert "nothing to purge" in clean(capsys, project, "--purge")
    clean(capsys, project / "nowhere", "--purge", code=2)
    clean(capsys, project, "--undo", code=2)


def test_nothing_is_left_to_undo_without_a_quarantine(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert json.loads(clean(capsys, project, "--json", "--no-keep-quarantine"))["quarantine"] is None
    assert not default_quarantine(project).exists()


@pytest.mark.parametrize("words", [("--undo", "--dry-run"), ("--purge", "--dry-run"), ("--undo", "--purge")])
def test_words_that_contradict_each_other_do_nothing(project: Path, words: tuple[str, str]) -> None:
    cli.main(["clean", str(project), "--quiet"])
    before = snapshot(project)
    with pytest.raises(SystemExit) as stopped:
        cli.main(["clean", str(project), *words])
    assert stopped.value.code == 2
    assert snapshot(project) == before


def test_a_path_whose_folder_is_gone_is_told_and_never_lost(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    clean(capsys, project)
    shutil.rmtree(project / SITE / "demo")
    lost = default_quarantine(project) / "files" / SITE / "demo/tests/test_demo.py"
    for words in (("--undo",), ("--undo",)):
        said = clean(capsys, project, *words, code=1)
        assert f"{SITE}/demo/tests" in said
        assert "as it was" not in said
        assert lost.exists()
    assert "still holds" in clean(capsys, project, code=2)
    assert lost.exists()
    (project / SITE / "demo").mkdir()
    clean(capsys, project, "--undo")
    assert (project / SITE / "demo/tests/test_demo.py").exists()


def test_a_finished_bundle_is_only_looked_at(bundle: BundleTree, capsys: pytest.CaptureFixture[str]) -> None:
    before = snapshot(bundle.root)
    assert "cleanup.tier" in clean(capsys, bundle.root, code=2)
    assert "package-tests" in clean(capsys, bundle.root, "--dry-run")
    assert snapshot(bundle.root) == before


def test_the_tree_of_a_build_is_left_to_the_build(loose: BundleTree, capsys: pytest.CaptureFixture[str]) -> None:
    work = loose.root.parent / "work"
    (work / "bundle").mkdir(parents=True)
    (work / "journal.json").write_text("{}")
    root = loose.root.rename(work / "bundle/app")
    before = snapshot(root)
    assert "tree of a build" in clean(capsys, root, code=2)
    assert snapshot(root) == before


def _run(words: list[str], codes: Any) -> None:
    codes.put(cli.main(words))


def test_only_one_clean_up_is_at_work_in_a_tree(tmp_path: Path, project: Path) -> None:
    """Races: whoever comes second is refused or finds the whole work done; what is left is one clean-up, undoable."""
    write_tree(project, {f"{SITE}/p{number}/tests/t{number}.py": "" for number in range(150)})
    before = snapshot(project)
    context = multiprocessing.get_context("fork" if sys.platform != "win32" else "spawn")
    for _ in range(3):
        codes = context.Queue()
        racers = [context.Process(target=_run, args=(["clean", str(project), "--quiet"], codes)) for _ in range(3)]
        for racer in racers:
            racer.start()
        for racer in racers:
            racer.join()
        ended = sorted(codes.get() for _ in racers)
        assert ended[0] == 0
        assert set(ended) <= {0, 2}
        assert not list(project.glob(f"{SITE}/*/tests"))
        assert cli.main(["clean", str(project), "--undo", "--quiet"]) == 0
        assert snapshot(project) == before


def unprivileged(tree: Path) -> subprocess.CompletedProcess[str]:
    """Clean a tree as the user who runs the tests, who may be root but has none of root's privileges."""
    return subprocess.run(
        ["setpriv", "--bounding-set=-all", "--inh-caps=-all", sys.executable, "-m", "packager", "clean", tree],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.skipif(sys.platform != "linux" or os.geteuid() != 0, reason="gives a folder to another user")
def test_what_was_moved_goes_back_when_something_cannot_be(project: Path) -> None:
    """A folder that everybody may write to, but in which only the owner may rename: no look ahead tells that."""
    write_tree(project, {f"{SITE}/{name}": "" for name in ("aaa/tests/t.py", "zzz/tests/t.py", "zzz/__init__.py")})
    theirs = project / SITE / "zzz"
    for path, mode in ((theirs, 0o1777), (theirs / "tests", 0o777)):
        os.chown(path, 12345, 12345)
        path.chmod(mode)
    before = snapshot(project)
    done = unprivileged(project)
    assert done.returncode == 1, done.stderr
    assert f"{SITE}/zzz/tests: cannot be moved" in done.stderr
    assert "all is as it was" in done.stderr
    assert snapshot(project) == before


@pytest.mark.skipif(not shutil.which("setpriv"), reason="needs Linux")
@pytest.mark.parametrize("locked", ["demo", "zzz/tests"])
def test_a_folder_that_cannot_be_written_to_is_found_before_anything_moves(project: Path, locked: str) -> None:
    """By root without its privileges as by anybody else: what a folder lies in, or the folder itself that moves."""
    write_tree(project, {f"{SITE}/{name}": "" for name in ("aaa/tests/t.py", "zzz/tests/t.py", "zzz/__init__.py")})
    folder = project / SITE / locked
    folder.chmod(0o555)
    before = snapshot(project)
    done = unprivileged(project)
    assert done.returncode == 2, done.stderr
    assert str(folder) in done.stderr
    assert "writable" in done.stderr
    folder.chmod(0o755)
    before[str(folder.relative_to(project))] = snapshot(folder)["."]
    assert snapshot(project) == before


def test_a_kept_quarantine_is_not_packed(project: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    clean(capsys, project)
    for folder in (project, project.parent):
        assert cli.main(["archive", str(folder), "-o", str(tmp_path.parent / f"{tmp_path.name}.zip")]) == 2
        said = capsys.readouterr().err
        assert "--undo" in said
        assert "--purge" in said
    clean(capsys, project, "--purge")
    assert cli.main(["archive", str(project), "-o", str(tmp_path / "x.zip"), "--quiet"]) == 0
