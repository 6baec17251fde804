"""Getting a bundle into the folder where it is proved: an archive unpacked as its user would, or a copy of a folder."""

from __future__ import annotations

import contextlib
import os
import shutil
import time
import zipfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Protocol

from packager import process
from packager.bundle import APP_DIR, MODELS_DIR, PORTABLE_DIR
from packager.console import format_bytes
from packager.errors import InputError
from packager.filesystem import walk_files
from packager.parts import find_parts

_LOOK = 1.0  # seconds from one look at what unzip wrote to the next, at least
_SLACK = 64 * 1024**2  # bytes


class Reader(Protocol):
    """What reads archives without trusting them: the archive room's, handed in by the caller."""

    def admit(self, archive: Path, folder: Path) -> int:
        """Bytes that all parts of `archive` say they take in `folder`. Unpacks nothing.

        Raises InputError for what must not be unpacked there.
        """

    def extract(self, archive: Path, folder: Path) -> None:
        """Unpack `archive` and its other parts into the empty `folder`."""

    def differences(self, root: Path) -> Sequence[str] | None:
        """One line a path that is not as the manifest in the bundle at `root` says; None if it has none."""


# The user's own files in a folder that is to be proved. They may be huge, and no check needs them.
_LEFT_OUT = (MODELS_DIR, f"{APP_DIR}/output", f"{APP_DIR}/input", f"{APP_DIR}/temp", f"{PORTABLE_DIR}/cache")


def unpack(archive: Path, folder: Path, *, reader: Reader, timeout: float) -> Path:
    """Unpack `archive`, with the other parts beside it if it is one, into the new `folder`; the bundle's root in it.

    A zip is unpacked by Info-ZIP's unzip where the machine has it, as its user would, but only when `reader` has let in
    every entry of all parts; anything else by `reader`. Raises InputError for a damaged or hostile archive and one with
    members outside one top folder, PackagerError for one that does not fit the disk.
    """
    if not archive.is_file():
        raise InputError("is no file", where=str(archive), remedy="give a zip that `packager build` made")
    folder.mkdir(parents=True)
    unzip = shutil.which("unzip")
    if unzip and zipfile.is_zipfile(archive):
        size = reader.admit(archive, folder)
        # Info-ZIP spells names beyond ASCII as #Uxxxx where the locale has no such letters
        environment = {"PATH": os.environ.get("PATH", os.defpath), "LC_ALL": "C.UTF-8"}
        watch = _Watch(archive, folder, size)
        for part in find_parts(archive):
            command = [unzip, "-q", str(part.resolve()), "-d", str(folder)]
            finished = process.run(command, env=environment, timeout=timeout, check=False, watch=watch)
            if finished.returncode != 0:
                raise InputError(
                    f"unzip ended with {finished.returncode}: {finished.output_tail}",
                    where=str(part),
                    remedy="build it again",
                )
            _check_links(part, folder)
    else:
        reader.extract(archive, folder)
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


class _Watch:
    """Called while unzip runs: ends it when it writes more than the zip declared. A bomb may declare too little."""

    def __init__(self, archive: Path, folder: Path, declared: int) -> None:
        self._archive, self._folder, self._declared = archive, folder, declared
        self._next = time.monotonic() + _LOOK

    def __call__(self) -> None:
        if time.monotonic() < self._next:
            return
        start = time.monotonic()
        if _written(self._folder) > self._declared + _SLACK:
            raise InputError(
                f"unpacks to more than the {format_bytes(self._declared)} it declares",
                where=str(self._archive),
                remedy="do not unzip it",
            )
        # a look at many files takes its time, of which unzip should lose little
        self._next = time.monotonic() + max(_LOOK, 20 * (time.monotonic() - start))


def _written(folder: Path) -> int:
    size = 0
    for path in walk_files(folder):
        with contextlib.suppress(FileNotFoundError):  # unzip takes a file away when it makes a link of it
            size += path.lstat().st_size
    return size


def links_out(root: Path) -> Iterator[Path]:
    """The links below `root` that lead out of it."""
    real = Path(os.path.realpath(root))
    for path in walk_files(root):
        if path.is_symlink() and not Path(os.path.realpath(path)).is_relative_to(real):
            yield path


def _check_links(part: Path, folder: Path) -> None:
    """No link leads out of `folder`, however unzip understood the zip: what the next part holds may lie below one."""
    for path in links_out(folder):
        raise InputError(
            f"{path.relative_to(folder).as_posix()} is a link to {path.readlink()}, outside the folder",
            where=str(part),
            remedy="do not unzip it",
        )


def _only_folder(archive: Path, folder: Path) -> Path:
    found = sorted(folder.iterdir())
    if len(found) != 1 or not found[0].is_dir() or found[0].is_symlink():
        names = ", ".join(path.name for path in found[:5]) or "nothing"
        raise InputError(
            f"must hold one folder, and holds {names}", where=str(archive), remedy="give a bundle's archive"
        )
    return found[0]
