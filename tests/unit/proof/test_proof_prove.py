"""The whole proof: a sound bundle passes, here and moved; the build tree is hidden meanwhile, and restored after all.

Hostile archives: members that lead out of the folder, two folders, a damaged zip, no zip at all, another target.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import zipfile
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
from proof_bundles import LIMITS, Original, replace_program, replace_text, zip_tree

from packager.bundle import BundleTree
from packager.console import Console
from packager.errors import InputError
from packager.filesystem import tree_digest
from packager.proof.prove import Check, Proof, Prover, prove_archive, prove_folder
from packager.relocation import scan_leaks


def test_a_sound_bundle_passes_everything_at_both_places(original: Original, tmp_path: Path, console: Console) -> None:
    archive = zip_tree(original.tree.root, tmp_path / "sample.zip")
    scratch = tmp_path / "scratch"
    proof = prove_archive(
        archive,
        baseline=original.baseline,
        scratch=scratch,
        hide=[original.tree.root],
        needles=[str(original.tree.root)],
        scan=scan_leaks,
        console=console,
        limits=LIMITS,
    )
    assert proof.failures() == ""
    assert proof.passed
    names = [check.name for check in proof.checks]
    assert names[:3] == ["layout", "build paths", "needed libraries"]
    assert "installed package, moved" in names
    here = [name for name in names[3:] if not name.endswith(", moved")]
    assert [f"{name}, moved" for name in here] == [name for name in names if name.endswith(", moved")][1:]
    assert list(scratch.iterdir()) == []
    assert original.tree.root.is_dir()


@pytest.fixture
def lame(tree: BundleTree) -> BundleTree:
    """A small bundle whose Python does not run, so that its proof ends soon."""
    for python in tree.scripts.glob("python*"):
        replace_program(python, "#!/bin/sh\necho lame >&2; exit 9\n")
    shutil.rmtree(tree.stdlib)
    return tree


class Spy:
    """Stands where the leak scan is called, in the midst of a proof."""

    def __init__(self, hidden: Path, *, interrupt: bool = False) -> None:
        self.hidden, self.interrupt, self.seen = hidden, interrupt, [True]

    def __call__(self, root: Path, needles: Sequence[str], *, windows: bool) -> Sequence[object]:
        self.seen.append(self.hidden.exists())
        assert "proof \u00e9 space" in root.parts
        if self.interrupt:
            raise KeyboardInterrupt
        return []


def test_without_bwrap_the_build_tree_is_renamed_and_comes_back(
    lame: BundleTree, tmp_path: Path, console: Console
) -> None:
    spy = Spy(lame.root)
    archive = zip_tree(lame.root, tmp_path / "lame.zip")
    proof = prove_archive(
        archive, baseline=None, scratch=tmp_path / "scratch", hide=[lame.root], needles=["/x"], scan=spy,
        console=console, limits=LIMITS, mask=False,
    )  # fmt: skip
    assert spy.seen == [True, False]
    assert lame.root.is_dir()
    assert [check.name for check in proof.checks if not check.passed] == ["environment", "python and pip"]
    assert "lame" in proof.failures()
    assert not any(name.name.endswith(", moved") for name in proof.checks)


def test_ctrl_c_in_a_proof_restores_the_build_tree_and_clears_scratch(
    lame: BundleTree, tmp_path: Path, console: Console
) -> None:
    before = tree_digest(lame.root)
    archive = zip_tree(lame.root, tmp_path / "lame.zip")
    with pytest.raises(KeyboardInterrupt):
        prove_archive(
            archive, baseline=None, scratch=tmp_path / "scratch", hide=[lame.root], needles=["/x"],
            scan=Spy(lame.root, interrupt=True), console=console, mask=False,
        )  # fmt: skip
    assert tree_digest(lame.root) == before
    assert list((tmp_path / "scratch").iterdir()) == []


KILLED = """
import os, signal, sys
from pathlib import Path
from packager.console import Console
from packager.proof.prove import prove_archive
tree, archive, scratch = map(Path, sys.argv[1:])
def die(archive, folder):
    assert not tree.exists()
    os.kill(os.getpid(), signal.SIGKILL)
options = {"scratch": scratch, "hide": [tree], "extract": die, "mask": False, "console": Console()}
prove_archive(archive, baseline=None, needles=[], **options)
"""


def test_a_proof_killed_midway_is_mended_by_the_next(lame: BundleTree, tmp_path: Path, console: Console) -> None:
    before = tree_digest(lame.root)
    archive = zip_tree(lame.root, tmp_path / "lame.zip")
    other = tmp_path / "no.zip"
    other.write_bytes(b"only its own extractor knows this format")
    scratch = tmp_path / "scratch"
    ended = subprocess.run([sys.executable, "-c", KILLED, lame.root, other, scratch], check=False)
    assert ended.returncode == -9
    assert not lame.root.exists()
    (scratch / "proof \u00e9 space" / "left over").mkdir(parents=True)
    proof = prove_archive(
        archive, baseline=None, scratch=scratch, hide=[lame.root], needles=[], console=console, mask=False
    )
    assert proof.checks[0].passed
    assert tree_digest(lame.root) == before


def test_proving_a_folder_does_not_change_it(lame: BundleTree, tmp_path: Path, console: Console) -> None:
    model = lame.app / "models" / "checkpoints" / "huge.safetensors"
    model.parent.mkdir()
    model.write_bytes(b"huge")
    before = tree_digest(lame.root)
    seen: list[bool] = []

    def look(root: Path, needles: Sequence[str], *, windows: bool) -> Sequence[object]:
        seen.extend([(root / "ComfyUI/models/checkpoints").is_dir(), (root / model.relative_to(lame.root)).exists()])
        return ["found: /x"]

    proof = prove_folder(
        lame.root, baseline=None, scratch=tmp_path / "scratch", needles=["/x"], scan=look, console=console
    )
    assert seen == [True, False]
    assert "build paths: found: /x" in proof.failures()
    assert tree_digest(lame.root) == before


def test_the_bundle_s_own_baseline_is_used_when_none_is_given(
    original: Original, lame: BundleTree, tmp_path: Path, console: Console
) -> None:
    own = original.baseline.without_machine()
    own.save(lame.portable / "baseline.json")
    given = {"starter": (), "scratch": tmp_path / "scratch"}
    prover = Prover(console=console, limits=LIMITS)
    assert prover.open(lame.root, baseline=None, **given).baseline == own
    assert prover.open(lame.root, baseline=original.baseline, **given).baseline == original.baseline


@pytest.mark.parametrize("member", ["../outside", "/outside", "bundle/../../outside", "..\\outside", "C:/outside"])
def test_members_that_lead_out_are_refused(member: str, tmp_path: Path, console: Console) -> None:
    archive = tmp_path / "hostile.zip"
    with zipfile.ZipFile(archive, "w") as opened:
        opened.writestr(zipfile.ZipInfo(member), "x")
    with pytest.raises(InputError, match="leads out of the folder"):
        prove_archive(archive, baseline=None, scratch=tmp_path / "s", hide=[], needles=[], console=console)
    assert not list(tmp_path.rglob("outside"))


def two_folders(archive: Path) -> None:
    with zipfile.ZipFile(archive, "w") as opened:
        opened.writestr("one/file", "x")
        opened.writestr("two/file", "x")


def no_description(archive: Path) -> None:
    with zipfile.ZipFile(archive, "w") as opened:
        opened.writestr("one/file", "x")


def damaged(archive: Path) -> None:
    two_folders(archive)
    content = bytearray(archive.read_bytes())
    content[30:40] = b"0123456789"
    archive.write_bytes(content)


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (two_folders, "must hold one folder, and holds one, two"),
        (no_description, "describes no bundle"),
        (damaged, "unzip ended with"),
        (lambda path: path.write_bytes(b"no zip"), "cannot be unpacked here"),
        (lambda path: path.mkdir(), "is no file"),
        (lambda path: None, "is no file"),
    ],
)
def test_archives_that_are_no_bundle_are_bad_input(
    make: Callable[[Path], object], said: str, tmp_path: Path, console: Console
) -> None:
    if shutil.which("unzip") is None:
        pytest.skip("Info-ZIP's unzip is not installed")
    archive = tmp_path / "input.zip"
    make(archive)
    with pytest.raises(InputError, match=said):
        prove_archive(archive, baseline=None, scratch=tmp_path / "s", hide=[], needles=[], console=console)
    assert list((tmp_path / "s").iterdir()) == []


def test_without_unzip_the_given_function_unpacks(
    lame: BundleTree, tmp_path: Path, console: Console, monkeypatch: pytest.MonkeyPatch
) -> None:
    archive = zip_tree(lame.root, tmp_path / "lame.zip")
    monkeypatch.setenv("PATH", str(tmp_path))
    unpacked: list[Path] = []

    def copy(archive: Path, folder: Path) -> None:
        unpacked.append(archive)
        shutil.copytree(lame.root, folder / "bundle", symlinks=True)

    arguments = {"baseline": None, "scratch": tmp_path / "s", "hide": [], "needles": [], "console": console}
    proof = prove_archive(archive, extract=copy, **arguments)
    assert unpacked == [archive]
    assert proof.checks[0].passed
    with pytest.raises(InputError, match="install Info-ZIP's unzip"):
        prove_archive(archive, **arguments)


def test_a_bundle_for_another_system_is_bad_input(lame: BundleTree, tmp_path: Path, console: Console) -> None:
    replace_text(lame.portable / "bundle.json", '{"format": 1, "target": "windows-x86_64", "python_version": "3.11.7"}')
    with pytest.raises(InputError, match="built for windows-x86_64"):
        prove_folder(lame.root, baseline=None, scratch=tmp_path / "s", needles=[], console=console)


def test_a_folder_that_is_no_bundle_is_bad_input(tmp_path: Path, console: Console) -> None:
    with pytest.raises(InputError, match="is no bundle"):
        prove_folder(tmp_path, baseline=None, scratch=tmp_path / "s", needles=[], console=console)


def test_scratch_in_the_bundle_is_refused(lame: BundleTree, console: Console) -> None:
    with pytest.raises(InputError, match="lies in the bundle"):
        prove_folder(lame.root, baseline=None, scratch=lame.root / "scratch", needles=[], console=console)


def test_json_ends_each_detail_with_its_remedy() -> None:
    proof = Proof(
        checks=(
            Check(name="a", passed=True, detail="fine", remedy=None, seconds=0.1),
            Check(name="b", passed=False, detail="file: cause", remedy="do this", seconds=0.1),
        )
    )
    assert proof.to_json() == {
        "passed": False,
        "checks": [
            {"name": "a", "passed": True, "detail": "fine"},
            {"name": "b", "passed": False, "detail": "file: cause\nremedy: do this"},
        ],
    }
    assert proof.failures() == "b: file: cause\nremedy: do this"
