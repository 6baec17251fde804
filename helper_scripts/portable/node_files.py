"""Whose the files in a node's folder are: the node's own, or the user's, which are never lost.

`.portable-node.json` in the folder tells where the node came from and the sha256 of each file it brought or its
install.py made. A node that came with the bundle is told by the manifest. Whatever else lies in the folder, or has
other content, is the user's: it stays through an update, and is put into ComfyUI/user/removed-nodes when the node goes
away.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from typing import Any

from portable.bundle import Bundle
from portable.changes import Change, kind_of, sha256_of
from portable.disk import require_room
from portable.errors import HelperError
from portable.layers import environment_of
from portable.node_git import files_of, origin_of
from portable.node_source import is_folder_name
from portable.node_state import describe_node

RECORD = ".portable-node.json"
_FORMAT = 1
_LARGE = 64 * 1024 * 1024  # bytes
_COMPILED = {".pyc", ".pyo"}


@dataclass(frozen=True, kw_only=True)
class Origin:
    """Where a node came from. `kind` and `address` as in node_source, `ref` what was asked for.

    `version` is the registry's, `commit` git's, `sha256` the archive's; empty where there is none.
    """

    kind: str
    address: str
    ref: str | None = None
    version: str = ""
    commit: str = ""
    sha256: str = ""


@dataclass(frozen=True, kw_only=True)
class Known:
    """What is known of a node's folder: `files` are hex sha256 by path from it, None if nothing tells of them."""

    origin: Origin | None = None
    files: Mapping[str, str] | None = None


@dataclass(frozen=True, kw_only=True)
class Project:
    """What pyproject.toml says; empty where it says nothing."""

    name: str = ""
    version: str = ""
    dependencies: tuple[str, ...] = field(default=())


def nodes_folder(bundle: Bundle) -> Path:
    return bundle.app_dir / "custom_nodes"


def own_path(bundle: Bundle, name: str) -> str:
    """The node's folder, from the bundle's root."""
    return f"{bundle.app}/custom_nodes/{name}"


def aside_path(bundle: Bundle, name: str) -> str:
    """Where the user's files in a node that went away are put, from the bundle's root."""
    return f"{bundle.app}/user/removed-nodes/{name}"


def walk(folder: Path) -> Iterator[str]:
    """The files and links in `folder`, by path from it, but the record, .git and bytecode; links are not followed."""
    for base, folders, files in os.walk(folder):
        links = [name for name in folders if Path(base, name).is_symlink()]
        folders[:] = sorted(name for name in folders if name != ".git" and name not in links)
        for name in sorted([*files, *links]):
            path = Path(base, name)
            shown = path.relative_to(folder).as_posix()
            if shown not in (RECORD, ".git") and not (path.suffix in _COMPILED and path.parent.name == "__pycache__"):
                yield shown


def write_record(folder: Path, origin: Origin, files: Mapping[str, str] | None = None) -> None:
    """Write down where the node in `folder` came from, and its `files`: all that are there unless given."""
    if files is None:
        files = {name: sha256_of(folder / name) for name in walk(folder) if not (folder / name).is_symlink()}
    value = {"format": _FORMAT, "origin": vars(origin), "files": dict(sorted(files.items()))}
    (folder / RECORD).write_text(json.dumps(value, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")


def known(bundle: Bundle, name: str) -> Known:
    """What the record of a node says, else its git repository, else the manifest of a bundle that came with it.

    Something else may have changed a node since a helper brought it, such as `git pull`: git knows better then.
    """
    folder = nodes_folder(bundle) / name
    record = _read_record(folder / RECORD)
    commit = describe_node(folder).partition("git:")[2] if (folder / ".git").exists() else ""
    if commit and (record.origin is None or record.origin.commit != commit):
        files = files_of(folder, environment_of(bundle))
        address = record.origin.address if record.origin else origin_of(folder)
        ref = record.origin.ref if record.origin else None
        if files is not None and address:
            made = {path: digest for path, digest in (record.files or {}).items() if path not in files}
            origin = Origin(kind="repository", address=address, ref=ref, commit=commit)
            return Known(origin=origin, files={**made, **files})
    return record if record.origin else _shipped(bundle, name)


def _read_record(path: Path) -> Known:
    try:
        value: Any = json.loads(path.read_text(encoding="utf-8"))
        if value["format"] == _FORMAT:
            files = {str(name): str(digest) for name, digest in value["files"].items()}
            return Known(origin=Origin(**value["origin"]), files=files)
    except (OSError, ValueError, LookupError, TypeError, AttributeError):
        pass
    return Known()


def is_recorded(bundle: Bundle, name: str) -> bool:
    """Whether a helper brought the node."""
    return (nodes_folder(bundle) / name / RECORD).is_file()


def _shipped(bundle: Bundle, name: str) -> Known:
    origin, files = None, {}
    start = f"{own_path(bundle, name)}/"
    try:
        entries = json.loads((bundle.portable / "manifest.json").read_text(encoding="utf-8"))["entries"]
        files = {
            entry["path"][len(start) :]: entry["sha256"]
            for entry in entries
            if entry["kind"] == "file" and entry["path"].startswith(start)
        }
        facts = json.loads((bundle.portable / "bundle.json").read_text(encoding="utf-8"))
        for repository in facts.get("repositories", ()):
            url = repository.get("url")
            if repository["name"] == name and url:
                commit = repository.get("commit") or ""
                origin = Origin(kind="repository", address=url.removesuffix(".git"), ref=None, commit=commit)
    except (OSError, ValueError, LookupError, TypeError, AttributeError):
        pass
    return Known(origin=origin, files=files or None)


def strays(bundle: Bundle, name: str) -> list[str]:
    """The user's files in a node's folder, by path from it. All of them, if nothing tells which are the node's."""
    folder, files = nodes_folder(bundle) / name, known(bundle, name).files or {}
    found = []
    for path in walk(folder):
        place = folder / path
        if place.is_symlink() or path not in files or sha256_of(place) != files[path]:
            found.append(path)
    return found


def carry_over(bundle: Bundle, name: str, tree: Path) -> list[str]:
    """Put the user's files of node `name` into its new `tree`; returns those that the new one has otherwise.

    A file that the user changed stays as it is if the new version brings the same as the old one did.
    """
    folder, files = nodes_folder(bundle) / name, known(bundle, name).files or {}
    clashes = []
    for path in strays(bundle, name):
        new = tree / path
        if kind_of(new) == "file" and not (folder / path).is_symlink():
            digest = sha256_of(new)
            if digest == sha256_of(folder / path):
                continue
            if digest == files.get(path):
                new.unlink()
                copy_lightly(folder / path, new, bundle.root)
                continue
        if kind_of(new) is not None or any(kind_of(parent) not in ("directory", None) for parent in new.parents):
            clashes.append(path)
        else:
            copy_lightly(folder / path, new, bundle.root)
    return clashes


def set_aside(bundle: Bundle, name: str, paths: Sequence[str], work: Path) -> tuple[str, list[Change]]:
    """The changes that put the user's files `paths` of node `name` beside, and the folder they will be in."""
    if not paths:
        return "", []
    base = place = aside_path(bundle, name)
    number = 1
    while kind_of(bundle.root / place) is not None:
        number += 1
        place = f"{base}-{number}"
    staged = work / f"aside {name}"
    for path in paths:
        copy_lightly(nodes_folder(bundle) / name / path, staged / path, bundle.root)
    return place, [Change(path=place, source=staged)]


def keep_through(bundle: Bundle, changes: Mapping[str, Change], work: Path) -> list[Change]:
    """What a rollback has to change besides, so that the user's files in the nodes it replaces are kept.

    Into the staged folder that comes back, or beside if the node goes away or has such a file already.
    """
    more: list[Change] = []
    prefix = f"{bundle.app}/custom_nodes/"
    for path, change in changes.items():
        name = path.removeprefix(prefix)
        if not path.startswith(prefix) or "/" in name or kind_of(bundle.root / path) != "directory":
            continue
        is_folder = change.source is not None and kind_of(change.source) == "directory"
        left = carry_over(bundle, name, change.source) if is_folder and change.source else strays(bundle, name)
        more += set_aside(bundle, name, left, work)[1]
    return more


def copy_lightly(source: Path, place: Path, root: Path) -> None:
    """Put a user's file or link at `place` too. A copy, but of what is as large as a model a second name for the same
    file, where the disk can."""
    place.parent.mkdir(parents=True, exist_ok=True)
    if source.is_symlink():
        place.symlink_to(source.readlink())
        return
    size = source.stat().st_size
    if size > _LARGE:
        with contextlib.suppress(OSError):  # a disk without hard links
            os.link(source, place)
            return
    require_room(root, size)
    shutil.copy2(source, place)


def read_project(folder: Path) -> Project:
    """The project of the node in `folder`; an empty one if pyproject.toml is missing or broken."""
    try:
        text = (folder / "pyproject.toml").read_text(encoding="utf-8-sig")
        table = _toml().loads(text).get("project", {})
        words = table.get("dependencies", [])
        return Project(
            name=str(table.get("name", "")).strip(),
            version=str(table.get("version", "")).strip(),
            dependencies=tuple(str(word) for word in words) if isinstance(words, list) else (),
        )
    except (OSError, ValueError, AttributeError):
        return Project()


def _toml() -> Any:
    """Python 3.11 and newer can read TOML; before, pip brings what can."""
    try:
        return import_module("tomllib")
    except ImportError:
        return import_module("pip._vendor.tomli")


def name_for(tree: Path, repository: str) -> str:
    """The folder's name: the project's, else the repository's. Raises HelperError if neither may be one."""
    for name in (read_project(tree).name, re.sub(r"[^A-Za-z0-9._-]+", "-", repository)):
        if is_folder_name(name):
            return name
    raise HelperError(f"{repository!r} cannot be a folder's name on every system, and pyproject.toml names no other.")


def requirement_file(tree: Path, place: Path) -> tuple[str, ...]:
    """requirements.txt of the node, else the dependencies of pyproject.toml, written to `place`; nothing if none."""
    if (tree / "requirements.txt").is_file():
        return (str(tree / "requirements.txt"),)
    dependencies = read_project(tree).dependencies
    if not dependencies:
        return ()
    place.mkdir(exist_ok=True)
    file = place / "pyproject.toml dependencies.txt"
    file.write_text("".join(f"{' '.join(line.split())}\n" for line in dependencies), encoding="utf-8")
    return (str(file),)
