"""Symbolic links that name the build folder or lead out of the tree."""

from __future__ import annotations

import os
from pathlib import Path, PurePosixPath

from packager.errors import InputError
from packager.relocation.edits import Edit, Materialise, Relink
from packager.relocation.places import BuildPlaces

KIND = "symbolic link"


def plan_link(path: Path, name: PurePosixPath, places: BuildPlaces) -> Edit | None:
    """The edit for the link at `path`; None for one that already moves with the tree.

    A link to a file of the interpreter's original installation becomes a copy of the file. Any other link out of the
    tree raises InputError: what it points to may be the author's own and must not ship unasked.
    """
    target = str(path.readlink())
    hop = os.path.normpath(target)
    if not Path(target).is_absolute():
        # One hop is enough: a link that it leads to is looked at by itself.
        folder, last = os.path.split(path.parent / target)
        hop = os.path.normpath(Path(os.path.realpath(folder)) / last)
        if Path(hop).is_relative_to(places.root):
            return None
    place = places.counterpart(hop)
    if place is None:
        raise _leads_out(target)
    if place != path and os.path.lexists(place):
        relative = os.path.relpath(place, path.parent)
        return Relink(path=name, kind=KIND, reason=f"points to {target}", target=relative)
    source = Path(os.path.realpath(hop))
    if source.is_file() and places.counterpart(str(source)) is not None:
        return Materialise(path=name, kind=KIND, reason=f"points to {target}, outside the bundle", source=source)
    raise _leads_out(target)


def _leads_out(target: str) -> InputError:
    return InputError(
        f"points out of the bundle, to {target}",
        remedy="replace the link by the file itself, or remove it in the recipe's clean-up",
    )
