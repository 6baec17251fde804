"""ELF search paths (DT_RPATH, DT_RUNPATH) that name the build folder, made relative to the file by `$ORIGIN`."""

from __future__ import annotations

import os
import stat
from pathlib import Path, PurePosixPath

from packager.binaries import elf
from packager.errors import InputError
from packager.relocation.edits import SetRpath
from packager.relocation.places import BuildPlaces


def plan_rpath(path: Path, name: PurePosixPath, places: BuildPlaces) -> SetRpath | None:
    """The edit for the file at `path`, None if it is no ELF file or its search path names no build path.

    A folder of the tree becomes `$ORIGIN/...`; a build path that is not in the tree is dropped.
    """
    mode = path.stat().st_mode
    if not (".so" in path.name or mode & stat.S_IXUSR) or not elf.is_elf(path):
        return None
    try:
        facts = elf.read_elf(path)
    except InputError:
        return None  # packages ship damaged ones as test data; the leak scan looks into them, too
    current = facts.runpath or facts.rpath  # the loader ignores DT_RPATH where there is a DT_RUNPATH
    if not any(places.found_in(os.fsencode(folder)) for folder in facts.rpath + facts.runpath):
        return None
    kept = []
    for folder in current:
        place = places.counterpart(folder) if folder.startswith("/") else None
        if place is not None and place.is_dir():
            kept.append(f"$ORIGIN/{os.path.relpath(place, path.parent)}")
        elif not places.found_in(os.fsencode(folder)):
            kept.append(folder)
    return SetRpath(
        path=name,
        kind="library",
        reason=f"looks in {':'.join(current)}",
        rpath=":".join(dict.fromkeys(kept)),
        inherited=not facts.runpath,
    )
