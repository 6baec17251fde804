"""From what the runners left to one folder of release files: everything there, every sum right, every bundle proved."""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from packager.archive.checksums import NAME as SUMS
from packager.archive.checksums import read_checksums, update_checksums
from packager.errors import InputError, ProofError
from packager.filesystem import sha256_file
from packager.lock import Lock, load_lock
from packager.release import LOCK_SUFFIX
from packager.releases.matrix import Row

NOTES = "RELEASE_NOTES.md"


@dataclass(frozen=True, kw_only=True)
class Bundle:
    """The files of one row, all in `folder`: `sums` (name -> hex sha256) lists them, `report` and `lock` are among
    them."""

    row: Row
    folder: Path
    report: dict[str, Any]
    lock: Lock
    sums: dict[str, str]


def find_bundles(rows: Sequence[Row], folder: Path) -> tuple[Bundle, ...]:
    """The bundle of every row, from anywhere below `folder`. Every file is hashed.

    Raises ProofError that lists all that is missing, damaged or not proved: a release is whole, or it is not made.
    """
    bundles, faults = [], []
    for row in rows:
        try:
            bundles.append(_find(row, folder))
        except InputError as error:
            faults.append(str(error.what if not error.where else f"{error.where}: {error.what}"))
    if faults:
        raise ProofError(
            "the release is not complete:\n  " + "\n  ".join(faults),
            where=str(folder),
            remedy="build what is missing, then run this again; nothing was written",
        )
    return tuple(bundles)


def copy_bundles(bundles: Sequence[Bundle], output: Path) -> Path:
    """Put every file into `output`, with one SHA256SUMS, whose path is returned."""
    output.mkdir(parents=True, exist_ok=True)
    merged: dict[str, str] = {}
    for bundle in bundles:
        for name, value in bundle.sums.items():
            source, destination = bundle.folder / name, output / name
            if source.resolve() != destination.resolve():
                temporary = output / f".{name}.tmp"
                shutil.copyfile(source, temporary)
                temporary.replace(destination)
            merged[name] = value
    return update_checksums(output, merged)


def find_locks(folder: Path, rows: Sequence[Row], *, name: str) -> tuple[dict[str, Lock], str]:
    """The locks of an earlier release of the bundle `name` by place, and its version, from the files below `folder`.

    A row the earlier release did not have is left out.
    """
    locks: dict[str, Lock] = {}
    version = ""
    for row in rows:
        end = f"-{row.place}{LOCK_SUFFIX}"
        found = sorted(path for path in folder.rglob(f"{name}-*{end}") if path.is_file())
        if found:
            locks[row.place] = load_lock(found[-1])
            version = found[-1].name.removesuffix(end).removeprefix(f"{name}-")
    return locks, version


def _find(row: Row, folder: Path) -> Bundle:
    reports = sorted(path for path in folder.rglob(f"{row.stem}.report.json") if path.is_file())
    if len(reports) != 1:
        what = "there is no bundle" if not reports else f"there are {len(reports)} bundles"
        raise InputError(f"{what}: {row.stem}.report.json", where=row.place)
    home = reports[0].parent
    try:
        report: dict[str, Any] = json.loads(reports[0].read_text(encoding="utf-8"))
        names = [Path(str(name).replace("\\", "/")).name for name in report["archives"]]
        proved = bool(report["proof"]["passed"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(f"cannot be read: {error}", where=str(reports[0])) from error
    if not proved:
        raise InputError("it was not proved", where=row.stem)
    listed = read_checksums(home / SUMS) if (home / SUMS).is_file() else {}
    wanted = {*names, reports[0].name, f"{row.stem}.manifest.json", f"{row.stem}{LOCK_SUFFIX}"}
    wanted |= {name for name in listed if name.startswith((f"{row.stem}.", f"{row.stem}-part"))}
    sums = {name: _checked(home, name, listed) for name in sorted(wanted)}
    return Bundle(row=row, folder=home, report=report, lock=load_lock(home / f"{row.stem}{LOCK_SUFFIX}"), sums=sums)


def _checked(folder: Path, name: str, listed: dict[str, str]) -> str:
    if name not in listed:
        raise InputError(f"is not listed in {SUMS}", where=name)
    if not (folder / name).is_file():
        raise InputError("is missing", where=name)
    if sha256_file(folder / name) != listed[name]:
        raise InputError(f"does not have the hash in {SUMS}", where=name)
    return listed[name]
