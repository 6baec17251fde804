"""tar.zst and the plain folder: other tools agree, and they are the same every time."""

from __future__ import annotations

import io
import os
import shutil
import stat
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import zstandard
from archive_trees import EPOCH, expected_inventory, inventory, real_text

from packager.archive import archive_tree as archive_tree_module
from packager.archive.archive_tree import Archived, archive_tree
from packager.archive.codec import BLOCK
from packager.archive.extract import extract
from packager.archive.manifest import Entry, Manifest
from packager.archive.tar_zst import _Hashing
from packager.archive.zstd_frames import is_whole
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
    before = os.umask(0o077)
    try:
        done = _make(tree, tmp_path / "out", format="dir")
    finally:
        os.umask(before)
    assert inventory(tmp_path / "out" / "bundle") == expected_inventory(tree, done)
    found = [tmp_path / "out", *(tmp_path / "out").rglob("*")]
    assert {stat.S_IMODE(path.stat().st_mode) for path in found if path.is_dir() and not path.is_symlink()} == {0o755}
    assert {path.lstat().st_mtime for path in found} == {EPOCH}
    assert done.manifest_path == tmp_path / "out.manifest.json"
    with pytest.raises(InputError, match="not an empty folder"):
        _make(tree, tmp_path / "out", format="dir")


def test_the_suffix_must_say_the_format(tree: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="format"):
        _make(tree, tmp_path / "bundle.rar")


@pytest.mark.parametrize("lost", [1, 4, 5, 300])
def test_a_cut_end_is_refused(lost: int, tarred: Archived, tmp_path: Path, console: Console) -> None:
    """Hostile: cut short by less than, just, and more than the checksum at the end."""
    cut = tmp_path / "cut.tar.zst"
    cut.write_bytes(tarred.archive.path.read_bytes()[:-lost])
    with pytest.raises(InputError, match=r"damaged|ends after"):
        extract(cut, tmp_path / "out", console=console)
    assert not (tmp_path / "out").exists()


def test_frames_of_every_shape_are_whole_and_their_cuts_are_not() -> None:
    """One segment or a window, with and without size and checksum, repeated bytes, several frames, a skippable one."""
    shapes = [b"", b"a", bytes(300_000), b"ab" * 70_000, real_text(400_000)]
    frames = []
    for data in shapes:
        for checksum in (False, True):
            compressor = zstandard.ZstdCompressor(write_checksum=checksum)
            frames.append(compressor.compress(data))
            streaming = compressor.compressobj()
            frames.append(streaming.compress(data) + streaming.flush())
    frames.append(b"\x53\x2a\x4d\x18" + (5).to_bytes(4, "little") + b"hello")
    for frame in (*frames, b"".join(frames)):
        assert is_whole(io.BytesIO(frame))
        assert not any(is_whole(io.BytesIO(frame[:-lost])) for lost in (1, 2, 4) if lost < len(frame))
        assert not is_whole(io.BytesIO(frame + b"\0"))


def _write_into(path: Path) -> None:
    with path.open("r+b") as stream:
        stream.seek(path.stat().st_size // 2)
        stream.write(b"x")


@pytest.mark.parametrize("name", ["a.zip", "a.tar.zst", "a"])
@pytest.mark.parametrize("size", [1000, BLOCK + 1000])
@pytest.mark.parametrize(
    ("change", "told"), [(_write_into, "changed"), (Path.unlink, "cannot be read")], ids=["other", "gone"]
)
def test_a_file_that_changes_or_goes_is_an_error(
    change: Callable[[Path], None],
    told: str,
    name: str,
    size: int,
    tmp_path: Path,
    console: Console,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """It does between the hashing and the packing; the change is in the middle, and the size stays."""
    root = tmp_path / "root"
    root.mkdir()
    (root / "file").write_bytes(bytes(size))
    scanned = archive_tree_module.scan

    def scan_then_change(*args: Any, **more: Any) -> Manifest:
        manifest = scanned(*args, **more)
        change(root / "file")
        return manifest

    monkeypatch.setattr(archive_tree_module, "scan", scan_then_change)
    with pytest.raises(InputError, match=told) as caught:
        archive_tree(root, tmp_path / "out" / name, console=console, epoch=EPOCH, format=None if "." in name else "dir")
    assert caught.value.where == "file"
    assert list((tmp_path / "out").iterdir()) == []


def test_a_large_file_that_shrinks_while_it_is_read_is_named(tmp_path: Path) -> None:
    """tarfile would say "unexpected end of data", of no file."""
    entry = Entry(path="models/large", kind="file", mode=0o644, size=1000)
    with pytest.raises(InputError, match="changed") as caught:
        _Hashing(io.BytesIO(bytes(999)), entry).read(1000)
    assert caught.value.where == "models/large"
