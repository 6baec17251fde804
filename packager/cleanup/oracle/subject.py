"""What the oracle asks: a tree with a Python that runs here, and whose each file is."""

from __future__ import annotations

import hashlib
import importlib.metadata
import os
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from packaging.utils import canonicalize_name

from packager import targets
from packager.cleanup.layout import Scope, TreeLayout
from packager.filesystem import sha256_file, walk_files

PYTHON, APP, LOOSE = "(python)", "(app)", "(site-packages)"  # owners of what no distribution has on its list
_EXECUTABLES = ("bin/python", "bin/python3", "python.exe", "Scripts/python.exe")
_UNSTEADY = {"RECORD", "INSTALLER", "REQUESTED", "direct_url.json"}  # they tell of the installation, not the content
_CONTENT_LIMIT = 4 * 1024 * 1024  # bytes; larger files of the app are models or media, told by name and size


@dataclass(frozen=True, kw_only=True)
class Subject:
    """A tree to ask. `python` None: nothing in it runs on this machine, and only the static gate can judge.

    `env` is added to the environment of each probe; `skip` are top-level names that are not worth an import.
    """

    layout: TreeLayout
    python: Path | None
    env: Mapping[str, str] = field(default_factory=dict)
    skip: frozenset[str] = frozenset()

    @property
    def root(self) -> Path:
        return self.layout.root

    @property
    def app(self) -> Path | None:
        """The folder of the app's main.py, if there is one."""
        folders = (self.root / folder for folder in self.folders("app"))
        return next((folder for folder in folders if (folder / "main.py").is_file()), None)

    def folders(self, scope: Scope) -> list[str]:
        """The folders of a scope, relative to the root."""
        return [folder for folder, scopes in self.layout.scopes.items() if scope in scopes]


def subject_of(
    layout: TreeLayout, *, env: Mapping[str, str] | None = None, skip: frozenset[str] = frozenset()
) -> Subject:
    """The subject for a tree of this layout, with the first Python found in it that this machine can start."""
    prefixes = [folder for folder, scopes in layout.scopes.items() if {"prefix", "venv"} & set(scopes)]
    foreign = layout.os is not None and layout.os != targets.current().os
    places = (layout.root / prefix / program for prefix in prefixes for program in _EXECUTABLES)
    python = None if foreign else next((place for place in places if os.access(place, os.X_OK)), None)
    return Subject(layout=layout, python=python, env=env or {}, skip=skip)


@dataclass(frozen=True, kw_only=True)
class Ownership:
    """Whose each file is, and what tells two states of an owner apart. Paths are relative to the tree's root.

    `identities`: owner -> hex sha256, where a distribution's is that of name, version, RECORD and sizes; an owner is
    the normalised name of a distribution, or one of PYTHON, APP, LOOSE.
    """

    owners: Mapping[str, str]
    identities: Mapping[str, str]
    files: tuple[str, ...]

    @classmethod
    def nothing(cls) -> Ownership:
        """Of a tree that nothing is asked about."""
        return cls(owners={}, identities={}, files=())

    def owner(self, path: str) -> str:
        return self.owners.get(path, PYTHON)

    @property
    def names(self) -> str:
        """Digest of which owners there are: what a look for an optional package depends on."""
        return hashlib.sha256("\n".join(sorted(self.identities)).encode()).hexdigest()


def read_ownership(subject: Subject) -> Ownership:
    """One walk over the tree, bytecode left out. Runs nothing."""
    owners, seeds = _distribution_files(subject)
    told: dict[str, list[str]] = {name: [seed] for name, seed in seeds.items()}
    files = []
    packages, apps = _below(subject.folders("site-packages")), _below(subject.folders("app"))
    for path in walk_files(subject.root, skip=lambda path: path.name == "__pycache__"):
        relative = path.relative_to(subject.root).as_posix()
        files.append(relative)
        owner = owners.get(relative)
        if owner is None:
            owner = LOOSE if relative.startswith(packages) else APP if relative.startswith(apps) else PYTHON
            owners[relative] = owner
        told.setdefault(owner, []).append(_mark(path, relative, owner))
    identities = {
        owner: hashlib.sha256("\n".join(sorted(marks)).encode("utf-8", "surrogateescape")).hexdigest()
        for owner, marks in told.items()
    }
    return Ownership(owners=owners, identities=identities, files=tuple(files))


def _distribution_files(subject: Subject) -> tuple[dict[str, str], dict[str, str]]:
    """(owner by file, what the metadata says by owner)."""
    owners: dict[str, str] = {}
    seeds: dict[str, str] = {}
    for folder in subject.folders("site-packages"):
        place = subject.root / folder
        for found in importlib.metadata.distributions(path=[str(place)]):
            name = canonicalize_name(found.metadata["Name"] or "nameless")
            if name in seeds:
                continue
            record = found.read_text("RECORD") or ""
            steady = [line for line in record.splitlines() if not line.startswith("../") and ".pyc" not in line]
            seeds[name] = f"{name} {found.version}\n" + "\n".join(
                sorted(line for line in steady if line.split(",")[0].rpartition("/")[2] not in _UNSTEADY)
            )
            for file in found.files or ():
                inside = os.path.normpath(place / str(file))
                owners[os.path.relpath(inside, subject.root).replace(os.sep, "/")] = name
    return owners, seeds


def _below(folders: list[str]) -> tuple[str, ...]:
    return tuple(f"{folder}/" if folder else "" for folder in folders)


def _mark(path: Path, relative: str, owner: str) -> str:
    """What of a file counts. Scripts and the interpreter's own files hold the path they were installed at."""
    parts = relative.split("/")
    unsteady = path.name in _UNSTEADY or path.name.startswith("_sysconfigdata")
    if unsteady or {"bin", "Scripts"} & set(parts[:-1]) or path.is_symlink():
        return relative
    if owner == PYTHON and path.suffix not in (".py", ".so", ".pyd", ".dll"):
        return relative
    size = path.stat().st_size
    if owner == APP and size <= _CONTENT_LIMIT:
        return f"{relative} {sha256_file(path)}"
    return f"{relative} {size}"


def machine() -> str:
    """What a result depends on besides the tree: the operating system and the processor."""
    return f"{sys.platform} {targets.current().arch}"


def python_files(ownership: Ownership) -> Iterator[str]:
    return (path for path in ownership.files if path.endswith(".py"))
