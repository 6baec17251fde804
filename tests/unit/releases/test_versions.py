"""One source of the version, raised by the rules of semver.org and held against the tag."""

from __future__ import annotations

from pathlib import Path

import pytest

from packager.errors import InputError
from packager.releases.versions import bumped, check_tag, write_version


@pytest.mark.parametrize(
    ("version", "part", "after"),
    [
        ("1.4.2", "patch", "1.4.3"),
        ("1.4.2", "minor", "1.5.0"),
        ("1.4.2", "major", "2.0.0"),
        ("1.5.0-rc1", "patch", "1.5.0"),
        ("0.9.9", "minor", "0.10.0"),
    ],
)
def test_bump(version: str, part, after: str) -> None:
    assert bumped(version, part) == after


def test_what_is_not_three_numbers_cannot_be_bumped() -> None:
    with pytest.raises(InputError, match="--set"):
        bumped("2026-11", "patch")


def test_writing_keeps_the_comments(tmp_path: Path) -> None:
    path = tmp_path / "version.yml"
    path.write_text("# why\nversion: 1.0.0\n", encoding="utf-8")
    write_version(path, "1.1.0")
    assert path.read_text(encoding="utf-8") == "# why\nversion: 1.1.0\n"


@pytest.mark.parametrize("version", ["", "v1", "1.0 ", "1.0\n2", "../1", "1.0;rm", "9" * 80])
def test_what_cannot_stand_in_a_file_name_is_refused_and_nothing_written(tmp_path: Path, version: str) -> None:
    path = tmp_path / "version.yml"
    path.write_text("version: 1.0.0\n", encoding="utf-8")
    with pytest.raises(InputError):
        write_version(path, version)
    assert path.read_text(encoding="utf-8") == "version: 1.0.0\n"


@pytest.mark.parametrize("tag", ["v1.4.0", "1.4.0", "refs/tags/v1.4.0"])
def test_the_tag_of_the_version_passes(tag: str) -> None:
    check_tag("1.4.0", tag)


@pytest.mark.parametrize("tag", ["v1.4.1", "", "refs/heads/v1.4.0", "v1.4.0 ", "vv1.4.0"])
def test_another_tag_is_refused(tag: str) -> None:
    with pytest.raises(InputError, match=r"version\.yml says 1\.4\.0"):
        check_tag("1.4.0", tag)
