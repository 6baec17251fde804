"""A release is whole or it is not made: all that is missing, damaged or unproved is listed, and nothing written."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path

import pytest
from test_changes_and_notes import OLD

from packager.archive.checksums import update_checksums
from packager.errors import ProofError
from packager.filesystem import sha256_file
from packager.releases.collect import copy_bundles, find_bundles, find_locks
from packager.releases.matrix import Row


def row(target: str) -> Row:
    return Row(target=target, accelerator="", stem=f"r-1.0-{target}", runner="any", free_disk=())


ROWS = (row("linux-x86_64"), row("windows-x86_64"))


@pytest.fixture
def artifacts(tmp_path: Path) -> Path:
    """What two runners left, each in a folder of its own."""
    for one in ROWS:
        folder = tmp_path / "artifacts" / one.stem
        folder.mkdir(parents=True)
        (folder / f"{one.stem}.zip").write_bytes(one.stem.encode() * 99)
        (folder / f"{one.stem}.manifest.json").write_text("{}")
        OLD.save(folder / f"{one.stem}.lock.json")
        report = {"archives": [f"D:\\a\\dist\\{one.stem}.zip"], "proof": {"passed": True}}
        (folder / f"{one.stem}.report.json").write_text(json.dumps(report))
        update_checksums(folder, {path.name: sha256_file(path) for path in sorted(folder.iterdir())})
    return tmp_path / "artifacts"


def test_a_whole_release_is_collected_and_coreutils_agree(artifacts: Path, tmp_path: Path) -> None:
    copy_bundles(find_bundles(ROWS, artifacts), tmp_path / "out")
    subprocess.run(["sha256sum", "--check", "--strict", "--quiet", "SHA256SUMS"], cwd=tmp_path / "out", check=True)
    names = {path.name for path in (tmp_path / "out").iterdir()}
    assert names == {
        f"{one.stem}{end}" for one in ROWS for end in (".zip", ".manifest.json", ".lock.json", ".report.json")
    } | {"SHA256SUMS"}


def test_all_that_is_wrong_is_listed_at_once(artifacts: Path) -> None:
    shutil.rmtree(artifacts / ROWS[0].stem)
    (artifacts / ROWS[1].stem / f"{ROWS[1].stem}.zip").write_bytes(b"other")
    with pytest.raises(ProofError) as caught:
        find_bundles(ROWS, artifacts)
    assert "there is no bundle: r-1.0-linux-x86_64" in str(caught.value)
    assert "r-1.0-windows-x86_64.zip: does not have the hash" in str(caught.value)


@pytest.mark.parametrize(
    ("name", "content", "what"),
    [
        (".report.json", "[1]", "cannot be read"),
        (".report.json", '{"archives": ["x.zip"], "proof": {"passed": false}}', "not proved"),
        (".report.json", '{"archives": ["../../etc/passwd"], "proof": {"passed": true}}', "passwd: is not listed"),
        (
            ".report.json",
            '{"archives": ["r-1.0-linux-x86_64.zip"], "proof": {"passed": true}}',
            "does not have the hash",
        ),
        (".lock.json", None, "is missing"),
        (".zip", None, "is missing"),
    ],
)
def test_one_bad_file_stops_the_release(artifacts: Path, name: str, content: str | None, what: str) -> None:
    path = artifacts / ROWS[0].stem / f"{ROWS[0].stem}{name}"
    path.write_text(content) if content is not None else path.unlink()
    with pytest.raises(ProofError, match=what):
        find_bundles(ROWS, artifacts)


def test_the_last_release_is_found_by_its_locks(artifacts: Path) -> None:
    locks, version = find_locks(artifacts, ROWS, name="r")
    assert set(locks) == {"linux-x86_64", "windows-x86_64"}
    assert version == "1.0"
    assert find_locks(artifacts, ROWS, name="another") == ({}, "")
