"""Two bundles, from whatever holds their manifest."""

from __future__ import annotations

import zipfile
from pathlib import Path

import pytest

from packager.archive.manifest import Entry, Manifest
from packager.errors import InputError
from packager.releases.compare import compare_bundles, compare_manifests, read_manifest

SITE = "python/lib/python3.12/site-packages"


def manifest(files: dict[str, int], commit: str = "1" * 40) -> Manifest:
    entries = tuple(
        Entry(path=path, kind="file", mode=0o644, size=size, sha256=f"{size:064x}")
        for path, size in sorted(files.items())
    )
    return Manifest(bundle={"repositories": [{"name": "node", "commit": commit, "tree": ""}]}, entries=entries)


OLD = manifest({f"{SITE}/a-1.0.dist-info/METADATA": 10, f"{SITE}/a/x.py": 100, "ComfyUI/main.py": 5})
NEW = manifest(
    {f"{SITE}/a-1.1.dist-info/METADATA": 10, f"{SITE}/a/x.py": 140, "ComfyUI/custom_nodes/node/n.py": 7}, "2" * 40
)


def test_files_packages_nodes_and_bytes() -> None:
    found = compare_manifests(OLD, NEW)
    assert found.changed == (f"{SITE}/a/x.py",)
    assert found.removed == ("ComfyUI/main.py", f"{SITE}/a-1.0.dist-info/METADATA")
    assert [(it.name, it.old, it.new) for it in found.packages] == [("a", "1.0", "1.1")]
    assert [(it.name, it.new) for it in found.nodes] == [("node", "2" * 19)]
    assert found.bytes_by_owner == {"ComfyUI/custom_nodes/node": 7, "ComfyUI/main.py": -5, "python: a": 40}
    assert "1 added" not in found.text()
    assert "a 1.0 -> 1.1" in found.text()


def test_the_same_is_no_difference() -> None:
    found = compare_manifests(OLD, OLD)
    assert not any((found.added, found.removed, found.changed, found.packages, found.nodes, found.bytes_by_owner))


def test_a_manifest_is_found_in_zip_folder_and_beside(tmp_path: Path) -> None:
    text = OLD.to_json()
    with zipfile.ZipFile(tmp_path / "inside.zip", "w") as archive:
        archive.writestr("root/portable/manifest.json", text)
    (tmp_path / "folder" / "portable").mkdir(parents=True)
    (tmp_path / "folder" / "portable" / "manifest.json").write_text(text)
    (tmp_path / "b-part1of2.zip").write_bytes(b"")
    (tmp_path / "b.manifest.json").write_text(text)
    for name in ("inside.zip", "folder", "b-part1of2.zip", "b.manifest.json", "folder/portable/manifest.json"):
        assert read_manifest(tmp_path / name) == OLD, name
    assert not compare_bundles(tmp_path / "inside.zip", tmp_path / "folder").changed


@pytest.mark.parametrize("content", [b"", b"PK", b"{}", b"[" * 9999])
def test_what_is_no_bundle_is_refused(tmp_path: Path, content: bytes) -> None:
    for name in ("x.zip", "x.manifest.json"):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(InputError):
            read_manifest(tmp_path / name)
