"""What differs between two bundles: files, packages, nodes, bytes. Their manifests hold all of it."""

from __future__ import annotations

import re
import zipfile
from collections import Counter
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from packager.archive.manifest import Manifest, from_json
from packager.bundle import NODES_DIR, PORTABLE_DIR
from packager.console import format_bytes
from packager.errors import InputError
from packager.parts import manifest_path
from packager.releases.changes import Change, changes

_DIST_INFO = re.compile(r"(?:^|/)(?P<name>[^/]+)-(?P<version>[^-/]+)\.dist-info/METADATA$")
_MEMBER = f"{PORTABLE_DIR}/manifest.json"
_MAX_MANIFEST = 256 * 1024 * 1024  # bytes; real ones of 60,000 files have 13 MB


@dataclass(frozen=True, kw_only=True)
class BundleDifference:
    """`added`, `removed`, `changed`: paths from the root. `bytes_by_owner` is the growth in bytes of each package,
    node or folder that grew or shrank."""

    added: tuple[str, ...]
    removed: tuple[str, ...]
    changed: tuple[str, ...]
    packages: tuple[Change, ...]
    nodes: tuple[Change, ...]
    old_size: int
    new_size: int
    bytes_by_owner: dict[str, int]

    def to_json(self) -> dict[str, Any]:
        rows = {
            field: [{"name": it.name, "old": it.old, "new": it.new} for it in getattr(self, field)]
            for field in ("packages", "nodes")
        }
        return {
            "files": {"added": self.added, "removed": self.removed, "changed": self.changed},
            **rows,
            "size": {"old": self.old_size, "new": self.new_size},
            "bytes_by_owner": self.bytes_by_owner,
        }

    def text(self) -> str:
        growth = self.new_size - self.old_size
        lines = [
            f"files     {len(self.added)} added, {len(self.removed)} removed, {len(self.changed)} changed",
            f"size      {format_bytes(self.old_size)} -> {format_bytes(self.new_size)} ({_signed(growth)})",
        ]
        for title, rows in (("packages", self.packages), ("nodes", self.nodes)):
            lines += [f"{title:<9} {it.name} {it.old or 'nothing'} -> {it.new or 'nothing'}" for it in rows]
        largest = sorted(self.bytes_by_owner.items(), key=lambda item: (-abs(item[1]), item[0]))[:20]
        lines += [f"bytes     {_signed(count):>12}  {owner}" for owner, count in largest]
        return "\n".join(lines)


def compare_bundles(old: Path, new: Path) -> BundleDifference:
    """What turns the bundle `old` into `new`: each a zip, one of its parts, a folder, or a manifest."""
    return compare_manifests(read_manifest(old), read_manifest(new))


def compare_manifests(old: Manifest, new: Manifest) -> BundleDifference:
    found = old.compare(new)
    growth: Counter[str] = Counter()
    for manifest, sign in ((old, -1), (new, 1)):
        for entry in manifest.entries:
            growth[owner(entry.path)] += sign * entry.size
    return BundleDifference(
        added=found.added,
        removed=found.removed,
        changed=found.changed,
        packages=changes(_packages(old), _packages(new)),
        nodes=changes(_nodes(old), _nodes(new)),
        old_size=old.total_size,
        new_size=new.total_size,
        bytes_by_owner={name: count for name, count in sorted(growth.items()) if count},
    )


def read_manifest(bundle: Path) -> Manifest:
    """The manifest of a bundle: a .json file, a folder that holds one, or what lies beside or inside an archive.

    Raises InputError if there is none.
    """
    places = [bundle] if bundle.suffix == ".json" else [bundle / _MEMBER, manifest_path(bundle)]
    place = next((path for path in places if path.is_file()), None)
    if place is not None:
        if place.stat().st_size > _MAX_MANIFEST:
            raise InputError("is too large for a manifest", where=str(place), remedy="give the one of a bundle")
        return from_json(place.read_text(encoding="utf-8", errors="replace"), where=str(place))
    if bundle.is_dir():
        inner = [path for path in sorted(bundle.iterdir()) if (path / _MEMBER).is_file()]
        if len(inner) == 1:
            return read_manifest(inner[0])
    if bundle.is_file() and zipfile.is_zipfile(bundle):
        with zipfile.ZipFile(bundle) as archive:
            for info in archive.infolist():
                if PurePosixPath(info.filename).match(f"*/{_MEMBER}") and info.file_size <= _MAX_MANIFEST:
                    where = f"{bundle}: {info.filename}"
                    return from_json(archive.read(info).decode("utf-8", "replace"), where=where)
    raise InputError(
        "no manifest in it or beside it",
        where=str(bundle),
        remedy="give a bundle, part 1 of one, or its .manifest.json",
    )


def owner(path: str) -> str:
    """Whose bytes a path's are: a package in site-packages, a node, or the first two folders."""
    head, separator, rest = path.partition("/site-packages/")
    if separator:
        return f"{head.split('/', 1)[0]}: {rest.split('/', 1)[0].split('-', 1)[0].removesuffix('.libs')}"
    if path.startswith(f"{NODES_DIR}/"):
        return "/".join(path.split("/")[:3])
    return "/".join(PurePosixPath(path).parts[:2])


def _packages(manifest: Manifest) -> dict[str, str]:
    found = (_DIST_INFO.search(entry.path) for entry in manifest.entries)
    return {match["name"].lower().replace("_", "-"): match["version"] for match in found if match}


def _nodes(manifest: Manifest) -> dict[str, str]:
    """Commits by name, as the bundle's facts have them."""
    listed = manifest.bundle.get("repositories", ())
    return {item["name"]: (item.get("commit") or item.get("tree", ""))[:19] for item in listed}


def _signed(count: int) -> str:
    return f"{'-' if count < 0 else '+'}{format_bytes(abs(count))}"
