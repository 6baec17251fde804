"""Files with the same content: packed once, a member each, and the same bytes as if each were packed by itself."""

from __future__ import annotations

import io
import os
import subprocess
import tarfile
import zipfile
from pathlib import Path

import pytest

from packager.archive import packing
from packager.archive.archive_tree import archive_tree
from packager.archive.codec import BLOCK
from packager.archive.extract import extract
from packager.console import Console
from packager.filesystem import tree_digest

QUIET = Console(quiet=True)


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """Text, noise (stored), empty files and one longer than a block, each under several names and modes."""
    root = tmp_path / "tree"
    contents = {
        "text": b"the same text again and again\n" * 4000,
        "noise": os.urandom(300_000),
        "empty": b"",
        "long": bytes(range(256)) * (BLOCK // 256 + 5000),
    }
    for number in range(3):
        folder = root / f"folder{number}"
        folder.mkdir(parents=True)
        for name, content in contents.items():
            (folder / name).write_bytes(content)
        (folder / "alone").write_text(f"only in {number}")
    (root / "folder2" / "text").chmod(0o755)
    return root


def test_packed_once_with_the_same_bytes_as_each_by_itself(
    tree: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    packed: list[str] = []
    real = packing.work

    def counting(root: Path, job: packing.Job, level: int) -> list[packing.Packed]:
        packed.extend(entry.path for entry in job.entries if not job.start)
        return real(root, job, level)

    monkeypatch.setattr(packing, "work", counting)
    once = archive_tree(tree, tmp_path / "once.zip", console=QUIET, epoch=1700000000, threads=2)
    assert len(packed) == len(set(packed)) == 4 + 3
    assert once.manifest.repeated == (
        8,
        2 * sum((tree / "folder0" / n).stat().st_size for n in ("text", "noise", "long")),
    )
    subprocess.run(["unzip", "-tq", once.archive.path], check=True)
    extract(once.archive.path, tmp_path / "out", console=QUIET)
    assert tree_digest(tmp_path / "out" / "tree") == tree_digest(tree)
    with zipfile.ZipFile(once.archive.path) as archive:
        for name in ("text", "noise", "empty", "long"):
            same = [archive.getinfo(f"tree/folder{number}/{name}") for number in range(3)]
            raw = {_raw(once.archive.path, info) for info in same}
            assert len(raw) == 1
            assert _raw(_alone(tree / "folder0" / name, tmp_path), None) in raw


def _alone(file: Path, folder: Path) -> Path:
    """The file in an archive of its own."""
    root = folder / "alone" / file.name
    root.mkdir(parents=True)
    (root / file.name).write_bytes(file.read_bytes())
    return archive_tree(root, folder / f"{file.name}.zip", console=QUIET, epoch=1, root_name="").archive.path


def _raw(path: Path, info: zipfile.ZipInfo | None) -> bytes:
    with zipfile.ZipFile(path) as archive:
        info = info or archive.infolist()[0]
    content = path.read_bytes()
    start = info.header_offset + 30
    name, extra = (int.from_bytes(content[start - 4 + at : start - 2 + at], "little") for at in (0, 2))
    return content[start + name + extra :][: info.compress_size]


def test_tar_zst_holds_a_repeated_content_once(tree: Path, tmp_path: Path) -> None:
    """Large repeated files are hard links, of the same mode alone; other tools and we restore the same tree."""
    archive_tree(tree, tmp_path / "t.tar.zst", console=QUIET, epoch=0)
    unpacked = subprocess.run(["zstd", "-dcq", tmp_path / "t.tar.zst"], capture_output=True, check=True).stdout
    with tarfile.open(fileobj=io.BytesIO(unpacked)) as archive:
        links = {member.name: member.linkname for member in archive if member.islnk()}
        archive.extractall(tmp_path / "theirs", filter="fully_trusted")
    assert links == {
        "tree/folder1/long": "tree/folder0/long",
        "tree/folder2/long": "tree/folder0/long",
        "tree/folder1/noise": "tree/folder0/noise",
        "tree/folder2/noise": "tree/folder0/noise",
        "tree/folder1/text": "tree/folder0/text",  # folder2/text has another mode
    }
    extract(tmp_path / "t.tar.zst", tmp_path / "ours", console=QUIET)
    assert tree_digest(tmp_path / "ours/tree") == tree_digest(tmp_path / "theirs/tree") == tree_digest(tree)
    assert all(path.stat().st_nlink == 1 for path in (tmp_path / "ours").rglob("*") if path.is_file())
