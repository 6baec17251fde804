"""tar.zst and the plain folder: other tools agree, and they are the same every time."""

from __future__ import annotations

import shutil
import stat
import subprocess
from pathlib import Path

import pytest
from conftest import EPOCH, expected_inventory, inventory

from packager.archive.archive_tree import Archived, archive_tree
from packager.archive.extract import extract
from packager.console import Console
from packager.errors import InputError


def _make(tree: Path, destination: Path, **options: object) -> Archived:
    return archive_tree(
        tree,
        destination,
        console=Console(quiet=True),
        epoch=EPOCH,
        root_name="bundle",
        bundle={"name": "bundle", "version": "1.0"},
        manifest_member="portable/manifest.json",
        **options,  # type: ignore[arg-type]
    )


@pytest.fixture(scope="module")
def tarred(tree: Path, tmp_path_factory: pytest.TempPathFactory) -> Archived:
    return _make(tree, tmp_path_factory.mktemp("tar") / "bundle-1.0.tar.zst", level="fast")


def test_zstd_and_tar_restore_the_tree_file_by_file(tree: Path, tarred: Archived, tmp_path: Path) -> None:
    if not (shutil.which("zstd") and shutil.which("tar")):
        pytest.skip("zstd and tar are not installed")
    subprocess.run(["zstd", "-dq", str(tarred.archive.path), "-o", str(tmp_path / "a.tar")], check=True)
    subprocess.run(["tar", "-xpf", str(tmp_path / "a.tar"), "-C", str(tmp_path)], check=True)
    assert inventory(tmp_path / "bundle") == expected_inventory(tree, tarred)


def test_we_restore_the_tree_file_by_file(tree: Path, tarred: Archived, tmp_path: Path, console: Console) -> None:
    done = extract(tarred.archive.path, tmp_path / "out", console=console)
    assert inventory(tmp_path / "out" / "bundle") == expected_inventory(tree, tarred)
    assert done.members == tarred.archive.members
    assert (tmp_path / "out/bundle/README.txt").stat().st_mtime == EPOCH


def test_same_bytes_whatever_the_threads(tree: Path, tarred: Archived, tmp_path: Path) -> None:
    for threads in (1, 4):
        again = _make(tree, tmp_path / "bundle-1.0.tar.zst", level="fast", threads=threads)
        assert again.archive.sha256 == tarred.archive.sha256


def test_folder_is_the_tree_with_normal_modes_and_one_time(tree: Path, tmp_path: Path) -> None:
    done = _make(tree, tmp_path / "out", format="dir")
    assert inventory(tmp_path / "out" / "bundle") == expected_inventory(tree, done)
    assert stat.S_IMODE((tmp_path / "out").stat().st_mode) == 0o755
    assert (tmp_path / "out/bundle/bin/run.sh").stat().st_mtime == EPOCH
    assert done.manifest_path == tmp_path / "out.manifest.json"
    with pytest.raises(InputError, match="not an empty folder"):
        _make(tree, tmp_path / "out", format="dir")


def test_the_suffix_must_say_the_format(tree: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="format"):
        _make(tree, tmp_path / "bundle.rar")
