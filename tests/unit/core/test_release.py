"""From the work folder to the output folder: nothing half-done, unproved or damaged passes for a release."""

from __future__ import annotations

import hashlib
import io
import subprocess
from pathlib import Path

import pytest

from packager.archive.archive_tree import archive_tree
from packager.archive.checksums import update_checksums
from packager.console import Console
from packager.release import is_intact, publish, withdraw_unproved

QUIET = Console(quiet=True, stream=io.StringIO())


@pytest.fixture
def archives(tmp_path: Path) -> Path:
    folder = tmp_path / "archives"
    (folder / "b-1.0").mkdir(parents=True)
    (folder / "b-1.0" / "f").write_text("x")
    (folder / "b-1.0.zip").write_bytes(b"zip" * 1000)
    update_checksums(folder, {"b-1.0.zip": hashlib.sha256(b"zip" * 1000).hexdigest()})
    return folder


def test_published_files_are_whole_and_listed(archives: Path, tmp_path: Path) -> None:
    sums = publish(archives, tmp_path / "dist", "b-1.0", QUIET)
    assert sorted(sums) == ["b-1.0", "b-1.0.zip"]
    assert sorted(path.name for path in (tmp_path / "dist").iterdir()) == ["SHA256SUMS", "b-1.0", "b-1.0.zip"]
    subprocess.run(["sha256sum", "--check", "--quiet", "SHA256SUMS"], cwd=tmp_path / "dist", check=True)
    assert is_intact(tmp_path / "dist", sums)


def test_damage_in_the_output_folder_is_seen_and_does_not_reach_the_work_folder(archives: Path, tmp_path: Path) -> None:
    sums = publish(archives, tmp_path / "dist", "b-1.0", QUIET)
    with (tmp_path / "dist" / "b-1.0.zip").open("r+b") as stream:
        stream.truncate(10)
    assert not is_intact(tmp_path / "dist", sums)
    assert (archives / "b-1.0.zip").read_bytes() == b"zip" * 1000
    publish(archives, tmp_path / "dist", "b-1.0", QUIET)
    assert is_intact(tmp_path / "dist", sums)


def test_missing_folder_or_file_is_not_intact(archives: Path, tmp_path: Path) -> None:
    sums = publish(archives, tmp_path / "dist", "b-1.0", QUIET)
    (tmp_path / "dist" / "b-1.0" / "f").unlink()
    (tmp_path / "dist" / "b-1.0").rmdir()
    assert not is_intact(tmp_path / "dist", sums)


@pytest.mark.parametrize(
    ("report", "stays"),
    [
        ('{"proof": {"passed": true}, "archives": ["dist/b-1.0.zip"]}', True),
        ('{"proof": {"passed": false}, "archives": ["dist/b-1.0.zip", "../../other.zip"]}', False),
        ("{", True),
    ],
)
def test_only_what_was_never_proved_is_withdrawn(archives: Path, tmp_path: Path, report: str, stays: bool) -> None:
    dist = tmp_path / "dist"
    publish(archives, dist, "b-1.0", QUIET)
    (dist / "b-1.0.report.json").write_text(report)
    (dist / "b-1.0.1.zip").write_text("another release")
    withdraw_unproved(dist, "b-1.0", QUIET)
    assert (dist / "b-1.0.zip").exists() is stays
    assert (dist / "b-1.0.1.zip").exists()
    assert ("b-1.0.zip" in (dist / "SHA256SUMS").read_text()) is stays


def _finished(folder: Path, *names: str) -> Path:
    folder.mkdir()
    for name in names:
        (folder / name).write_bytes(name.encode())
    update_checksums(folder, {name: hashlib.sha256(name.encode()).hexdigest() for name in names})
    return folder


def test_parts_of_an_earlier_build_go_and_nothing_else(tmp_path: Path) -> None:
    dist = tmp_path / "dist"
    thirds = [f"b-1.0-part{number}of3.zip" for number in (1, 2, 3)]
    publish(_finished(tmp_path / "first", *thirds, "b-1.0.tar.zst", "b-1.0.manifest.json"), dist, "b-1.0", QUIET)
    publish(_finished(tmp_path / "other", "b-1.0.1.zip", "b-1.0-cu128.zip"), dist, "b-1.0-cu128", QUIET)
    (dist / thirds[2]).write_text("somebody put another file here")
    (dist / "b-1.0-part1of9.zip").write_text("never listed")
    (dist / "b-1.0-notes.zip").write_text("no archive of ours")
    update_checksums(dist, {"b-1.0-notes.zip": hashlib.sha256(b"no archive of ours").hexdigest()})
    console = Console(stream=io.StringIO())
    publish(_finished(tmp_path / "second", "b-1.0.zip", "b-1.0.manifest.json"), dist, "b-1.0", console)
    kept = {"b-1.0.zip", "b-1.0.manifest.json", "b-1.0.1.zip", "b-1.0-cu128.zip", "b-1.0-notes.zip"}
    kept |= {thirds[2], "b-1.0-part1of9.zip"}
    assert {path.name for path in dist.iterdir()} == kept | {"SHA256SUMS"}
    assert [warning for warning in console.warnings if thirds[2] in warning]
    listed = (dist / "SHA256SUMS").read_text()
    assert "b-1.0.zip" in listed
    assert thirds[0] not in listed
    assert "b-1.0.tar.zst" not in listed


def test_a_zip_that_became_parts_and_parts_that_became_more(tmp_path: Path) -> None:
    dist = tmp_path / "dist"
    publish(_finished(tmp_path / "1", "b-1.0.zip"), dist, "b-1.0", QUIET)
    halves = ["b-1.0-part1of2.zip", "b-1.0-part2of2.zip"]
    publish(_finished(tmp_path / "2", *halves), dist, "b-1.0", QUIET)
    assert sorted(path.name for path in dist.iterdir()) == ["SHA256SUMS", *halves]
    thirds = [f"b-1.0-part{number}of3.zip" for number in (1, 2, 3)]
    publish(_finished(tmp_path / "3", *thirds), dist, "b-1.0", QUIET)
    assert sorted(path.name for path in dist.iterdir()) == ["SHA256SUMS", *thirds]
    subprocess.run(["sha256sum", "--check", "--quiet", "--strict", "SHA256SUMS"], cwd=dist, check=True)


def _folder_release(tmp_path: Path, content: str) -> Path:
    tree = tmp_path / "tree"
    tree.mkdir(exist_ok=True)
    (tree / "a").write_text(content)
    (tree / "empty").mkdir(exist_ok=True)
    archives = tmp_path / f"archives {content}"
    archive_tree(
        tree, archives / "b-1.0", console=QUIET, epoch=0, root_name="comfy", format="dir", manifest_member="p/m.json"
    )
    return archives


def test_a_published_folder_is_replaced_and_leaves_nothing(tmp_path: Path) -> None:
    dist = tmp_path / "dist"
    for content in ("one", "two", "three"):
        publish(_folder_release(tmp_path, content), dist, "b-1.0", QUIET)
        assert sorted(path.name for path in dist.iterdir()) == ["SHA256SUMS", "b-1.0", "b-1.0.manifest.json"]
        assert (dist / "b-1.0/comfy/a").read_text() == content


@pytest.mark.parametrize("mine", ["comfy/models/mine.safetensors", "comfy/a", "mine.txt"])
def test_what_somebody_put_into_a_published_folder_is_kept_and_named(mine: str, tmp_path: Path) -> None:
    dist, console = tmp_path / "dist", Console(stream=io.StringIO())
    publish(_folder_release(tmp_path, "one"), dist, "b-1.0", console)
    for number, content in ((1, "two"), (2, "three")):
        (dist / "b-1.0" / mine).parent.mkdir(exist_ok=True)
        (dist / "b-1.0" / mine).write_text("precious")
        publish(_folder_release(tmp_path, content), dist, "b-1.0", console)
        assert (dist / "b-1.0/comfy/a").read_text() == content
        assert (dist / f"b-1.0.before-{number}" / mine).read_text() == "precious"
        assert f"b-1.0.before-{number}" in console.warnings[-1]
    assert (dist / "b-1.0.before-1" / mine).read_text() == "precious"


@pytest.mark.parametrize("mine", [None, "comfy/models/mine.safetensors"])
def test_an_unproved_folder_is_withdrawn_but_not_what_somebody_put_into_it(mine: str | None, tmp_path: Path) -> None:
    dist, console = tmp_path / "dist", Console(stream=io.StringIO())
    publish(_folder_release(tmp_path, "one"), dist, "b-1.0", console)
    (dist / "b-1.0.report.json").write_text('{"proof": {"passed": false}, "archives": ["dist/b-1.0"]}')
    if mine:
        (dist / "b-1.0" / mine).parent.mkdir()
        (dist / "b-1.0" / mine).write_text("precious")
    withdraw_unproved(dist, "b-1.0", console)
    assert sorted(path.name for path in dist.iterdir()) == ["SHA256SUMS", *(["b-1.0.before-1"] if mine else [])]
    if mine:
        assert (dist / "b-1.0.before-1" / mine).read_text() == "precious"
        assert "b-1.0.before-1" in console.warnings[-1]


def test_a_folder_that_cannot_be_put_in_place_leaves_the_old_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    dist = tmp_path / "dist"
    publish(_folder_release(tmp_path, "one"), dist, "b-1.0", QUIET)
    rename = Path.rename

    def fail(self: Path, target: Path) -> Path:
        if self.name == ".b-1.0.tmp":
            raise OSError("no")
        return rename(self, target)

    monkeypatch.setattr(Path, "rename", fail)
    with pytest.raises(OSError, match="no"):
        publish(_folder_release(tmp_path, "two"), dist, "b-1.0", QUIET)
    assert sorted(path.name for path in dist.iterdir()) == ["SHA256SUMS", "b-1.0", "b-1.0.manifest.json"]
    assert (dist / "b-1.0/comfy/a").read_text() == "one"
