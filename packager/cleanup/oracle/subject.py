"""What the oracle asks: a tree with a Python that runs here, and whose each file is."""

from __future__ import annotations

import functools
import hashlib
import os
import stat
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

from packager import targets
from packager.cleanup.bytecode import is_cache
from packager.cleanup.layout import Scope, TreeLayout
from packager.cleanup.oracle.installed import UNSTEADY, installed
from packager.cleanup.walk import lineage
from packager.filesystem import walk_files

PYTHON, APP, LOOSE = "(python)", "(app)", "(site-packages)"  # owners of what no distribution has on its list
_EXECUTABLES = ("bin/python", "bin/python3", "python.exe", "Scripts/python.exe")
_CONTENT_LIMIT = 4 * 1024 * 1024  # bytes; larger files are libraries, models or media, told by name and size
_LIBRARIES = (".so", ".pyd", ".dll")
_CHUNK = 500  # files that one thread reads at a time


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

    `identities`: owner -> hex sha256, where a distribution's is that of name, version, RECORD and contents; an owner
    is the normalised name of a distribution, or one of PYTHON, APP, LOOSE.
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

    def near(self, path: str) -> str:
        """The owner of `path`, or of what lies beside the folder it is in: that of a package's `__pycache__`."""
        return next((self._folders[place] for place in lineage(path) if place in self._folders), PYTHON)

    @functools.cached_property
    def _folders(self) -> Mapping[str, str]:
        """Also of each folder, the owner of its first file."""
        folders: dict[str, str] = {}
        for path in self.files:
            folders.setdefault(path.rpartition("/")[0], self.owners[path])
        return {**folders, **self.owners}

    @property
    def names(self) -> str:
        """Digest of which owners there are: what a look for an optional package depends on."""
        return hashlib.sha256("\n".join(sorted(self.identities)).encode()).hexdigest()


def read_ownership(subject: Subject) -> Ownership:
    """One walk over the tree, bytecode that has its source left out. Runs nothing."""
    owners, seeds = _distribution_files(subject)
    packages, apps = _below(subject.folders("site-packages")), _below(subject.folders("app"))
    start = len(str(subject.root)) + 1
    files = []
    for path in walk_files(subject.root, skip=lambda path: is_cache(path.as_posix())):
        relative = path.as_posix()[start:]
        files.append(relative)
        if relative not in owners:
            owners[relative] = LOOSE if relative.startswith(packages) else APP if relative.startswith(apps) else PYTHON
    told: dict[str, list[str]] = {name: [seed] for name, seed in seeds.items()}
    for relative, mark in zip(files, _marks(subject.root, files, owners), strict=True):
        told.setdefault(owners[relative], []).append(mark)
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
        for found in installed(subject.root / folder):
            if found.name in seeds:
                continue
            seeds[found.name] = found.told
            for file in found.files:
                owners[os.path.relpath(file, subject.root).replace(os.sep, "/")] = found.name
    return owners, seeds


def _below(folders: list[str]) -> tuple[str, ...]:
    return tuple(f"{folder}/" if folder else "" for folder in folders)


def _marks(root: Path, files: Sequence[str], owners: Mapping[str, str]) -> list[str]:
    """What of each file counts. Hashing and reading let go of the interpreter's lock."""

    def marks(start: int) -> list[str]:
        return [_mark(f"{root}/{file}", file, owners[file]) for file in files[start : start + _CHUNK]]

    with ThreadPoolExecutor() as pool:
        return [mark for chunk in pool.map(marks, range(0, len(files), _CHUNK)) for mark in chunk]


def _mark(path: str, relative: str, owner: str) -> str:
    """Scripts and the interpreter's own files hold the path they were installed at; so may its libraries."""
    folder, _, name = relative.rpartition("/")
    if name in UNSTEADY or name.startswith("_sysconfigdata") or {"bin", "Scripts"} & set(folder.split("/")):
        return relative
    is_library = name.endswith(_LIBRARIES)
    if owner == PYTHON and not is_library and not name.endswith((".py", ".pyc")):
        return relative
    status = os.lstat(path)
    if not stat.S_ISREG(status.st_mode):  # a link, or what would make its reader wait
        return relative
    if status.st_size > _CONTENT_LIMIT or (owner == PYTHON and is_library):
        return f"{relative} {status.st_size}"
    try:
        with open(path, "rb") as stream:  # noqa: PTH123 -- tens of thousands of files
            return f"{relative} {hashlib.sha256(stream.read()).hexdigest()}"
    except PermissionError:  # nor can a probe read it
        return f"{relative} {status.st_size}"
