"""Mach-O install names and search paths that name the build folder, made relative to the file by `@loader_path`.

Wheels and conda packages come relative already; what was linked on the build machine does not. A library's own name
becomes `@rpath/NAME`, as conda-build makes it: nothing of a bundle is linked against it.
"""

from __future__ import annotations

import os
import posixpath
from pathlib import Path, PurePosixPath

from packager.binaries import macho
from packager.errors import InputError
from packager.relocation.edits import SetInstallNames
from packager.relocation.places import BuildPlaces


def plan_install_names(path: Path, name: PurePosixPath, places: BuildPlaces) -> SetInstallNames | None:
    """The edit for the file at `path`, None if it is no Mach-O file or names no build path.

    A library or folder of the tree becomes relative; a search path that is not in the tree is dropped. Raises
    InputError for a library that is loaded from a folder of the build machine.
    """
    if not macho.is_macho(path):
        return None
    try:
        facts = macho.read_macho(path)
    except InputError:
        return None  # packages ship damaged ones as test data; the leak scan looks into them, too
    words = []
    if facts.id and _foreign(facts.id, places):
        words += ["-id", f"@rpath/{posixpath.basename(facts.id)}"]
    for library in facts.needed:
        if _foreign(library, places):
            words += ["-change", library, _relative(library, path, places)]
    kept = {rpath for rpath in facts.rpaths if not _foreign(rpath, places)}
    for rpath in facts.rpaths:
        if _foreign(rpath, places):
            place = places.counterpart(rpath)
            fresh = _from_loader(place, path) if place is not None and place.is_dir() else None
            words += ["-rpath", rpath, fresh] if fresh and fresh not in kept else ["-delete_rpath", rpath]
            kept.add(fresh or rpath)
    if not words:
        return None
    return SetInstallNames(
        path=name,
        kind="library",
        reason="names itself, a library or a search path by the build path",
        words=tuple(words),
    )


def _foreign(text: str, places: BuildPlaces) -> bool:
    return places.found_in(os.fsencode(text))


def _relative(library: str, path: Path, places: BuildPlaces) -> str:
    place = places.counterpart(library)
    if place is None or not place.is_file():
        raise InputError(f"loads {library}, which is not in the bundle", remedy="install its distribution from a wheel")
    return _from_loader(place, path)


def _from_loader(place: Path, path: Path) -> str:
    return f"@loader_path/{PurePosixPath(os.path.relpath(place, path.parent)).as_posix()}"
