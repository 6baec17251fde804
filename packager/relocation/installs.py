"""What installers write down about where a distribution came from: direct_url.json, .pth, .egg-link, editable finders.

Sources: PEP 610 (direct_url.json), the `site` module (.pth), PEP 660 (editable installs).
"""

from __future__ import annotations

import json
import os
from pathlib import Path, PurePosixPath

from packager.errors import InputError
from packager.relocation.edits import Edit, Remove, Rewrite
from packager.relocation.places import BuildPlaces

_EDITABLE = (
    "__editable__",
    "_editable_impl_",
    "__editables_",
)  # setuptools, hatchling and flit; the `editables` library


def plan_install(path: Path, name: PurePosixPath, places: BuildPlaces, distribution: str | None) -> Edit | None:
    """The edit for a file that an installer wrote about `distribution`; None for any other and for a harmless one.

    Raises InputError for an editable install, which is no more than a pointer to a folder of the build machine, and for
    a path configuration file that leads out of the tree.
    """
    folder = path.parent.name
    if path.name == "direct_url.json" and folder.endswith(".dist-info"):
        return _plan_direct_url(path, name, folder.removesuffix(".dist-info"))
    if folder != "site-packages":
        return None
    if path.suffix == ".egg-link" or path.name.startswith(_EDITABLE):
        raise _editable(distribution or path.stem)
    return _plan_pth(path, name, places) if path.suffix == ".pth" else None


def _plan_direct_url(path: Path, name: PurePosixPath, distribution: str) -> Edit | None:
    try:
        origin = json.loads(path.read_text(encoding="utf-8"))
        url, folder = str(origin["url"]), origin.get("dir_info", {})
        editable = folder.get("editable", False)
    except (ValueError, KeyError, TypeError, AttributeError):
        raise InputError("is no direct_url.json of PEP 610", remedy=f"install {distribution} anew") from None
    if editable:
        raise _editable(distribution)
    if not url.lower().startswith(("file:", "git+file:")):
        return None
    # PEP 610: without the file the distribution counts as installed by name and version, which is all that is true of
    # it on another machine.
    return Remove(path=name, kind="direct_url.json", reason=f"{distribution} came from a folder of the build machine")


def _plan_pth(path: Path, name: PurePosixPath, places: BuildPlaces) -> Edit | None:
    text = path.read_bytes().decode("utf-8", "surrogateescape")
    lines = [_relative_line(line, path, places) for line in text.splitlines(keepends=True)]
    changed = "".join(lines)
    if changed == text:
        return None
    content = changed.encode("utf-8", "surrogateescape")
    return Rewrite(
        path=name, kind="path file", reason="names a folder of the bundle by its build path", content=content
    )


def _relative_line(line: str, path: Path, places: BuildPlaces) -> str:
    """A line of a .pth file with its folder relative to site-packages, which is what `site` makes of it."""
    folder = line.rstrip()
    if folder.startswith(("import ", "import\t")):
        if places.found_in(folder.encode("utf-8", "surrogateescape")):
            raise InputError("runs code that names the build path", remedy="install its distribution from a wheel")
        return line
    if not Path(folder).is_absolute():
        return line
    place = places.counterpart(folder)
    if place is None or not place.exists():
        raise InputError(
            f"adds {folder}, a folder of the build machine", remedy="install what lies there from a wheel instead"
        )
    return Path(os.path.relpath(place, path.parent)).as_posix() + line[len(folder) :]


def _editable(distribution: str) -> InputError:
    return InputError(
        f"{distribution} is an editable install: its files lie outside the bundle",
        remedy=f"install {distribution} without -e / --editable",
    )
