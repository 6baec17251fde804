"""An environment as a folder that belongs to no place: conda-pack's work, checked and completed."""

from __future__ import annotations

import json
import os
import re
import shutil
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from conda_pack import CondaEnv, CondaPackException

from packager.bundle import LICENCES_DIR
from packager.errors import InputError, PackagerError
from packager.filesystem import remove_tree, walk_files, write_atomic, write_json
from packager.prefix_files import PrefixFile
from packager.runtimes.environments import read_metadata
from packager.runtimes.miniforge_table import miniforge_table

# Where things lay on this machine, and when; nothing reads it in a bundle.
_LOCAL_METADATA = ("extracted_package_dir", "package_tarball_full_path", "link", "requested_spec", "requested_specs")
_HEAD_LINES = 3  # a shebang, or `#!/bin/sh` with two lines that start Python


@dataclass(frozen=True, kw_only=True)
class Placeholder:
    """A file of a conda package with its prefix still to be filled in; `path` is below the prefix."""

    path: str
    prefix: str
    binary: bool


def pack(environment: Path, destination: Path, *, known_as: Path) -> tuple[PrefixFile, ...]:
    """Make `destination`, an absent folder, from `environment`; scripts in it name the prefix `known_as`.

    Returns the files in which something stands for the prefix: in binary files the placeholder of their package, which
    is nobody's path, in text files the neutral prefix. Bytecode and the folders' history stay
    behind: equal environments give equal trees. Raises PackagerError for an environment that has lost files, holds an
    editable install, or was changed by others, and for a result that is not whole; InputError for conda inside.
    """
    metadata = read_metadata(environment)
    if any(package["name"] == "conda" for package in metadata):
        raise InputError(
            "conda itself is in the environment, and it cannot be moved",
            where=str(environment),
            remedy="take what needs conda out of conda_packages",
        )
    staging = destination.with_name(f"{destination.name}.linked")
    remove_tree(staging)
    try:
        source = CondaEnv.from_prefix(str(environment), on_missing_cache="raise")
        own = {Path(file.target).as_posix() for file in source.files}
        _refuse_pip(environment, metadata)
        source.pack(output=str(staging), format="no-archive")
    except CondaPackException as error:
        remove_tree(staging)
        message = str(error).strip()
        remedy = miniforge_table().remedy(message)
        raise PackagerError(f"conda-pack: {message}", where=str(environment), remedy=remedy) from error
    shutil.copytree(staging, destination, symlinks=True, ignore=_left_out)  # conda-pack's are links into the cache
    remove_tree(staging)
    _remove_additions(destination, own)
    placeholders = list(_placeholders(metadata))
    texts = _fill_in(destination, placeholders, environment=environment, known_as=known_as)
    problems = [*_missing(destination, metadata), *_unfilled(destination, placeholders)]
    if problems:
        raise PackagerError(
            "conda-pack's result is not whole:\n  " + "\n  ".join(problems),
            where=str(environment),
            remedy="remove the environment and build again",
        )
    _licence_texts(destination, metadata)
    _neutral_metadata(destination)
    binaries = [PrefixFile(path=p.path, kind="binary", placeholder=p.prefix) for p in placeholders if p.binary]
    return tuple(sorted([*texts, *binaries], key=lambda file: file.path))


def _refuse_pip(environment: Path, metadata: Sequence[dict[str, Any]]) -> None:
    """Raise PackagerError if somebody has installed with pip into the environment.

    Where pip overwrote files of a conda package and removed none, conda-pack would mix the two without a word.
    """
    owned = {name.rpartition("/")[0] for package in metadata for name in package["files"]}
    names = (path.relative_to(environment).as_posix() for path in environment.rglob("*.dist-info"))
    foreign = sorted(name for name in names if name not in owned)
    if foreign:
        raise PackagerError(
            f"{', '.join(foreign)}: not of a conda package; somebody has installed it into the environment with pip",
            where=str(environment),
            remedy="remove the environment named here and build again; packages from PyPI go into python_packages",
        )


def _left_out(folder: str, names: list[str]) -> list[str]:
    history = ["history"] if Path(folder).name == "conda-meta" else []
    return [name for name in names if name == "__pycache__" or name.endswith(".pyc") or name in history]


def _remove_additions(prefix: Path, own: Collection[str]) -> None:
    """What conda-pack adds: activate, conda-unpack, a temporary file. A bundle's Python is not started like that."""
    for path in list(walk_files(prefix)):
        if path.relative_to(prefix).as_posix() not in own:
            path.unlink()


def _placeholders(metadata: Sequence[dict[str, Any]]) -> Iterator[Placeholder]:
    for package in metadata:
        for entry in package.get("paths_data", {}).get("paths", ()):
            if entry.get("prefix_placeholder"):
                yield Placeholder(
                    path=entry["_path"], prefix=entry["prefix_placeholder"], binary=entry.get("file_mode") == "binary"
                )


def _fill_in(
    prefix: Path, placeholders: Sequence[Placeholder], *, environment: Path, known_as: Path
) -> list[PrefixFile]:
    """Text files: their package's placeholder, and the environment's own path where conda wrote it."""
    known = {item.path: item for item in placeholders}
    neutral = miniforge_table().neutral_prefix
    filled = []
    for path in walk_files(prefix):
        name = path.relative_to(prefix).as_posix()
        if path.is_symlink() or name.startswith("conda-meta/"):
            continue
        content = path.read_bytes()
        if known[name].binary if name in known else b"\0" in content:
            continue
        prefixes = [os.fsencode(environment), environment.as_posix().encode()]
        if name in known:
            prefixes.append(known[name].prefix.encode())
        changed, places = _filled(content, prefixes, known_as, whole=miniforge_table().is_relocated(name))
        if changed != content:
            write_atomic(path, changed)
        if places:
            from_end = tuple(len(changed) - place for place in places)
            filled.append(PrefixFile(path=name, kind="text", placeholder=neutral, from_end=from_end))
    return filled


def _filled(content: bytes, prefixes: Sequence[bytes], known_as: Path, *, whole: bool) -> tuple[bytes, list[int]]:
    """`content` with `known_as` for `prefixes` where relocation will look for it, the neutral prefix elsewhere.

    Beside it where the neutral prefix was put, in bytes from the start.
    """
    pattern = re.compile(b"|".join(re.escape(prefix) for prefix in prefixes))
    head = _HEAD_LINES if content.startswith(b"#!/bin/sh\n'''exec'") else int(content.startswith(b"#!"))
    size = len(content) if whole else sum(len(line) + 1 for line in content.split(b"\n")[:head])
    made = pattern.sub(lambda _: os.fsencode(known_as), content[:size])
    places = []
    first, *rest = pattern.split(content[size:])
    made += first
    for part in rest:
        places.append(len(made))
        made += miniforge_table().neutral_prefix.encode() + part
    return made, places


def _missing(prefix: Path, metadata: Sequence[dict[str, Any]]) -> Iterator[str]:
    for package in metadata:
        for name in package["files"]:
            if not name.endswith(".pyc") and not os.path.lexists(prefix / name):
                yield f"{name} of {package['name']} is missing"


def _unfilled(prefix: Path, placeholders: Sequence[Placeholder]) -> Iterator[str]:
    for item in placeholders:
        path = prefix / item.path
        if not item.binary and path.is_file() and item.prefix.encode() in path.read_bytes():
            yield f"{item.path} still holds its placeholder"


def _licence_texts(prefix: Path, metadata: Sequence[dict[str, Any]]) -> None:
    """What conda-build put beside a package's files as info/licenses, which no environment has otherwise."""
    for package in metadata:
        source = Path(package.get("extracted_package_dir") or "/nowhere") / "info" / "licenses"
        if source.is_dir():
            shutil.copytree(source, prefix / LICENCES_DIR / package["name"], dirs_exist_ok=True)


def _neutral_metadata(prefix: Path) -> None:
    for path in sorted((prefix / "conda-meta").glob("*.json")):
        package = json.loads(path.read_text(encoding="utf-8"))
        kept = {name: value for name, value in package.items() if name not in _LOCAL_METADATA}
        kept["files"] = sorted(name for name in package["files"] if not name.endswith(".pyc"))
        for field in ("url", "channel"):
            if str(kept.get(field, "")).startswith(("file:", "/")):
                kept[field] = Path(str(kept[field])).name  # a folder of the build machine
        write_json(path, kept)
