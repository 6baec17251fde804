"""Trees for the tests of the clean-up, and how they are compared."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

from packager.cleanup import CleanupPlan, Rule, RuleSet


def write_tree(root: Path, files: Mapping[str, str | bytes]) -> Path:
    """Make each file with its content; a name that ends with / is an empty folder."""
    for name, content in files.items():
        path = root / name
        if name.endswith("/"):
            path.mkdir(parents=True, exist_ok=True)
            continue
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content.encode() if isinstance(content, str) else content)
    return root


def snapshot(root: Path) -> dict[str, tuple[str, int, int, bytes]]:
    """Path -> kind, mode, mtime in nanoseconds, content; of folders too, the root among them."""
    found = {}
    for folder, folders, files in os.walk(root):
        for path in [Path(folder), *(Path(folder) / name for name in (*folders, *files))]:
            status = path.lstat()
            if path.is_symlink():
                entry = ("link", 0, status.st_mtime_ns, os.fsencode(path.readlink()))
            elif path.is_dir():
                entry = ("folder", stat.S_IMODE(status.st_mode), status.st_mtime_ns, b"")
            else:
                entry = ("file", stat.S_IMODE(status.st_mode), status.st_mtime_ns, path.read_bytes())
            found[str(path.relative_to(root))] = entry
    return found


def names(root: Path) -> set[str]:
    """All files, links and empty folders (with a final /) below `root`."""
    found = set()
    for folder, folders, files in os.walk(root):
        place = Path(folder).relative_to(root)
        if not folders and not files:
            found.add(f"{place.as_posix()}/")
        found |= {(place / name).as_posix() for name in files}
        found |= {(place / name).as_posix() for name in folders if (Path(folder) / name).is_symlink()}
    return found


def removed(plan: CleanupPlan) -> set[str]:
    """What a plan removes, folders with a final /."""
    return {removal.path + ("/" if removal.is_dir else "") for removal in plan.removals}


def one_rule(*patterns: str, **fields: object) -> RuleSet:
    """A rule set of a single safe rule for site-packages, and no protection."""
    values: dict[str, object] = {
        "id": "one",
        "scopes": ("site-packages",),
        "tier": "safe",
        "category": "tests",
        "why": "for the test",
    }
    return RuleSet(rules=(Rule(**{**values, "patterns": patterns, **fields}),), protections=())


def python(code: str, site_packages: Path) -> subprocess.CompletedProcess[str]:
    """Run `code` with `site_packages` first on the path and nothing of the user's environment."""
    start = f"import sys; sys.path.insert(0, {str(site_packages)!r}); sys.dont_write_bytecode = True\n"
    return subprocess.run(
        [sys.executable, "-I", "-c", start + code], capture_output=True, text=True, check=False, timeout=60
    )
