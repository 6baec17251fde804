"""Parts: every tool unzips them into one tree, a missing one is named, and a small change leaves most as they were."""

from __future__ import annotations

import random
import shutil
import subprocess
import zipfile
from pathlib import Path
from typing import Any

import pytest
from archive_trees import EPOCH, inventory

from packager.archive import split
from packager.archive.archive_tree import Archived, archive_tree
from packager.archive.checksums import mismatches
from packager.archive.extract import extract
from packager.archive.manifest import from_json
from packager.archive.part_plan import plan_parts
from packager.console import Console
from packager.errors import InputError
from packager.parts import MAX_PART_SIZE, find_parts, parse_size, part_name

LIMIT = 1024 * 1024
MANIFEST = "portable/manifest.json"


def grow(root: Path) -> Path:
    """About 3.5 MiB that do not compress, in folders of several sizes, with links and empty folders."""
    noise = random.Random(7)
    files = {f"lib/package{number % 40}/m{number}.bin": noise.randbytes(7_000) for number in range(300)}
    files |= {f"lib/large{number}.so": noise.randbytes(200_000 + number) for number in range(8)}
    files |= {"manage.sh": b"#!/bin/sh\n", "portable/app.py": b"print()\n"}
    for name, content in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(content)
    (root / "lib/link").symlink_to("large0.so")
    (root / "empty/folder").mkdir(parents=True)
    return root


def pack(root: Path, folder: Path, *, limit: int = LIMIT) -> Archived:
    return archive_tree(
        root,
        folder / "b-1.zip",
        console=Console(quiet=True),
        epoch=EPOCH,
        root_name="b",
        manifest_member=MANIFEST,
        max_part_size=limit,
        is_first=lambda path: not path.startswith("lib/"),
    )


@pytest.fixture(scope="module")
def grown(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return grow(tmp_path_factory.mktemp("grown") / "b")


@pytest.fixture(scope="module")
def parted(grown: Path, tmp_path_factory: pytest.TempPathFactory) -> Archived:
    return pack(grown, tmp_path_factory.mktemp("parts"))


def test_parts_are_within_the_limit_balanced_listed_and_alone(parted: Archived) -> None:
    count = len(parted.archives)
    folder = parted.archive.path.parent
    names = [f"b-1-part{part}of{count}.zip" for part in range(1, count + 1)]
    assert [info.path.name for info in parted.archives] == names
    assert sorted(path.name for path in folder.iterdir()) == sorted([*names, "b-1.manifest.json", "SHA256SUMS"])
    sizes = [info.path.stat().st_size for info in parted.archives]
    assert max(sizes) <= LIMIT
    assert min(sizes) > LIMIT // 2
    assert mismatches(info.path for info in parted.archives) == ()
    assert all(name in parted.checksums_path.read_text() for name in names)


def test_every_entry_lies_in_the_part_the_manifest_names(parted: Archived) -> None:
    with zipfile.ZipFile(parted.archive.path) as first:
        inside = first.read(f"b/{MANIFEST}")
    assert inside == parted.manifest_path.read_bytes()
    manifest = from_json(inside.decode(), where="inside")
    assert manifest.parts == tuple(info.path.name for info in parted.archives)
    for number, info in enumerate(parted.archives, 1):
        with zipfile.ZipFile(info.path) as part:
            assert part.testzip() is None
            names = {member.rstrip("/").removeprefix("b/") for member in part.namelist()} - {MANIFEST}
        assert names == {entry.path for entry in manifest.entries if entry.part == number}
    assert {entry.part for entry in manifest.entries if not entry.path.startswith("lib/")} == {1}


@pytest.mark.parametrize("tool", ["unzip", "packager"])
def test_all_parts_unzip_into_the_tree(tool: str, grown: Path, parted: Archived, tmp_path: Path) -> None:
    out = tmp_path / "out"
    if tool == "unzip":
        if not shutil.which("unzip"):
            pytest.skip("unzip is not installed")
        for info in reversed(parted.archives):
            subprocess.run(["unzip", "-q", str(info.path), "-d", str(out)], check=True, stdin=subprocess.DEVNULL)
    else:
        extract(parted.archives[-1].path, out, console=Console(quiet=True))
    found = inventory(out / "b")
    assert found.pop(MANIFEST)
    assert found == inventory(grown)


def test_a_missing_part_is_named_by_extract(parted: Archived, tmp_path: Path) -> None:
    for info in (parted.archives[0], parted.archives[2]):
        shutil.copy(info.path, tmp_path)
    with pytest.raises(InputError, match=rf"parts are missing: {parted.archives[1].path.name}"):
        extract(tmp_path / parted.archives[2].path.name, tmp_path / "out", console=Console(quiet=True))
    assert not (tmp_path / "out").exists()


def test_a_part_number_beyond_the_count_is_refused(tmp_path: Path) -> None:
    (tmp_path / "b-part3of2.zip").touch()
    with pytest.raises(InputError, match="cannot be"):
        find_parts(tmp_path / "b-part3of2.zip")


def test_an_entry_in_two_parts_is_refused(parted: Archived, tmp_path: Path) -> None:
    """Hostile: a second part that would overwrite a file of the first."""
    for info in parted.archives:
        shutil.copy(info.path, tmp_path)
    with zipfile.ZipFile(tmp_path / parted.archives[1].path.name, "a") as second:
        second.writestr("b/manage.sh", "rm -rf")
    with pytest.raises(InputError, match="twice"):
        extract(tmp_path / parted.archive.path.name, tmp_path / "out", console=Console(quiet=True))


def test_the_same_bytes_again_and_one_changed_file_touches_its_part_and_the_first(
    grown: Path, parted: Archived, tmp_path: Path
) -> None:
    again = pack(grown, tmp_path / "again")
    assert [info.sha256 for info in again.archives] == [info.sha256 for info in parted.archives]
    copy = tmp_path / "b"
    shutil.copytree(grown, copy, symlinks=True)
    (copy / "lib/package3/m3.bin").write_bytes(b"changed" * 1000)
    changed = pack(copy, tmp_path / "changed")
    part = next(entry.part for entry in parted.manifest.entries if entry.path == "lib/package3/m3.bin")
    touched = {
        number
        for number, (old, new) in enumerate(zip(parted.archives, changed.archives, strict=True), 1)
        if old.sha256 != new.sha256
    }
    assert touched == {1, part}


def test_a_member_over_the_limit_is_named_and_nothing_is_left(tmp_path: Path) -> None:
    (tmp_path / "b/lib").mkdir(parents=True)
    (tmp_path / "b/lib/huge.bin").write_bytes(random.Random(1).randbytes(LIMIT))
    with pytest.raises(InputError, match=r"lib/huge\.bin.*max_part_size|max_part_size") as caught:
        pack(tmp_path / "b", tmp_path / "out")
    assert caught.value.where == "lib/huge.bin"
    assert list((tmp_path / "out").iterdir()) == []


@pytest.mark.parametrize("older_in_parts", [False, True])
def test_a_failed_split_leaves_the_older_archive_as_it_was(
    older_in_parts: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tree = grow(tmp_path / "tree")
    pack(tree, tmp_path / "out", limit=LIMIT if older_in_parts else MAX_PART_SIZE)
    before = {path.name: path.read_bytes() for path in (tmp_path / "out").iterdir()}
    (tree / "manage.sh").write_text("#!/bin/sh\necho changed\n")
    written = []

    def write_part(*words: Any, **named: Any) -> Any:
        if written:
            raise KeyboardInterrupt
        written.append(1)
        return original(*words, **named)

    original = split._write_part
    monkeypatch.setattr(split, "_write_part", write_part)
    with pytest.raises(KeyboardInterrupt):
        pack(tree, tmp_path / "out")
    assert {path.name: path.read_bytes() for path in (tmp_path / "out").iterdir()} == before


def test_first_entries_over_the_limit_are_refused() -> None:
    with pytest.raises(InputError, match="part 1 must hold"):
        plan_parts({"a": 600, "b": 600, "c": 1}, 1000, is_first=lambda path: path != "c")


def test_small_changes_to_a_large_environment_touch_few_parts() -> None:
    """200 packages of uneven sizes and some large libraries: a new package of 1 % moves almost nothing else."""
    noise = random.Random(3)
    site = "python/lib/python3.12/site-packages"
    sizes = {f"{site}/p{number % 200}/f{number}": noise.randrange(100, 60_000) for number in range(6_000)}
    sizes |= {f"{site}/torch/lib/l{number}.so": noise.randrange(10**6, 2 * 10**7) for number in range(20)}
    limit = 60_000_000
    before = plan_parts(sizes, limit, is_first=lambda _: False)
    added = {f"{site}/new/f{number}": 40_000 for number in range(90)}
    after = plan_parts(sizes | added, limit, is_first=lambda _: False)
    loads = [sum(sizes[path] for path in sizes if before[path] == part) for part in range(1, max(before.values()) + 1)]
    assert max(loads) <= limit
    assert min(loads) > 0.6 * max(loads)
    moved = sum(sizes[path] for path in sizes if before[path] != after[path])
    assert moved < 0.05 * sum(sizes.values())
    assert len({after[path] for path in added}) == 1


@pytest.mark.parametrize(("text", "size"), [("1900MiB", 1900 * 2**20), ("2 GiB", 2**31), (1048576, 1048576)])
def test_sizes(text: str | int, size: int) -> None:
    assert parse_size(text, where="x") == size


@pytest.mark.parametrize("text", ["", "1.5GiB", "-1", "1MB", "100KiB", 0, "1e9"])
def test_no_sizes(text: str | int) -> None:
    with pytest.raises(InputError, match="no size"):
        parse_size(text, where="--max-part-size")


def test_the_limit_of_a_release_asset_and_names() -> None:
    assert MAX_PART_SIZE == 2**31 - 1
    assert part_name("b-1.zip", 1, 1) == "b-1.zip"
    assert part_name("b-1.zip", 2, 3) == "b-1-part2of3.zip"
