"""A plain folder in place of a repository: what counts of it, its digest, and copying it."""

from __future__ import annotations

import shutil
import stat
from collections.abc import Collection
from pathlib import Path

from packager.errors import FetchError, InputError
from packager.fetch.cache import disk_errors
from packager.filesystem import remove_tree, tree_digest, walk_files

_LEFT_OUT = frozenset({".git", "__pycache__"})


def _left_out(path: Path) -> bool:
    return path.name in _LEFT_OUT


def find_local(path: Path) -> tuple[Path, bool]:
    """What lies at `path`, as git would find it (with or without .git at the end), and whether it is a repository.

    Raises FetchError if nothing is there, or a file.
    """
    other = path.with_name(path.name.removesuffix(".git") if path.name.endswith(".git") else f"{path.name}.git")
    found = path if path.exists() or not other.is_dir() else other
    if not found.exists():
        raise FetchError("no such folder or repository", where=str(path), remedy=_REMEDY)
    if not found.is_dir():
        raise FetchError("is a file, neither a folder nor a repository", where=str(path), remedy=_REMEDY)
    is_bare = all((found / name).exists() for name in ("HEAD", "objects", "refs"))
    return found.resolve(), is_bare or (found / ".git").exists()


_REMEDY = "check the path; --source NAME=PATH|URL gives another place, --mirror FROM=TO maps addresses to folders"


def folder_digest(folder: Path, *, apart: Collection[Path] = ()) -> str:
    """The id of the folder's content, as a Pin has it: sha256:... without .git, __pycache__ and the folders `apart`.

    Raises InputError for what can't be in a bundle (a pipe, a device), FetchError for what can't be read.
    """

    def skip(path: Path) -> bool:
        return _left_out(path) or path in apart

    try:
        for path in walk_files(folder, skip=skip):
            mode = path.lstat().st_mode
            if not stat.S_ISREG(mode) and not stat.S_ISLNK(mode):
                raise InputError("is neither a file nor a link", where=str(path), remedy="take it out of the folder")
        return f"sha256:{tree_digest(folder, skip=skip)}"
    except PermissionError as error:
        raise FetchError("cannot be read", where=str(error.filename), remedy="make it readable") from error


def copy_folder(folder: Path, target: Path) -> None:
    """Copy what counts of `folder` to `target`, made anew; links stay links, modes become 0o644 and 0o755.

    Raises InputError if one lies inside the other.
    """
    if target.parent.resolve().is_relative_to(folder) or folder.is_relative_to(target.parent.resolve() / target.name):
        raise InputError("lies inside the folder to copy, or around it", where=str(target), remedy="give another place")
    remove_tree(target)
    with disk_errors(target.parent, None):
        target.mkdir(parents=True)
        for path in walk_files(folder, skip=_left_out):
            copy = target / path.relative_to(folder)
            copy.parent.mkdir(parents=True, exist_ok=True)
            if path.is_symlink():
                copy.symlink_to(path.readlink(), target_is_directory=path.is_dir())
            else:
                shutil.copyfile(path, copy)
                copy.chmod(0o755 if path.stat().st_mode & stat.S_IXUSR else 0o644)
