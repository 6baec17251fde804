"""From the work folder to the output folder: nothing half-done, unproved or damaged passes for a release."""

from __future__ import annotations

import hashlib
import subprocess
from pathlib import Path

import pytest

from packager.archive.checksums import update_checksums
from packager.release import is_intact, publish, withdraw_unproved


@pytest.fixture
def archives(tmp_path: Path) -> Path:
    folder = tmp_path / "archives"
    (folder / "b-1.0").mkdir(parents=True)
    (folder / "b-1.0" / "f").write_text("x")
    (folder / "b-1.0.zip").write_bytes(b"zip" * 1000)
    update_checksums(folder, {"b-1.0.zip": hashlib.sha256(b"zip" * 1000).hexdigest()})
    return folder


def test_published_files_are_whole_and_listed(archives: Path, tmp_path: Path) -> None:
    sums = publish(archives, tmp_path / "dist")
    assert sorted(sums) == ["b-1.0", "b-1.0.zip"]
    assert sorted(path.name for path in (tmp_path / "dist").iterdir()) == ["SHA256SUMS", "b-1.0", "b-1.0.zip"]
    subprocess.run(["sha256sum", "--check", "--quiet", "SHA256SUMS"], cwd=tmp_path / "dist", check=True)
    assert is_intact(tmp_path / "dist", sums)


def test_damage_in_the_output_folder_is_seen_and_does_not_reach_the_work_folder(archives: Path, tmp_path: Path) -> None:
    sums = publish(archives, tmp_path / "dist")
    with (tmp_path / "dist" / "b-1.0.zip").open("r+b") as stream:
        stream.truncate(10)
    assert not is_intact(tmp_path / "dist", sums)
    assert (archives / "b-1.0.zip").read_bytes() == b"zip" * 1000
    publish(archives, tmp_path / "dist")
    assert is_intact(tmp_path / "dist", sums)


def test_missing_folder_or_file_is_not_intact(archives: Path, tmp_path: Path) -> None:
    sums = publish(archives, tmp_path / "dist")
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
    publish(archives, dist)
    (dist / "b-1.0.report.json").write_text(report)
    (dist / "b-1.0.1.zip").write_text("another release")
    withdraw_unproved(dist, "b-1.0")
    assert (dist / "b-1.0.zip").exists() is stays
    assert (dist / "b-1.0.1.zip").exists()
    assert ("b-1.0.zip" in (dist / "SHA256SUMS").read_text()) is stays
