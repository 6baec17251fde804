"""Getting a bundle into the folder where it is proved: an archive unpacked as its user would, or a copy of a folder."""

from __future__ import annotations

import os
import shutil
import zipfile
from collections.abc import Callable, Sequence
from pathlib import Path, PurePosixPath

from packager import process
from packager.bundle import APP_DIR, MODELS_DIR, PORTABLE_DIR
from packager.console import format_bytes
from packager.errors import InputError, PackagerError
from packager.parts import find_parts

Extract = Callable[[Path, Path], None]  # an archive, an existing folder to unpack it into

# The user's own files in a folder that is to be proved. They may be huge, and no check needs them.
_LEFT_OUT = (MODELS_DIR, f"{APP_DIR}/output", f"{APP_DIR}/input", f"{APP_DIR}/temp", f"{PORTABLE_DIR}/cache")


def unpack(archive: Path, folder: Path, *, extract: Extract | None, timeout: float) -> Path:
    """Unpack `archive`, with the other parts beside it if it is one, into the new `folder`; the bundle's root in it.

    A zip is unpacked by Info-ZIP's unzip where the machine has it, anything else by `extract`. Raises InputError for a
    damaged archive, one with members outside one top folder, or one that does not fit the disk.
    """
    if not archive.is_file():
        raise InputError("is no file", where=str(archive), remedy="give a zip that `packager build` made")
    parts = find_parts(archive)
    folder.mkdir(parents=True)
    if zipfile.is_zipfile(archive):
        _check_members(parts, folder)
    unzip = shutil.which("unzip")
    if unzip and zipfile.is_zipfile(archive):
        # Info-ZIP spells names beyond ASCII as #Uxxxx where the locale has no such letters
        environment = {"PATH": os.environ.get("PATH", os.defpath), "LC_ALL": "C.UTF-8"}
        for part in parts:
            command = [unzip, "-q", str(part.resolve()), "-d", str(folder)]
            finished = process.run(command, env=environment, timeout=timeout, check=False)
            if finished.returncode != 0:
                raise InputError(
                    f"unzip ended with {finished.returncode}: {finished.output_tail}",
                    where=str(part),
                    remedy="build it again",
                )
    elif extract:
        extract(archive, folder)
    else:
        raise InputError(
            "cannot be unpacked here", where=str(archive), remedy="install Info-ZIP's unzip, or give a zip"
        )
    return _only_folder(archive, folder)


def copy_bundle(root: Path, folder: Path) -> Path:
    """Copy the bundle at `root` into the new `folder`, without models, outputs and caches; the copy's root."""
    if not (root / PORTABLE_DIR).is_dir():
        raise InputError(
            f"is no bundle: it has no {PORTABLE_DIR}/", where=str(root), remedy="give the folder that was unzipped"
        )
    if folder.resolve().is_relative_to(root.resolve()):
        raise InputError(
            f"the scratch folder {folder.parent} lies in the bundle to be proved", remedy="give another scratch folder"
        )
    left_out = {str(root / name) for name in _LEFT_OUT}

    def ignore(place: str, names: list[str]) -> list[str]:
        """The left-out folders stay, empty of files: the app lists them."""
        inside = any(Path(place).is_relative_to(path) for path in left_out)
        return [name for name in names if inside and not (Path(place) / name).is_dir()]

    copy = folder / root.resolve().name
    shutil.copytree(root, copy, symlinks=True, ignore=ignore)
    return copy


def _check_members(parts: Sequence[Path], folder: Path) -> None:
    size, free = sum(_checked_size(part) for part in parts), shutil.disk_usage(folder).free
    if size > free:
        raise PackagerError(
            f"needs {format_bytes(size)} unpacked, and {folder} has {format_bytes(free)} free",
            where=str(parts[0]),
            remedy="give a scratch folder on a larger disk",
        )


def _checked_size(archive: Path) -> int:
    """Bytes of all members, none of which leads out of the folder."""
    try:
        with zipfile.ZipFile(archive) as opened:
            members = opened.infolist()
    except (zipfile.BadZipFile, OSError) as error:
        raise InputError(
            f"is a damaged zip: {error}", where=str(archive), remedy="download or build it again"
        ) from error
    for member in members:
        name = member.filename.replace("\\", "/")
        if name.startswith("/") or ".." in PurePosixPath(name).parts or ":" in name.split("/")[0]:
            raise InputError(
                f"member '{member.filename}' leads out of the folder", where=str(archive), remedy="do not unzip it"
            )
    return sum(member.file_size for member in members)


def _only_folder(archive: Path, folder: Path) -> Path:
    found = sorted(folder.iterdir())
    if len(found) != 1 or not found[0].is_dir() or found[0].is_symlink():
        names = ", ".join(path.name for path in found[:5]) or "nothing"
        raise InputError(
            f"must hold one folder, and holds {names}", where=str(archive), remedy="give a bundle's archive"
        )
    return found[0]
