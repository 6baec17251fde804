"""Reuse: the same bytes as a full run, with members really copied; an earlier zip that is not as it was is not used."""

from __future__ import annotations

import io
import random
import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from archive_trees import EPOCH

from packager import release
from packager.archive import reuse, zip_writer
from packager.archive.archive_tree import Archived, archive_tree
from packager.archive.checksums import update_checksums
from packager.archive.manifest import Entry
from packager.archive.zip_members import read_members
from packager.console import Console
from packager.errors import InputError
from packager.filesystem import sha256_file


def pack(
    root: Path,
    folder: Path,
    *,
    reuse: Path | None = None,
    level: str = "fast",
    root_name: str = "b",
    epoch: int = EPOCH,
    **more: int,
) -> Archived:
    return archive_tree(
        root,
        folder / "b-1.zip",
        console=Console(quiet=True, stream=io.StringIO()),
        epoch=epoch,
        root_name=root_name,
        manifest_member="portable/manifest.json",
        level=level,
        reuse=reuse,
        **more,
    )


@pytest.fixture
def packed_paths(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The paths of all files given to the compressor, as they come."""
    seen: list[str] = []
    jobs = zip_writer.packing.jobs

    def watched(root: Path, entries: list[Entry]) -> object:
        listed = list(entries)
        seen.extend(entry.path for entry in listed if entry.kind == "file")
        return jobs(root, listed)

    monkeypatch.setattr(zip_writer.packing, "jobs", watched)
    return seen


@pytest.fixture
def changed(tree: Path, tmp_path: Path) -> Path:
    """The tree with one file changed, one moved, one with another mode, one new."""
    copy = tmp_path / "changed"
    shutil.copytree(tree, copy, symlinks=True)
    (copy / "README.txt").write_text("other\n")
    (copy / "lib/noise.bin").rename(copy / "moved.bin")
    (copy / "lib/package/random.bin").chmod(0o755)
    (copy / "new.txt").write_text("new " * 100)
    return copy


def test_reuse_gives_the_bytes_of_a_full_run_and_packs_what_is_new_alone(
    tree: Path, changed: Path, tmp_path: Path, packed_paths: list[str]
) -> None:
    old = pack(tree, tmp_path / "old")
    full = pack(changed, tmp_path / "full")
    packed_paths.clear()
    again = pack(changed, tmp_path / "again", reuse=old.archive.path)
    assert again.archive.path.read_bytes() == full.archive.path.read_bytes()
    assert sorted(packed_paths) == ["README.txt", "new.txt"]


def test_parts_from_a_whole_zip_and_from_parts_are_those_of_a_full_run(
    tree: Path, changed: Path, tmp_path: Path, packed_paths: list[str]
) -> None:
    sizes = {"max_part_size": 20 * 1024 * 1024}
    full = pack(changed, tmp_path / "full", **sizes)
    assert len(full.archives) == 2
    whole, parts = pack(tree, tmp_path / "whole"), pack(tree, tmp_path / "parts", **sizes)
    for number, old in enumerate((whole.archive, parts.archives[1])):
        packed_paths.clear()
        again = pack(changed, tmp_path / f"again{number}", reuse=old.path, **sizes)
        assert [info.sha256 for info in again.archives] == [info.sha256 for info in full.archives]
        assert sorted(packed_paths) == ["README.txt", "new.txt"]


@pytest.mark.parametrize("other", [{"root_name": "renamed"}, {"root_name": ""}, {"epoch": EPOCH + 86400}])
def test_members_with_other_headers_are_reused_too(
    other: dict[str, Any], tree: Path, changed: Path, tmp_path: Path, packed_paths: list[str]
) -> None:
    full = pack(changed, tmp_path / "full", **other)
    old = pack(tree, tmp_path / "old")
    packed_paths.clear()
    again = pack(changed, tmp_path / "again", reuse=old.archive.path, **other)
    assert again.archive.path.read_bytes() == full.archive.path.read_bytes()
    assert sorted(packed_paths) == ["README.txt", "new.txt"]


def _flip_a_byte(archive: Path) -> None:
    with archive.open("r+b") as stream:
        stream.seek(2000)
        byte = stream.read(1)
        stream.seek(2000)
        stream.write(bytes([byte[0] ^ 1]))


@pytest.mark.parametrize("harm", ["flipped", "unlisted", "other level", "no manifest"])
def test_an_earlier_zip_that_cannot_be_trusted_is_not_used(
    harm: str, tree: Path, tmp_path: Path, packed_paths: list[str]
) -> None:
    """Hostile: a bit flipped in the earlier zip, no checksums beside it, members packed at another level, nonsense."""
    old = pack(tree, tmp_path / "old", level="default" if harm == "other level" else "fast")
    if harm == "flipped":
        _flip_a_byte(old.archive.path)
    elif harm == "unlisted":
        old.checksums_path.unlink()
    elif harm == "no manifest":
        old.manifest_path.write_text('{"entries": [1]}')
        update_checksums(old.manifest_path.parent, {old.manifest_path.name: sha256_file(old.manifest_path)})
    packed_paths.clear()
    again = pack(tree, tmp_path / "again", reuse=old.archive.path)
    assert "lib/noise.bin" in packed_paths
    assert again.archive.sha256 == pack(tree, tmp_path / "full").archive.sha256


def test_an_earlier_zip_that_is_not_there_is_an_error(tree: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such file"):
        pack(tree, tmp_path / "out", reuse=tmp_path / "gone.zip")


def test_the_last_archives_are_set_aside_once_and_only_when_finished(tmp_path: Path) -> None:
    archives, previous = tmp_path / "archives", tmp_path / "previous"
    assert release.set_aside(archives, previous, "b-1.zip") is None
    root = tmp_path / "tree"
    root.mkdir()
    (root / "a").write_text("a")
    pack(root, archives)
    assert release.set_aside(archives, previous, "b-1.zip") == previous / "b-1.zip"
    archives.mkdir()  # a build that was interrupted before it finished a new archive
    assert release.set_aside(archives, previous, "b-1.zip") == previous / "b-1.zip"
    assert release.set_aside(archives, previous, "other.zip") is None
    (previous / "b-1.manifest.json").unlink()
    assert release.set_aside(archives, previous, "b-1.zip") is None


@pytest.fixture
def small(tmp_path: Path) -> Path:
    root = tmp_path / "small"
    (root / "sub").mkdir(parents=True)
    (root / "a.txt").write_text("a line of text\n" * 3000)
    (root / "noise.bin").write_bytes(random.Random(1).randbytes(50_000))
    (root / "sub" / "c.txt").write_text("another line\n" * 100)
    return root


def test_parts_beside_the_manifest_of_a_later_zip_are_not_used(tree: Path, tmp_path: Path) -> None:
    """Old parts and a later whole zip share a manifest's name, and all the sums agree."""
    old = pack(tree, tmp_path / "out", max_part_size=20 * 1024 * 1024)
    assert len(old.archives) == 2
    changed = tmp_path / "changed"
    shutil.copytree(tree, changed, symlinks=True)
    readme = changed / "README.txt"
    readme.write_bytes(bytes(byte ^ 1 for byte in readme.read_bytes()))
    full = pack(changed, tmp_path / "out")
    again = pack(changed, tmp_path / "again", reuse=old.archive.path)
    assert again.archive.sha256 == full.archive.sha256


def _zipped_anew(archive: Path, method: int, *, flag: int = 0) -> None:
    """The same members, as another program would pack them."""
    with zipfile.ZipFile(archive) as opened:
        members = [(info, opened.read(info)) for info in opened.infolist()]
    with zipfile.ZipFile(archive, "w", method) as written:
        for info, content in members:
            info.compress_type = method
            info.flag_bits |= flag
            written.writestr(info, content, method)


def _shifted(archive: Path) -> None:
    """The directory places a member beyond the end."""
    content = bytearray(archive.read_bytes())
    at = content.index(b"PK\x01\x02")
    content[at + 42 : at + 46] = (len(content) - 10).to_bytes(4, "little")
    archive.write_bytes(content)


@pytest.mark.parametrize(
    "harm",
    [
        lambda path: path.write_bytes(b"no zip"),
        lambda path: path.write_bytes(b""),
        lambda path: _zipped_anew(path, zipfile.ZIP_BZIP2),
        lambda path: _zipped_anew(path, zipfile.ZIP_DEFLATED),
        _shifted,
    ],
    ids=["no zip", "empty", "bzip2", "zlib", "beyond the end"],
)
def test_a_zip_that_is_none_of_ours_is_not_used_though_its_sums_agree(
    harm: Callable[[Path], None], small: Path, tmp_path: Path
) -> None:
    """Hostile: whoever can write the zip can write SHA256SUMS."""
    old = pack(small, tmp_path / "old")
    harm(old.archive.path)
    update_checksums(tmp_path / "old", {old.archive.path.name: sha256_file(old.archive.path)})
    again = pack(small, tmp_path / "again", reuse=old.archive.path)
    assert again.archive.sha256 == pack(small, tmp_path / "full").archive.sha256


@pytest.mark.parametrize(
    "value", ['{"entries": 3}', '{"entries": [{"kind": "file", "path": "a", "size": 1, "sha256": []}]}']
)
def test_a_manifest_that_is_none_is_not_used_though_its_sums_agree(value: str, small: Path, tmp_path: Path) -> None:
    old = pack(small, tmp_path / "old")
    packing = old.manifest.packing
    old.manifest_path.write_text(value[:-1] + f', "packing": "{packing}"}}')
    update_checksums(tmp_path / "old", {old.manifest_path.name: sha256_file(old.manifest_path)})
    again = pack(small, tmp_path / "again", reuse=old.archive.path)
    assert again.archive.sha256 == pack(small, tmp_path / "full").archive.sha256


def test_an_earlier_zip_that_changes_while_it_is_copied_is_an_error(
    small: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    old = pack(small, tmp_path / "old")

    monkeypatch.setattr(reuse, "read_members", lambda it: (read_members(it), _flip_a_byte(old.archive.path))[0])
    with pytest.raises(InputError, match="changed while members of it were copied"):
        pack(small, tmp_path / "again", reuse=old.archive.path)
    assert not list((tmp_path / "again").glob("*.zip"))


def test_an_earlier_zip_that_is_replaced_by_another_is_still_read(small: Path, tmp_path: Path) -> None:
    """The new zip may take the place of the one it is made from."""
    old = pack(small, tmp_path / "out")
    before = old.archive.sha256
    assert pack(small, tmp_path / "out", reuse=old.archive.path).archive.sha256 == before


def test_reuse_is_for_zips(small: Path, tmp_path: Path) -> None:
    old = pack(small, tmp_path / "old")
    with pytest.raises(InputError, match="by a zip alone"):
        archive_tree(small, tmp_path / "b.tar.zst", console=Console(quiet=True), epoch=EPOCH, reuse=old.archive.path)
