"""verify: every kind of damage is found; a manifest that lies about paths is refused."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from fake_bundles import call
from portable.errors import HelperError
from portable.verify import find_damage, read_manifest

from packager.archive.manifest import Entry, Manifest
from packager.bundle import BundleTree


def entry(path: str, content: bytes, mode: int = 0o644) -> Entry:
    digest = hashlib.sha256(content).hexdigest()
    return Entry(path=path, kind="file", mode=mode, size=len(content), sha256=digest)


@pytest.fixture
def shipped(make_bundle: Callable[..., BundleTree]) -> BundleTree:
    """A bundle with a few files and the manifest the archive room writes for them."""
    tree = make_bundle()
    files = {"ComfyUI/a é.txt": b"one", "python/b.bin": b"\0\1", "python/run": b"#!/bin/sh\n", "z": b""}
    for path, content in files.items():
        (tree.root / path).write_bytes(content)
    (tree.root / "python/run").chmod(0o755)
    (tree.root / "python/link").symlink_to("b.bin")
    (tree.root / "ComfyUI/input/3d").mkdir(parents=True)
    entries = (
        entry("ComfyUI/a é.txt", files["ComfyUI/a é.txt"]),
        Entry(path="ComfyUI/input/3d", kind="directory", mode=0o755),
        entry("python/b.bin", files["python/b.bin"]),
        Entry(path="python/link", kind="link", mode=0o777, target="b.bin"),
        entry("python/run", files["python/run"], 0o755),
        entry("z", b""),
    )
    (tree.portable / "manifest.json").write_text(Manifest(bundle={}, entries=entries).to_json(), encoding="utf-8")
    return tree


def damage_of(tree: BundleTree) -> list[tuple[str, str]]:
    finished = call(tree.root / "manage.sh", "verify", "--json")
    found = json.loads(finished.stdout)
    assert found["checked"] == 6
    assert finished.returncode == (1 if found["damage"] else 0)
    return [(item["kind"], item["path"]) for item in found["damage"]]


def spoken(tree: BundleTree) -> list[str]:
    """What verify says, but for the helpers and the app, which the small manifest does not list."""
    lines = call(tree.root / "manage.sh", "verify").stdout.splitlines()
    return [
        line.partition(", ")[0] + ", " + line.rpartition(", ")[2] if " checked" in line else line
        for line in lines
        if not line.startswith("unknown")
    ]


def test_whole_bundle_passes_and_own_files_do_not_count(shipped: BundleTree) -> None:
    (shipped.root / "ComfyUI/models").mkdir()
    (shipped.root / "ComfyUI/models/my.safetensors").touch()
    assert damage_of(shipped) == []
    assert "6 entries checked, 0 missing or damaged" in spoken(shipped)


@pytest.mark.parametrize(
    ("harm", "found"),
    [
        (lambda root: (root / "z").unlink(), ("missing", "z")),
        (lambda root: (root / "python/b.bin").write_bytes(b"\0\2"), ("damaged", "python/b.bin")),
        (lambda root: (root / "python/b.bin").write_bytes(b"\0"), ("damaged", "python/b.bin")),
        (lambda root: (root / "python/run").chmod(0o644), ("damaged", "python/run")),
        (lambda root: (root / "ComfyUI/input/3d").rmdir(), ("missing", "ComfyUI/input/3d")),
        (
            lambda root: ((root / "python/link").unlink(), (root / "python/link").symlink_to("run")),
            ("damaged", "python/link"),
        ),
        (
            lambda root: ((root / "python/link").unlink(), (root / "python/link").write_bytes(b"b.bin")),
            ("damaged", "python/link"),
        ),
        (lambda root: ((root / "z").unlink(), (root / "z").symlink_to("python/b.bin")), ("damaged", "z")),
        (lambda root: ((root / "z").unlink(), (root / "z").mkdir()), ("damaged", "z")),
    ],
)
def test_each_kind_of_damage_is_found(shipped: BundleTree, harm: Callable[[Path], Any], found: tuple[str, str]) -> None:
    harm(shipped.root)
    assert damage_of(shipped) == [found]


def test_report_for_people_names_file_and_reason(shipped: BundleTree) -> None:
    (shipped.root / "z").unlink()
    (shipped.root / "python/b.bin").write_bytes(b"")
    lines = spoken(shipped)
    assert lines == [
        "damaged  python/b.bin (has 0 bytes instead of 2)",
        "missing  z",
        "6 entries checked, 2 missing or damaged",
        "`manage repair` puts back what is missing or damaged",
    ]


@pytest.mark.parametrize(
    "content",
    [
        "",
        "[]",
        '{"format": 2, "entries": []}',
        '{"format": 1}',
        '{"format": 1, "entries": [{"path": "../x", "kind": "file"}]}',
        '{"format": 1, "entries": [{"path": "a/../../x", "kind": "file"}]}',
        '{"format": 1, "entries": [{"path": "/etc/passwd", "kind": "file"}]}',
        '{"format": 1, "entries": [{"kind": "file"}]}',
        '{"format": 1, "entries": [7]}',
    ],
)
def test_a_broken_or_hostile_manifest_is_refused(tmp_path: Path, content: str) -> None:
    path = tmp_path / "manifest.json"
    path.write_text(content, encoding="utf-8")
    with pytest.raises(HelperError):
        read_manifest(path)


def test_an_unknown_kind_is_refused(tmp_path: Path) -> None:
    with pytest.raises(HelperError, match="not known"):
        list(find_damage(tmp_path, [{"path": "x", "kind": "fifo"}]))


def test_the_zip_to_unzip_is_named_when_a_part_is_missing_whole_or_in_pieces(shipped: BundleTree) -> None:
    path = shipped.portable / "manifest.json"
    manifest = json.loads(path.read_text(encoding="utf-8"))
    manifest["parts"] = [f"b-part{part}of3.zip" for part in (1, 2, 3)]
    for item in manifest["entries"]:
        item["part"] = {"ComfyUI/a é.txt": 2, "ComfyUI/input/3d": 2, "z": 3, "python/b.bin": 3}.get(item["path"], 1)
    path.write_text(json.dumps(manifest), encoding="utf-8")
    assert spoken(shipped) == ["6 entries checked, 0 missing or damaged"]
    (shipped.root / "ComfyUI/a é.txt").unlink()
    (shipped.root / "ComfyUI/input/3d").rmdir()
    (shipped.root / "z").unlink()
    into = f"into the same folder as the other parts, {shipped.root.parent}"
    assert spoken(shipped)[-2:] == [
        f"Nothing of b-part2of3.zip is here: unzip b-part2of3.zip {into}",
        f"Not all of b-part3of3.zip is here: unzip b-part3of3.zip {into}",
    ]
    finished = call(shipped.root / "manage.sh", "verify", "--json")
    assert [item["archive"] for item in json.loads(finished.stdout)["damage"]] == [
        "b-part2of3.zip",
        "b-part2of3.zip",
        "b-part3of3.zip",
    ]


def test_a_part_number_that_is_not_listed_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "manifest.json"
    entries = [{"path": "x", "kind": "file", "part": 3}]
    path.write_text(json.dumps({"format": 1, "parts": ["a", "b"], "entries": entries}), encoding="utf-8")
    with pytest.raises(HelperError, match="cannot be read"):
        read_manifest(path)
