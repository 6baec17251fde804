"""Removing so that it can be taken back: what goes is renamed into a quarantine, and deleted when the proof has passed.

A quarantine is a folder on the tree's file system: `manifest.json`, written before anything moves, and `files/` with
what was moved, under the paths it had. A path lies either in the tree or in `files/`, so that `restore` makes the tree
whole after a kill at any moment.
"""

from __future__ import annotations

import contextlib
import json
import os
import stat
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from packager.cleanup.plan import CleanupPlan
from packager.cleanup.walk import QUARANTINE, printable
from packager.errors import InputError, PackagerError
from packager.filesystem import remove_tree, write_atomic

_MANIFEST = "manifest.json"
_FILES = "files"
_BYTECODE = "/__pycache__"  # PEP 3147
_PURGING = "purging"  # deletion has begun; nothing can be taken back any more


@dataclass(frozen=True, kw_only=True)
class Restored:
    """How many `paths` went back. `orphans` did not, since the folder they lay in is gone; they are still there."""

    paths: int
    orphans: tuple[str, ...]


def default_quarantine(root: Path) -> Path:
    """The quarantine of a tree that has no better place for it: in its root, where no plan looks."""
    return root / QUARANTINE


def quarantined_files(quarantine: Path) -> Path:
    """Where what was moved lies, under the paths it had."""
    return quarantine / _FILES


def apply(plan: CleanupPlan, quarantine: Path) -> None:
    """Move what `plan` removes into `quarantine`, a folder that is new or empty. Does nothing for an empty plan.

    Raises InputError if the quarantine is in use, lies among the planned folders or on another file system, or if a
    folder cannot be written to, and PackagerError if the tree is not what was planned; nothing has moved then.
    PackagerError also for a path that cannot be moved, after what was moved has gone back.
    """
    if not plan.removals:
        return
    _check_place(plan.root, quarantine)
    removals, folders = _describe(plan)
    _check_writable(plan, quarantine, folders)
    quarantine.mkdir(parents=True, exist_ok=True)
    for leftover in _leftovers(quarantine, known=()):
        leftover.unlink()
    if quarantine.stat().st_dev != plan.root.stat().st_dev:
        raise InputError(
            "is on another file system than the tree", where=str(quarantine), remedy="choose a folder beside the tree"
        )
    manifest = {"format": 1, "folders": folders, "removals": removals}
    write_atomic(quarantine / _MANIFEST, json.dumps(manifest, indent=1).encode())  # ASCII: names may be no UTF-8
    for removal in plan.removals:
        source, moved = plan.root / removal.path, quarantine / _FILES / removal.path
        try:
            if removal.emptied:
                source.rmdir()
            else:
                moved.parent.mkdir(parents=True, exist_ok=True)
                source.rename(moved)
        except OSError as error:
            raise _given_up(plan.root, quarantine, removal.path, error) from error


def _given_up(root: Path, quarantine: Path, path: str, why: OSError) -> PackagerError:
    """What to tell of a `path` that cannot be moved, after putting back what was moved before it."""
    remedy = "make its folder writable for the user who runs this, or close the programs that use it"
    try:
        restore(root, quarantine)
    except (OSError, PackagerError) as error:
        return PackagerError(
            f"cannot be moved: {why.strerror}; nor could what was moved go back: {error}",
            where=printable(path),
            remedy=f"{remedy}, then undo the clean-up",
        )
    return PackagerError(f"cannot be moved: {why.strerror}; all is as it was", where=printable(path), remedy=remedy)


def quarantines_below(folder: Path) -> list[Path]:
    """The quarantines that lie in the root of a tree anywhere below `folder`, which may be such a root itself."""
    return [Path(place) / QUARANTINE for place, folders, _ in os.walk(folder) if QUARANTINE in folders]


def holds_clean_up(quarantine: Path) -> bool:
    """Whether a finished or interrupted clean-up is there, which can be undone or purged."""
    return not quarantine.is_symlink() and (quarantine / _MANIFEST).is_file() and not (quarantine / _PURGING).exists()


def restore(root: Path, quarantine: Path) -> Restored:
    """Put everything back as it was, with modes and times, and delete the quarantine.

    Bytecode that was written again since gives way. Raises InputError if there is no quarantine, if it was tampered
    with, or if something else stands where a path goes back to; nothing has moved then. May be killed and repeated.
    """
    root, quarantine = root.resolve(), quarantine.absolute()
    removals, folders = _read(quarantine)
    files = quarantine / _FILES
    waiting = {
        path
        for path, item in removals.items()
        if not item["emptied"] and _is_real(quarantine, f"{_FILES}/{path}") and os.path.lexists(files / path)
    }
    taken = [path for path in sorted(waiting) if not path.endswith(_BYTECODE) and os.path.lexists(root / path)]
    if taken:
        raise InputError(
            f"is there again ({len(taken)} such paths)" if len(taken) > 1 else "is there again",
            where=printable(taken[0]),
            remedy="move it away, then undo the clean-up again",
        )
    orphans = []
    for path, item in reversed(removals.items()):  # an emptied folder before what lay in it
        if not _is_real(root, path):
            orphans += [path] if path in waiting else []
        elif item["emptied"]:
            (root / path).mkdir(exist_ok=True)
            (root / path).chmod(item["mode"])
        elif path in waiting:
            remove_tree(root / path)
            (files / path).rename(root / path)
    _set_times(root, folders)
    if not orphans:
        for name in (_FILES, _MANIFEST):
            remove_tree(quarantine / name)
        quarantine.rmdir()
        _set_times(root, {"": folders.get("", root.stat().st_mtime_ns)})  # it may have held the quarantine
    return Restored(paths=len(removals) - len(orphans), orphans=tuple(printable(path) for path in reversed(orphans)))


def purge(quarantine: Path) -> None:
    """Delete a quarantine for good. May be killed and called again; does nothing if there is none."""
    if not os.path.lexists(quarantine):
        return
    known = (_FILES, _MANIFEST, _PURGING)
    leftovers = _leftovers(quarantine, known=known)
    (quarantine / _PURGING).touch()
    for path in (*(quarantine / name for name in known), *leftovers):
        remove_tree(path)
    quarantine.rmdir()


def _check_writable(plan: CleanupPlan, quarantine: Path, folders: Iterable[str]) -> None:
    """Raise InputError if the user may not move something out of one of `folders`, or a whole folder of the plan.

    A folder that moves gets another parent, which is written into it. What else forbids it is seen when it is tried.
    """
    above = next(path for path in (quarantine, *quarantine.parents) if path.is_dir())
    moving = (removal.path for removal in plan.removals if removal.is_dir)
    for place in (above, *(plan.root / path for path in (*folders, *moving) if path)):
        if not os.access(place, os.W_OK):
            raise InputError(
                "cannot be written to, so that nothing can be moved there or away",
                where=str(place),
                remedy="make it writable for the user who runs this, or run this as its owner",
            )


def _check_place(root: Path, quarantine: Path) -> None:
    place = quarantine.resolve()
    if place.is_relative_to(root) and place != root / QUARANTINE:
        raise InputError(
            "lies inside the tree that is cleaned",
            where=str(quarantine),
            remedy=f"choose a folder beside the tree, or {default_quarantine(root)}",
        )


def _leftovers(quarantine: Path, *, known: tuple[str, ...]) -> list[Path]:
    """Half-written manifests. Raises InputError if anything is there that is neither that nor `known`."""
    if quarantine.is_symlink() or not quarantine.is_dir():
        raise InputError("is no folder", where=str(quarantine), remedy="name a folder for the quarantine")
    found = [path for path in sorted(quarantine.iterdir()) if path.name not in known]
    strangers = [path for path in found if not (path.name.startswith(f".{_MANIFEST}.") and path.suffix == ".tmp")]
    if strangers:
        raise InputError(
            f"holds {printable(strangers[0].name)}",
            where=str(quarantine),
            remedy="undo or purge the clean-up whose quarantine it is, or choose an empty folder",
        )
    return found


def _describe(plan: CleanupPlan) -> tuple[dict[str, Any], dict[str, int]]:
    """The removals by path, and when the folders they lie in were modified, in nanoseconds.

    Raises PackagerError if one is gone, has become something else, or is now reached through a link.
    """
    removals: dict[str, Any] = {}
    folders = {"": plan.root.stat().st_mtime_ns}
    for removal in plan.removals:
        path = plan.root / removal.path
        parent = removal.path.rpartition("/")[0]
        if (parent not in folders and not _is_real(plan.root, removal.path)) or not os.path.lexists(path):
            raise _stale(removal.path)
        status = path.lstat()
        if stat.S_ISDIR(status.st_mode) != removal.is_dir:
            raise _stale(removal.path)
        folders.setdefault(parent, (plan.root / parent).stat().st_mtime_ns)
        if removal.emptied:
            folders.setdefault(removal.path, status.st_mtime_ns)
        removals[removal.path] = {
            "rule": removal.rule,
            "files": removal.files,
            "bytes": removal.bytes,
            "mode": stat.S_IMODE(status.st_mode),
            "emptied": removal.emptied,
        }
    return removals, folders


def _stale(path: str) -> PackagerError:
    return PackagerError("has changed since the plan was made", where=printable(path), remedy="run the clean-up again")


def _set_times(root: Path, folders: dict[str, int]) -> None:
    for folder, modified in folders.items():
        path = root / folder
        if _is_real(root, folder) and not path.is_symlink() and path.is_dir():
            with contextlib.suppress(PermissionError):  # somebody else's folder, in which this user may write
                os.utime(path, ns=(modified, modified))


def _is_real(root: Path, path: str) -> bool:
    """Whether the folder that `path` lies in is there and no link below `root` leads to it."""
    parent = root / path.rpartition("/")[0]
    return parent.is_dir() and parent.resolve() == root.resolve() / parent.relative_to(root)


def _read(quarantine: Path) -> tuple[dict[str, Any], dict[str, int]]:
    """The manifest, checked: a tampered one must not lead out of the tree."""
    if not holds_clean_up(quarantine):
        raise InputError(
            "holds no clean-up that can be undone",
            where=str(quarantine),
            remedy="only a clean-up whose quarantine was kept, or one that was interrupted, can be undone",
        )
    try:
        manifest = json.loads((quarantine / _MANIFEST).read_bytes())
        removals, folders = dict(manifest["removals"]), dict(manifest["folders"])
        sound = manifest["format"] == 1 and all(
            _stays_inside(path) and 0 <= item["mode"] <= 0o7777 and item["emptied"] in (True, False)
            for path, item in removals.items()
        )
        sound = sound and all(type(modified) is int for modified in folders.values())
        sound = sound and all(path == "" or _stays_inside(path) for path in folders)
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise _unsound(quarantine) from error
    if not sound:
        raise _unsound(quarantine)
    return removals, folders


def _stays_inside(path: str) -> bool:
    parts = path.split("/")
    return (
        not ({"", ".", ".."} & set(parts))
        and not (os.sep == "\\" and ("\\" in path or ":" in path))
        and "\0" not in path
    )


def _unsound(quarantine: Path) -> InputError:
    return InputError(
        "is not a manifest that this program wrote",
        where=str(quarantine / _MANIFEST),
        remedy="build the bundle or create the environment again",
    )
