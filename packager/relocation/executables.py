"""What lies in bin/ and Scripts/ and starts a Python."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path, PurePosixPath

from packager.errors import InputError
from packager.records import Record
from packager.relocation.edits import Edit, Rewrite
from packager.relocation.entry_points import ScriptEntryPoint, read_entry_points
from packager.relocation.launchers import LauncherKind, launcher_kind, relocatable_launcher, replace_trampoline
from packager.relocation.places import BuildPlaces
from packager.relocation.scripts import relocatable_script, without_shebang

OwnerOf = Callable[[Path], Record | None]


def plan_executable(path: Path, name: PurePosixPath, places: BuildPlaces, owner_of: OwnerOf) -> Edit | None:
    """The edit for a script or launcher in the tree's scripts folder, None for any other file. Raises InputError."""
    target = places.tree.target
    if path.parent != places.prefix / target.scripts():
        return None
    if target.is_windows:
        return _plan_windows(path, name, owner_of)
    if not _starts_with(path, b"#!"):
        return None
    python = os.path.relpath(places.prefix / target.python_executable(), path.parent)
    content = relocatable_script(path.read_bytes(), python=python)
    reason = "its first line names its Python by an absolute path or by PATH"
    return None if content is None else Rewrite(path=name, kind="script", reason=reason, content=content)


def _plan_windows(path: Path, name: PurePosixPath, owner_of: OwnerOf) -> Edit | None:
    if path.suffix.lower() == ".exe" and _starts_with(path, b"MZ"):
        content, reason = _relocated_launcher(path, owner_of)
        return None if content is None else Rewrite(path=name, kind="launcher", reason=reason, content=content)
    if not _starts_with(path, b"#!"):
        return None
    # Of a launcher of kind 2, or started as `python Scripts/x`: its folder's Python is what runs it without the line.
    content = without_shebang(path.read_bytes())
    reason = "its first line names its Python by an absolute path or by PATH"
    return None if content is None else Rewrite(path=name, kind="script", reason=reason, content=content)


def _relocated_launcher(path: Path, owner_of: OwnerOf) -> tuple[bytes | None, str]:
    content = path.read_bytes()
    kind = launcher_kind(content)
    if kind is LauncherKind.DISTLIB:
        return relocatable_launcher(content), "starts its Python by an absolute path"
    if kind is LauncherKind.UV:
        return replace_trampoline(content, _entry_point(path, owner_of)), "is uv's, which cannot be made relative"
    return None, ""


def _entry_point(path: Path, owner_of: OwnerOf) -> ScriptEntryPoint:
    """The entry point that the launcher at `path` was made for, from the metadata of its distribution."""
    owner = owner_of(path)
    declared = owner.path.with_name("entry_points.txt") if owner else None
    if declared is not None and declared.is_file():
        for entry in read_entry_points(declared.read_text(encoding="utf-8")):
            if entry.name.lower() == path.stem.lower():
                return entry
    of = f" of {owner.distribution}" if owner else " of any installed distribution"
    raise InputError(
        f"is uv's launcher for an entry point that is not in the metadata{of}",
        remedy="install its distribution with pip, or for the target from another operating system",
    )


def _starts_with(path: Path, magic: bytes) -> bool:
    with path.open("rb") as stream:
        return stream.read(len(magic)) == magic
