"""Where the bytes of a bundle are: by part of the tree, and in each by package, node or folder."""

from __future__ import annotations

import os
from pathlib import PurePosixPath

from packager.bundle import APP_DIR, NODES_DIR, PYTHON_DIR, BundleTree
from packager.filesystem import walk_files

Places = dict[str, dict[str, int]]


def measure_places(tree: BundleTree) -> Places:
    """Part -> package, node or folder -> bytes. A file with several names counts once, under the first; links not."""
    site = tree.relative(tree.site_packages).parts
    stdlib = tree.relative(tree.stdlib).parts
    seen: set[tuple[int, int]] = set()
    found: Places = {}
    for path in walk_files(tree.root):
        status = path.lstat()
        identity = (status.st_dev, status.st_ino)
        if path.is_symlink() or (status.st_nlink > 1 and identity in seen):
            continue
        seen.add(identity)
        part, item = _place(PurePosixPath(os.path.relpath(path, tree.root).replace(os.sep, "/")).parts, site, stdlib)
        items = found.setdefault(part, {})
        items[item] = items.get(item, 0) + status.st_size
    return {part: dict(sorted(items.items())) for part, items in sorted(found.items())}


def _place(parts: tuple[str, ...], site: tuple[str, ...], stdlib: tuple[str, ...]) -> tuple[str, str]:
    nodes = tuple(NODES_DIR.split("/"))
    for part, folder in (("packages", site), ("standard library", stdlib), ("nodes", nodes)):
        if parts[: len(folder)] == folder and len(parts) > len(folder):
            rest = parts[len(folder) :]
            return part, rest[0] if len(rest) > 1 else "single files"
    for part, name in (("Python", PYTHON_DIR), ("app", APP_DIR)):
        if parts[0] == name:
            return part, parts[1] if len(parts) > 2 else "single files"
    return "helpers", parts[0] if len(parts) > 1 else "single files"
