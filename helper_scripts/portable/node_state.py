"""Which version each custom node is at, told without git: what a snapshot records of them."""

from __future__ import annotations

import re
from pathlib import Path

from portable.changes import digest_of_files, files_below, sha256_of

_COMMIT = re.compile(r"[0-9a-f]{40,64}")
_LARGEST = 1024 * 1024  # bytes; of larger files the size counts, for a node may hold models


def read_nodes(nodes: Path) -> dict[str, str]:
    """By folder or file name in `nodes` (custom_nodes): `git:COMMIT`, or `tree:SHA256` of its files where git is not
    used."""
    if not nodes.is_dir():
        return {}
    return {path.name: describe_node(path) for path in sorted(nodes.iterdir()) if _is_node(path)}


def _is_node(path: Path) -> bool:
    return not path.name.startswith((".", "__")) and (path.is_dir() or path.suffix == ".py")


def describe_node(path: Path) -> str:
    """The commit its `.git` names, else a digest of its files. `unreadable` if neither can be had."""
    try:
        commit = _commit(path / ".git")
        if commit:
            return f"git:{commit}"
        if path.is_file():
            return f"tree:{sha256_of(path)}"
        return (
            f"tree:{digest_of_files({file.relative_to(path).as_posix(): _brief(file) for file in files_below(path)})}"
        )
    except (OSError, ValueError):
        return "unreadable"


def _brief(file: Path) -> str:
    size = file.stat().st_size
    return sha256_of(file) if size <= _LARGEST else f"{size} bytes"


def _commit(git: Path) -> str:
    """What HEAD leads to; an empty text if that is not told by files (gitrepository-layout, packed-refs)."""
    if git.is_file():  # a submodule or work tree: `gitdir: PATH`
        git = git.parent / git.read_text(encoding="utf-8").partition(":")[2].strip()
    if not (git / "HEAD").is_file():
        return ""
    head = (git / "HEAD").read_text(encoding="utf-8").strip()
    if not head.startswith("ref: "):
        return head if _COMMIT.fullmatch(head) else ""
    name = head.removeprefix("ref: ").strip()
    if ".." in name.split("/"):
        return ""
    loose = git / name
    if loose.is_file():
        commit = loose.read_text(encoding="utf-8").strip()
    else:
        packed = (git / "packed-refs").read_text(encoding="utf-8") if (git / "packed-refs").is_file() else ""
        commit = next((line.split()[0] for line in packed.splitlines() if line.endswith(f" {name}")), "")
    return commit if _COMMIT.fullmatch(commit) else ""
