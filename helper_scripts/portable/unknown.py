"""What lies in the bundle and was neither shipped nor put there by a helper; and what was left out on purpose."""

from __future__ import annotations

import json
import os
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from portable.user_data import UserData


@dataclass(frozen=True, kw_only=True)
class Removed:
    """A rule by which the build left something out, and why."""

    rule: str
    why: str


def find_unknown(
    root: Path, known: Collection[str], whole: Collection[str], own: UserData
) -> Iterator[tuple[str, int]]:
    """Paths from `root` that are not `known`, and how many files each stands for: a folder (with / at its end) of which
    nothing is known stands for all in it.

    `whole` are folders of which all is known. The user's own and what the helpers keep for themselves is left out.
    """
    folders = {""}
    for path in (*known, *whole):
        folder = path.rpartition("/")[0]
        while folder not in folders:
            folders.add(folder)
            folder = folder.rpartition("/")[0]
    yield from _walk(root, "", set(known), folders, set(whole), own)


def _walk(
    root: Path, folder: str, known: set[str], folders: set[str], whole: set[str], own: UserData
) -> Iterator[tuple[str, int]]:
    try:
        entries = sorted(os.scandir(root / folder), key=lambda entry: entry.name)
    except OSError:
        return
    for entry in entries:
        path = f"{folder}/{entry.name}" if folder else entry.name
        if path in whole or path in own.helpers or entry.name in own.ignored or own.owns(path):
            continue
        if not entry.is_dir(follow_symlinks=False):
            if path not in known:
                yield path, 1
        elif path in folders:
            yield from _walk(root, path, known, folders, whole, own)
        elif path not in known and path != own.nodes:
            count = _count(root / path, own.ignored)
            if count:
                yield f"{path}/", count


def _count(folder: Path, ignored: frozenset[str]) -> int:
    count = 0
    for _, folders, files in os.walk(folder):
        folders[:] = [name for name in folders if name not in ignored]
        count += len(files)
    return count


def read_removed(path: Path) -> dict[str, Removed]:
    """By path from the bundle's root (a folder that went whole ends with /), the rule of portable/removed.json.

    Empty if there is no such record, or none that can be read: it only explains.
    """
    try:
        rules: Any = json.loads(path.read_text(encoding="utf-8"))["rules"]
        return {
            f"{folder}/{name}" if folder else name: Removed(rule=rule["id"], why=rule["why"])
            for rule in rules
            for folder, names in rule.get("removed", {}).items()
            for name in names
        }
    except (OSError, ValueError, LookupError, TypeError, AttributeError):
        return {}


def why_removed(path: str, removed: Mapping[str, Removed]) -> Removed | None:
    """The rule by which `path`, or a folder above it, was left out."""
    bare = path.rstrip("/")
    if found := removed.get(bare) or removed.get(f"{bare}/"):
        return found
    while bare := bare.rpartition("/")[0]:
        if found := removed.get(f"{bare}/"):
            return found
    return None
