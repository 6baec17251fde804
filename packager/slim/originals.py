"""Files that a step replaces, kept until the proof has passed: under their path, in a folder beside the tree.

A file is linked into the folder before its name in the tree gets the new content, so that neither is missing at any
moment, and putting all of them back is right after a kill at any moment.
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from packager.errors import InputError
from packager.filesystem import remove_tree, walk_files

_FILES = "files"
_PURGED = ".purged"  # suffix: deletion has begun, nothing is put back any more


def keep_original(root: Path, path: Path, folder: Path) -> None:
    """Keep the file `path` of the tree `root` in `folder`; its name in the tree stays what it is."""
    kept = folder / _FILES / path.relative_to(root)
    kept.parent.mkdir(parents=True, exist_ok=True)
    if not kept.exists():
        try:
            os.link(path, kept)
        except OSError:  # a file system without hard links
            shutil.copy2(path, kept)


def holds_originals(folder: Path) -> bool:
    """Whether there is something to put back."""
    return (folder / _FILES).is_dir() and not folder.is_symlink()


def restore_originals(root: Path, folder: Path) -> int:
    """Put every file kept in `folder` back into the tree `root` and delete the folder; how many there were.

    Raises InputError if a folder of the tree has become a link, which could lead out of it. May be killed and repeated.
    """
    root = root.resolve()
    files = folder / _FILES
    kept = [path.relative_to(files) for path in walk_files(files)] if holds_originals(folder) else []
    for path in kept:
        if (root / path).parent.resolve() != (root / path).parent:
            raise InputError(
                "is reached through a link, so that the original cannot go back",
                where=str(root / path),
                remedy="build the bundle again in a new work folder",
            )
    for path in kept:
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (files / path).replace(root / path)  # of two names of one file it leaves both, which is as good
    purge_originals(folder)
    return len(kept)


def purge_originals(folder: Path) -> None:
    """Delete the folder for good. May be killed and called again; does nothing if there is none."""
    doomed = folder.with_name(folder.name + _PURGED)
    remove_tree(doomed)
    if folder.is_dir() and not folder.is_symlink():
        folder.rename(doomed)
        remove_tree(doomed)
