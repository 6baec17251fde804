"""Relocation, first half: look at the whole tree and say what has to change. Nothing is written."""

from __future__ import annotations

import functools
import importlib.util
from collections.abc import Sequence
from pathlib import Path, PurePosixPath

from packager.bundle import BundleTree
from packager.errors import DocumentError, Fault, InputError
from packager.filesystem import walk_files
from packager.records import Record, read_record
from packager.relocation.edits import Edit, RelocationPlan, Remove, Rewrite
from packager.relocation.executables import plan_executable
from packager.relocation.install_names import plan_install_names
from packager.relocation.installs import plan_install
from packager.relocation.links import plan_link
from packager.relocation.places import BuildPlaces
from packager.relocation.rpaths import plan_rpath
from packager.relocation.rules import load_rules
from packager.relocation.shebangs import plan_shebang
from packager.relocation.texts import relocatable_text


def plan_relocation(tree: BundleTree, *, build_paths: Sequence[str]) -> RelocationPlan:
    """What must change so that `tree` runs from any folder.

    `build_paths` are absolute paths by which the tree or its Python prefix was known at build time, besides where it
    lies now: the interpreter it was copied from, the work folder. Planning a relocated tree gives an empty plan.
    Raises DocumentError that lists everything which cannot be made to move, and InputError for a useless build path.
    """
    return _Planner(BuildPlaces(tree, build_paths)).plan()


class _Planner:
    def __init__(self, places: BuildPlaces) -> None:
        self._places = places
        self._files = list(walk_files(places.root))

    def plan(self) -> RelocationPlan:
        edits: list[Edit] = []
        faults: dict[tuple[str, str | None], Fault] = {}
        for path in self._files:
            name = PurePosixPath(path.relative_to(self._places.root).as_posix())
            try:
                edit = self._edit(path, name)
            except InputError as error:
                fault = Fault(
                    where=error.where or str(name),
                    line=None,
                    field="relocation",
                    what=error.what,
                    remedy=error.remedy or "remove the file, or install its distribution anew",
                )
                faults.setdefault((error.what, None if "editable install" in error.what else str(name)), fault)
            else:
                if edit is not None:
                    edits.append(edit)
        if faults:
            raise DocumentError(list(faults.values()))
        changed = {self._places.root / edit.path for edit in edits}
        records = tuple(r for r in self._records if not changed.isdisjoint(r.owned)) if changed else ()
        return RelocationPlan(root=self._places.root, edits=tuple(edits), records=records)

    @functools.cached_property
    def _records(self) -> list[Record]:
        found = [p for p in self._files if p.name == "RECORD" and p.parent.suffix == ".dist-info" and p.is_file()]
        return [read_record(path, self._places.root) for path in found]

    def _owner_of(self, path: Path) -> Record | None:
        return next((record for record in self._records if path in record.owned), None)

    def _edit(self, path: Path, name: PurePosixPath) -> Edit | None:
        places = self._places
        if path.is_symlink():
            return plan_link(path, name, places)
        if not path.is_file():
            return None  # a pipe or socket: the archive refuses it, and opening one could wait for ever
        if path.name == "pyvenv.cfg":
            raise InputError(
                "marks a virtual environment, which cannot be moved",
                remedy="remove it, or ship the Python it was made from",
            )
        if path.suffix == ".pyc":
            return self._plan_bytecode(path, name)
        owner = self._owner_of(path) if path.parent.name == "site-packages" else None
        return (
            plan_executable(path, name, places, self._owner_of)
            or plan_install(path, name, places, owner.distribution if owner else None)
            or self._plan_text(path, name)
            or plan_shebang(path, name, places)
            or _plan_library(path, name, places)
        )

    def _plan_text(self, path: Path, name: PurePosixPath) -> Edit | None:
        rule = load_rules().text_rule(str(name))
        if rule is None:
            return None
        content = relocatable_text(path.read_bytes(), path, rule.form, self._places)
        return None if content is None else Rewrite(path=name, kind="text file", reason=rule.reason, content=content)

    def _plan_bytecode(self, path: Path, name: PurePosixPath) -> Edit | None:
        if not self._places.found_in(path.read_bytes()):
            return None
        try:
            source = Path(importlib.util.source_from_cache(str(path)))
        except ValueError:
            source = path  # not in __pycache__: sourceless
        if source == path or not source.is_file():
            raise InputError(
                "is bytecode without a source and names the build path",
                remedy="compile it with `python -m compileall -s`",
            )
        return Remove(path=name, kind="bytecode", reason="names its source by the build path; Python makes it anew")


def _plan_library(path: Path, name: PurePosixPath, places: BuildPlaces) -> Edit | None:
    """Windows looks beside the program and on PATH: its libraries name no folder."""
    match places.tree.target.os:
        case "linux":
            return plan_rpath(path, name, places)
        case "macos":
            return plan_install_names(path, name, places)
        case _:
            return None
