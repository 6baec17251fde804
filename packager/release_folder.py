"""Replacing or withdrawing a release that is a folder, without losing what somebody put there."""

from __future__ import annotations

import hashlib
import itertools
import os
from pathlib import Path

from packager.archive.manifest import from_json
from packager.archive.scan import scan
from packager.console import Console
from packager.errors import InputError
from packager.filesystem import remove_tree
from packager.parts import manifest_path


def replace_folder(new: Path, place: Path, console: Console) -> None:
    """Rename the folder `new` to `place`. What lies there goes if the manifest beside it lists all of it.

    Otherwise (added, changed or missing files, no manifest) it is kept as NAME.before-N, and a warning names it. At any
    moment the old folder or the new one is there whole, under its name or that one; a failure puts the old one back.
    """
    if not os.path.lexists(place):
        new.rename(place)
        return
    before = _aside(place)
    place.rename(before)
    try:
        new.rename(place)
    except BaseException:
        before.rename(place)
        raise
    _remove_unchanged(before, place, console)


def withdraw_folder(place: Path, console: Console) -> None:
    """Take the folder `place` away: it goes if the manifest beside it lists all of it, else it is kept as above."""
    before = _aside(place)
    place.rename(before)
    _remove_unchanged(before, place, console)


def _aside(place: Path) -> Path:
    names = (place.with_name(f"{place.name}.before-{n}") for n in itertools.count(1))
    return next(path for path in names if not os.path.lexists(path))


def _remove_unchanged(before: Path, place: Path, console: Console) -> None:
    if _is_as_published(before, manifest_path(place)):
        remove_tree(before)
    else:
        console.warn(f"{place} was changed since it was made (added files, or others): it is kept as {before}")


def _is_as_published(folder: Path, manifest: Path) -> bool:
    """Whether `folder` holds what `manifest` lists, and the manifest itself, and nothing else."""
    try:
        text = manifest.read_bytes()
        listed = from_json(text.decode(), where=str(manifest))
        inner = list(folder.iterdir())
        if folder.is_symlink() or len(inner) != 1:
            return False
        found = scan(inner[0], threads=os.cpu_count() or 1)
    except (OSError, ValueError, InputError):
        return False
    own = hashlib.sha256(text).hexdigest()
    difference = listed.compare(found)
    added = {entry.sha256 for entry in found.entries if entry.path in difference.added}
    return not difference.changed and not difference.removed and added <= {own}
