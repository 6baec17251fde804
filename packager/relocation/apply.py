"""Relocation, second half: do what the plan says."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path

from packager.binaries.elf import find_patchelf
from packager.binaries.macho import find_install_name_tool
from packager.filesystem import remove_tree, sha256_file, write_atomic
from packager.process import run
from packager.records import FileState, changed_record, state_of
from packager.relocation.edits import (
    Edit,
    Materialise,
    Relink,
    RelocationPlan,
    Remove,
    Rewrite,
    SetInstallNames,
    SetRpath,
)
from packager.relocation.signing import CODESIGN

_STAGING = ".relocation"


def apply_relocation(plan: RelocationPlan) -> None:
    """Carry out `plan`. Each file changes in one step, and no other name of a hard-linked file is touched.

    RECORD files are written first, with the hashes the files are about to have: after a kill at any moment, planning
    and applying once more ends in the same tree. Raises CommandError if patchelf, install_name_tool or codesign fails.
    """
    staging = plan.root / _STAGING
    remove_tree(staging)
    try:
        staged = _stage_libraries(plan, staging)
        _update_records(plan, staged)
        for edit in plan.edits:
            _apply(plan.root / edit.path, edit, staged)
    finally:
        remove_tree(staging)


def _stage_libraries(plan: RelocationPlan, staging: Path) -> dict[Path, Path]:
    """Patched copies of the libraries, by the path they belong to, on the tree's own file system."""
    staged = {}
    for number, edit in enumerate(plan.edits):
        if isinstance(edit, SetRpath | SetInstallNames):
            original = plan.root / edit.path
            copy = staging / str(number) / original.name  # codesign takes the file's name for the program's
            copy.parent.mkdir(parents=True)
            shutil.copy2(original, copy)
            mode = copy.stat().st_mode
            copy.chmod(mode | 0o600)
            for command in _commands(edit, copy):
                run(command)
            copy.chmod(mode)
            staged[original] = copy
    return staged


def _commands(edit: SetRpath | SetInstallNames, copy: Path) -> list[list[str]]:
    if isinstance(edit, SetInstallNames):
        return [[find_install_name_tool(), *edit.words, str(copy)], [*CODESIGN, str(copy)]]
    words = ["--set-rpath", edit.rpath] if edit.rpath else ["--remove-rpath"]
    return [[str(find_patchelf()), *(["--force-rpath"] if edit.inherited and edit.rpath else []), *words, str(copy)]]


def _update_records(plan: RelocationPlan, staged: Mapping[Path, Path]) -> None:
    changed: dict[Path, FileState] = {
        path: FileState(digest=sha256_file(copy), size=copy.stat().st_size) for path, copy in staged.items()
    }
    changed |= {plan.root / edit.path: state_of(edit.content) for edit in plan.edits if isinstance(edit, Rewrite)}
    removed = [plan.root / edit.path for edit in plan.edits if isinstance(edit, Remove)]
    for record in plan.records:
        content = changed_record(record, changed=changed, removed=removed)
        if content is not None:
            write_atomic(record.path, content)


def _apply(path: Path, edit: Edit, staged: Mapping[Path, Path]) -> None:
    match edit:
        case Rewrite(content=content):
            write_atomic(path, content)
        case Remove():
            path.unlink(missing_ok=True)
        case Relink(target=target):
            fresh = path.with_name(f".{path.name[:40]}.relink")
            fresh.unlink(missing_ok=True)
            fresh.symlink_to(target)
            fresh.replace(path)
        case Materialise(source=source):
            write_atomic(path, source.read_bytes())
        case SetRpath() | SetInstallNames():
            staged[path].replace(path)
