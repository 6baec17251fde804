"""The memory of hashes: what has not changed is not read, and whatever did change is."""

from __future__ import annotations

import hashlib
import os
import shutil
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from packager.archive import hash_memory, scan
from packager.archive.hash_memory import HashMemory, memory_for
from packager.archive.manifest import Entry, Manifest

Scan = Callable[[], Manifest]


@pytest.fixture
def read_paths(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The paths of all files read for their hash."""
    seen: list[str] = []
    sha256 = scan._sha256

    def watched(root: Path, entry: Entry) -> str:
        seen.append(entry.path)
        return sha256(root, entry)

    monkeypatch.setattr(scan, "_sha256", watched)
    return seen


@pytest.fixture
def root(tmp_path: Path) -> Path:
    root = tmp_path / "tree"
    root.mkdir()
    for name in ("a", "b", "c"):
        (root / name).write_text(f"content of {name}\n")
    time.sleep(0.1)  # a file changed a moment ago is not remembered
    return root


@pytest.fixture
def scanned(root: Path, tmp_path: Path) -> Scan:
    def scanned() -> Manifest:
        hashes = HashMemory(tmp_path / "hashes.json")
        manifest = scan.scan(root, threads=2, hashes=hashes)
        hashes.save()
        return manifest

    return scanned


def test_what_has_not_changed_is_not_read_again(scanned: Scan, read_paths: list[str]) -> None:
    first = scanned()
    assert read_paths == ["a", "b", "c"]
    assert scanned() == first
    assert read_paths == ["a", "b", "c"]


def _written_again(path: Path) -> None:
    status = path.stat()
    path.write_text("CONTENT OF B\n")
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))


def _replaced(path: Path) -> None:
    status = path.stat()
    other = path.with_name("other")
    other.write_text("CONTENT OF B\n")
    os.utime(other, ns=(status.st_atime_ns, status.st_mtime_ns))
    other.replace(path)


def _mapped(path: Path) -> None:
    with path.open("r+b") as stream:
        os.pwrite(stream.fileno(), b"CONTENT OF B\n", 0)


@pytest.mark.parametrize("change", [_written_again, _replaced, _mapped])
def test_a_change_is_seen_whatever_its_size_and_time_say(
    change: Callable[[Path], None], root: Path, scanned: Scan, read_paths: list[str]
) -> None:
    """Tried: the same size and modification time put back, another file renamed over it, a write in place."""
    scanned()
    read_paths.clear()
    change(root / "b")
    again = {entry.path: entry.sha256 for entry in scanned().entries}
    assert read_paths == ["b"]
    assert again["b"] == hashlib.sha256(b"CONTENT OF B\n").hexdigest()


def test_a_file_changed_a_moment_ago_is_read_next_time(
    root: Path, scanned: Scan, read_paths: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hash_memory, "_TICK", 3600 * 10**9)
    scanned()
    read_paths.clear()
    scanned()
    assert read_paths == ["a", "b", "c"]


@pytest.mark.parametrize("text", ["", "[]", '{"format": 2}', '{"format": 1, "files": {"a": 3}}', "[" * 100_000])
def test_a_memory_that_is_none_is_no_memory(text: str, scanned: Scan, tmp_path: Path, read_paths: list[str]) -> None:
    (tmp_path / "hashes.json").write_text(text)
    scanned()
    assert read_paths == ["a", "b", "c"]


def test_what_is_gone_is_forgotten(root: Path, scanned: Scan, tmp_path: Path) -> None:
    scanned()
    (root / "c").unlink()
    scanned()
    assert '"c"' not in (tmp_path / "hashes.json").read_text()


def test_trees_do_not_share_a_memory(tmp_path: Path, root: Path) -> None:
    shutil.copytree(root, tmp_path / "twin")
    for place in (root, tmp_path / "twin"):
        memory = memory_for(tmp_path / "memories", place)
        memory.note("a", (place / "a").stat(), place.name, at=time.time_ns() + 10**10)
        memory.save()
    assert memory_for(tmp_path / "memories", root).recall("a", (root / "a").stat()) == "tree"


def test_without_a_time_of_change_nothing_is_believed(
    scanned: Scan, read_paths: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    scanned()
    monkeypatch.setattr(hash_memory, "HAS_CHANGE_TIME", False)
    scanned()
    assert read_paths == ["a", "b", "c"] * 2
