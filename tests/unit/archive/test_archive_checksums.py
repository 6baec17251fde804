"""SHA256SUMS: coreutils agrees, others' lines stay, and a hostile file is refused."""

from __future__ import annotations

import hashlib
import shutil
import subprocess
from pathlib import Path

import pytest

from packager.archive.archive_tree import Archived
from packager.archive.checksums import mismatches, read_checksums, update_checksums
from packager.cli import main
from packager.errors import InputError


@pytest.mark.skipif(not shutil.which("sha256sum"), reason="sha256sum is not installed")
def test_sha256sum_checks_what_archive_tree_wrote(archived: Archived) -> None:
    done = subprocess.run(
        ["sha256sum", "--check", "--strict", "SHA256SUMS"],
        check=False,
        cwd=archived.checksums_path.parent,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout == "bundle-1.0.manifest.json: OK\nbundle-1.0.zip: OK\n"


def test_own_lines_are_replaced_and_others_stay_while_their_files_do(tmp_path: Path) -> None:
    for name in ("a b.zip", "other.zip", "gone.zip"):
        (tmp_path / name).write_bytes(name.encode())
    sums = {name: hashlib.sha256(name.encode()).hexdigest() for name in ("other.zip", "gone.zip")}
    path = update_checksums(tmp_path, {**sums, "a b.zip": "0" * 64})
    assert mismatches([tmp_path / "a b.zip", tmp_path / "other.zip"]) == ("a b.zip",)
    (tmp_path / "gone.zip").unlink()
    update_checksums(tmp_path, {"a b.zip": hashlib.sha256(b"a b.zip").hexdigest()})
    assert list(read_checksums(path)) == ["a b.zip", "other.zip"]
    assert mismatches([tmp_path / "a b.zip", tmp_path / "other.zip"]) == ()
    (tmp_path / "other.zip").write_bytes(b"changed")
    (tmp_path / "unlisted.zip").write_bytes(b"")
    assert mismatches([tmp_path / "a b.zip", tmp_path / "other.zip", tmp_path / "unlisted.zip"]) == ("other.zip",)


def test_verify_tells_an_archive_that_is_not_what_its_checksums_say(
    archived: Archived, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copy(archived.archive.path, tmp_path)
    shutil.copy(archived.checksums_path, tmp_path)
    archive = tmp_path / archived.archive.path.name
    with archive.open("ab") as stream:
        stream.write(b"x")
    assert main(["verify", str(archive)]) == 5
    assert f"not what SHA256SUMS beside it lists: {archive.name}" in capsys.readouterr().err


@pytest.mark.parametrize(
    "line", ["junk", "0" * 64 + " a", "0" * 63 + "  a", "0" * 64 + "  ../a", "0" * 64 + "  /etc/x", "\xff"]
)
def test_a_line_that_is_no_checksum_is_refused_by_number(line: str, tmp_path: Path) -> None:
    path = tmp_path / "SHA256SUMS"
    path.write_bytes(b"0" * 64 + b"  fine\n" + line.encode("latin-1") + b"\n")
    with pytest.raises(InputError, match="SHA256SUMS"):
        read_checksums(path)


@pytest.mark.parametrize("name", ["a\nb.zip", "a\x7f.zip", "a\udc80.zip"])
def test_a_name_that_no_checksum_line_can_have_is_refused_before_anything_is_written(
    name: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "tree").mkdir()
    (tmp_path / "tree" / "a").write_text("a")
    assert main(["archive", str(tmp_path / "tree"), "-o", str(tmp_path / "out" / name)]) == 2
    assert "its name" in capfd.readouterr().err
    assert not (tmp_path / "out").exists()


def test_line_ends_of_unicode_are_letters_of_a_name(tmp_path: Path) -> None:
    (tmp_path / "a\u2028b.zip").write_bytes(b"")
    path = update_checksums(tmp_path, {"a\u2028b.zip": "0" * 64})
    assert read_checksums(path) == {"a\u2028b.zip": "0" * 64}


@pytest.mark.parametrize("epoch", ["9" * 5000, "100000000000000000000", "-1", "1.5"])
def test_an_epoch_that_is_no_time_is_refused(
    epoch: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("SOURCE_DATE_EPOCH", epoch)
    (tmp_path / "a").write_text("a")
    assert main(["archive", str(tmp_path), "-o", str(tmp_path.parent / "out.zip")]) == 2
    assert "SOURCE_DATE_EPOCH" in capfd.readouterr().err


def test_a_folder_in_the_place_of_the_archive_is_refused_at_once(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "tree").mkdir()
    (tmp_path / "out.zip").mkdir()
    assert main(["archive", str(tmp_path / "tree"), "-o", str(tmp_path / "out.zip")]) == 2
    assert "it is a folder" in capfd.readouterr().err
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out.zip", "tree"]


def test_an_empty_list_lists_nothing(tmp_path: Path) -> None:
    path = update_checksums(tmp_path, {})
    assert read_checksums(path) == {}
    path.write_bytes(b"0" * 64 + b"  a.zip\r\n")  # as an editor of Windows leaves it
    assert read_checksums(path) == {"a.zip": "0" * 64}
