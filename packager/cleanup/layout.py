"""Which folder of a tree is which (the standard library, site-packages, the app), found without running anything."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Literal

from packager import targets
from packager.bundle import APP_DIR, NODES_DIR, PORTABLE_DIR, PYTHON_DIR, BundleTree
from packager.errors import InputError
from packager.targets import OS

Scope = Literal["prefix", "conda", "venv", "stdlib", "site-packages", "app", "nodes"]

_WHEEL_OS: tuple[tuple[str, OS], ...] = (("-win", "windows"), ("-macosx", "macos"), ("linux", "linux"))


@dataclass(frozen=True, kw_only=True)
class TreeLayout:
    """`scopes` maps a folder, relative to `root` with forward slashes ('' for the root), to what it is.

    A path belongs to the innermost such folder. `os` is that of the programs inside; None where nothing tells.
    `foreign`: no build made it, so that somebody's own work may lie in it; rules that are `bundle_only` do not hold.
    """

    root: Path
    os: OS | None
    scopes: Mapping[str, tuple[Scope, ...]]
    foreign: bool = False


def layout_of(tree: BundleTree) -> TreeLayout:
    """The layout of a bundle, which needs no looking except for what conda left."""
    scopes: dict[str, tuple[Scope, ...]] = {
        PYTHON_DIR: ("prefix", "conda") if (tree.prefix / "conda-meta").is_dir() else ("prefix",),
        str(tree.relative(tree.stdlib)): ("stdlib",),
        str(tree.relative(tree.site_packages)): ("site-packages",),
        APP_DIR: ("app",),
        NODES_DIR: ("nodes",),
    }
    return TreeLayout(root=tree.root.resolve(), os=tree.target.os, scopes=scopes)


def detect_layout(root: Path) -> TreeLayout:
    """The layout of any Python tree: a bundle, a Python prefix (conda environment, venv, embedded Python), a folder
    that holds one beside ComfyUI, or a folder of installed packages.

    Raises InputError when `root` is none of these. Links are not followed below `root`.
    """
    if not root.is_dir():
        raise InputError("is not a folder", where=str(root), remedy="give the folder that holds the Python tree")
    root = root.resolve()
    bundle = bundle_of(root)
    if bundle:
        return layout_of(bundle)
    scopes: dict[str, tuple[Scope, ...]] = {}
    for folder in (root, *sorted(child for child in root.iterdir() if _is_folder(child))):
        scopes.update(_python(root, folder))
        if _is_folder(folder / "custom_nodes") and (folder / "main.py").is_file():
            scopes[_relative(root, folder)] = ("app",)
            scopes[_relative(root, folder / "custom_nodes")] = ("nodes",)
    if not scopes and any(_is_folder(found) for found in root.glob("*.dist-info")):
        scopes[""] = ("site-packages",)
    if not scopes:
        raise InputError(
            "is no Python tree: no lib/python3.*, no Lib/site-packages, no *.dist-info",
            where=str(root),
            remedy="give a bundle, a conda environment, a venv or a site-packages folder",
        )
    return TreeLayout(root=root, os=_os(root, scopes), scopes=scopes, foreign=True)


def bundle_of(root: Path) -> BundleTree | None:
    """What portable/bundle.json says, if the root is a bundle."""
    described = root / PORTABLE_DIR / "bundle.json"
    if not described.is_file() or not _is_folder(root / PYTHON_DIR):
        return None
    try:
        value = json.loads(described.read_text(encoding="utf-8"))
        version = str(value["python_version"])
        target = targets.get(value["target"])
    except (ValueError, KeyError, TypeError, InputError) as error:
        raise InputError(
            "does not describe a bundle", where=str(described), remedy="unpack the archive again"
        ) from error
    if not re.fullmatch(r"3\.\d+(\.\w+)*", version):
        raise InputError(f"'{version}' is no Python version", where=str(described), remedy="unpack the archive again")
    return BundleTree(root=root, target=target, python_version=version)


def _python(root: Path, prefix: Path) -> dict[str, tuple[Scope, ...]]:
    """The scopes of a Python prefix; nothing if `prefix` is none."""
    found: dict[str, tuple[Scope, ...]] = {}
    libraries = [*sorted((prefix / "lib").glob("python3.*")), prefix / "Lib"] if prefix.is_dir() else []
    for stdlib in libraries:
        if not _is_folder(stdlib.parent) or not _is_folder(stdlib):
            continue
        if (stdlib / "os.py").is_file():
            found[_relative(root, stdlib)] = ("stdlib",)
        if _is_folder(stdlib / "site-packages"):
            found[_relative(root, stdlib / "site-packages")] = ("site-packages",)
    if found:
        found[_relative(root, prefix)] = _kind(prefix)
    return found


def _kind(prefix: Path) -> tuple[Scope, ...]:
    """A venv is apart: nothing of Python's own is in it, and projects become one in place (`python -m venv .`)."""
    if _is_folder(prefix / "conda-meta"):
        return ("prefix", "conda")
    return ("venv",) if (prefix / "pyvenv.cfg").is_file() else ("prefix",)


def _os(root: Path, scopes: Mapping[str, tuple[Scope, ...]]) -> OS | None:
    """By the place of site-packages, else by the tags of the wheels installed (PEP 427, WHEEL file)."""
    packages = [folder for folder, kinds in scopes.items() if "site-packages" in kinds]
    if any(PurePosixPath(folder).parent.name == "Lib" for folder in packages):
        return "windows"
    for folder in packages:
        for wheel in sorted((root / folder).glob("*.dist-info/WHEEL")):
            for tag in re.findall(r"^Tag: *(\S+)", wheel.read_text(encoding="utf-8", errors="replace"), re.MULTILINE):
                for mark, os_name in _WHEEL_OS:
                    if mark in tag:
                        return os_name
    return None


def _is_folder(path: Path) -> bool:
    return path.is_dir() and not path.is_symlink()


def _relative(root: Path, path: Path) -> str:
    relative = path.relative_to(root).as_posix()
    return "" if relative == "." else relative
