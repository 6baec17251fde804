"""What the tests of the proof share: limits, a bundle's parts, and how to break a copy of it."""

from __future__ import annotations

import os
import shutil
import stat
import zipfile
from dataclasses import dataclass
from pathlib import Path

from packager.bundle import BundleTree
from packager.filesystem import walk_files
from packager.proof.baseline import Baseline
from packager.proof.limits import Limits

LIMITS = Limits(module=60, script=30, pip=120, unpack=120, quick_test=60, server_start=60, server_stop=20)


@dataclass(frozen=True, kw_only=True)
class Original:
    """A sound bundle, and what it can do. Never changed: tests take a copy."""

    tree: BundleTree
    digest: str  # of the tree before its baseline was taken
    work: Path  # where that was done
    baseline: Baseline


def write_script(path: Path, body: str) -> None:
    """A console script that finds Python beside itself."""
    header = "#!/bin/sh\n'''exec' \"$(dirname \"$0\")/python\" \"$0\" \"$@\"\n' '''\n"
    path.write_text(header + body)
    path.chmod(0o755)


def replace_text(path: Path, text: str) -> None:
    """New content at `path`, which may be a hard link to the original's."""
    path.unlink(missing_ok=True)
    path.write_text(text)


def replace_program(path: Path, text: str) -> None:
    replace_text(path, text)
    path.chmod(0o755)


def zip_tree(root: Path, archive: Path) -> Path:
    """`root` as a stored zip with modes and links, its folder name on top."""
    with zipfile.ZipFile(archive, "w") as opened:
        for path in walk_files(root):
            status = path.lstat()
            member = zipfile.ZipInfo(path.relative_to(root.parent).as_posix())
            member.external_attr = status.st_mode << 16
            content = str(path.readlink()).encode() if stat.S_ISLNK(status.st_mode) else path.read_bytes()
            opened.writestr(member, content)
    return archive


def copy_bundle(original: Original, folder: Path) -> BundleTree:
    """The sound bundle again below `folder`. Its files are hard links: replace them, never edit one."""
    root = folder / "bundle"
    shutil.copytree(original.tree.root, root, symlinks=True, copy_function=os.link)
    return BundleTree(root=root, target=original.tree.target, python_version=original.tree.python_version)
