"""Going back: before every change by itself, and by name. Nothing here needs the network.

Each committed transaction keeps what it replaced, which is the snapshot "before #7". A named snapshot holds every file
of every package, hard-linked where the disk can (pip replaces files and never writes into them; a file that was
written into all the same is noticed by its hash, and not put back).

    portable/state/snapshots/NAME/index.json   the files with size and hash, the packages, the nodes' versions
    portable/state/snapshots/NAME/files/N
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from portable.bundle import Bundle
from portable.changes import STATE, Record, sha256_of
from portable.disk import move, remove_tree, require_room
from portable.distributions import installed
from portable.errors import HelperError, UsageError
from portable.journal import Journal, sync_all, sync_file, write_json_durably
from portable.node_state import read_nodes

_FORMAT = 1
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]{0,63}")
_LIMITS = Path(__file__).absolute().with_name("snapshot_limits.json")


@dataclass(frozen=True, kw_only=True)
class Stored:
    """One file of a named snapshot; `number` is its place in `files/`. A link has its target instead of a hash."""

    path: str
    number: int
    size: int
    digest: str
    link: str | None = None


@dataclass(frozen=True, kw_only=True)
class Named:
    """A snapshot with a name: `packages` are versions by name, `nodes` as node_state.read_nodes gives them."""

    name: str
    created: float
    after: int
    packages: Mapping[str, str]
    nodes: Mapping[str, str]
    files: tuple[Stored, ...]
    folder: Path


def history(root: Path) -> list[Record]:
    """The committed transactions of the bundle in `root`, oldest first; what they replaced may have been pruned."""
    return [
        Record.load(folder / "transaction.json")
        for folder in sorted((root / STATE / "transactions").glob("[0-9]*"), key=lambda path: int(path.name))
        if Journal(folder / "journal.jsonl").state == "committed"
    ]


def folder_of(root: Path, number: int) -> Path:
    """Where transaction `number` lies."""
    return root / STATE / "transactions" / f"{number:04}"


def is_kept(root: Path, record: Record) -> bool:
    """Whether what the transaction replaced is still there, so that it can be undone."""
    return (folder_of(root, record.id) / "old").is_dir()


def in_effect(records: list[Record]) -> list[int]:
    """The numbers of the changes that are not undone, oldest first. Among them are rollbacks to a named snapshot, which
    are changes of their own, and not those that undo others."""
    before: dict[int, list[int]] = {}
    now: list[int] = []
    for record in records:
        before[record.id] = now
        undone_from = record.details.get("before") if record.kind == "rollback" else None
        now = [*now, record.id] if undone_from is None else before.get(int(undone_from), now)
    return now


def take(bundle: Bundle, name: str) -> Named:
    """Make a named snapshot of all packages; the caller holds the lock. Raises UsageError for a taken or odd name."""
    if not _NAME.fullmatch(name):
        raise UsageError(
            f"{name!r} cannot be a snapshot's name: letters, digits, - _ and . after a letter, 64 at most."
        )
    folder = bundle.root / STATE / "snapshots" / name
    if folder.exists():
        raise UsageError(f"There is a snapshot {name!r} already: choose another name, or `snapshots --delete {name}`.")
    making = folder.with_name(f".{name}.making")
    remove_tree(making)
    (making / "files").mkdir(parents=True)
    try:
        there = installed(bundle.root)
        paths = sorted({path for package in there.values() for path in package.files(bundle.root)})
        files = [_store(bundle.root, path, making / "files" / str(number), number) for number, path in enumerate(paths)]
        records = history(bundle.root)
        index = {
            "format": _FORMAT,
            "created": time.time(),
            "after": records[-1].id if records else 0,
            "packages": {package.name: package.version for package in there.values()},
            "nodes": read_nodes(bundle.app_dir / "custom_nodes"),
            "files": [vars(file) for file in files],
        }
        sync_all([making / "files"])
        write_json_durably(making / "index.json", index)
        move(making, folder)
        sync_file(folder.parent)
    except BaseException:
        remove_tree(making)
        raise
    return load(bundle.root, name)


def _store(root: Path, path: str, place: Path, number: int) -> Stored:
    source = root / path
    if source.is_symlink():
        return Stored(path=path, number=number, size=0, digest="", link=os.readlink(source))  # noqa: PTH115 - its exact text
    size = source.stat().st_size
    try:
        os.link(source, place)
    except OSError:  # a disk without hard links, or no more of them
        require_room(root, size)
        shutil.copy2(source, place)
    return Stored(path=path, number=number, size=size, digest=sha256_of(place))


def load(root: Path, name: str) -> Named:
    """The snapshot of that name. Raises HelperError if there is none, or it cannot be read."""
    folder = root / STATE / "snapshots" / name
    if not _NAME.fullmatch(name) or not (folder / "index.json").is_file():
        raise UsageError(f"There is no snapshot {name!r}: `manage snapshots` lists those that are.")
    try:
        value: Any = json.loads((folder / "index.json").read_text(encoding="utf-8"))
        if value.pop("format") != _FORMAT:
            raise HelperError(f"{folder} has another format than these helpers read.")
        files = tuple(Stored(**item) for item in value.pop("files"))
        return Named(name=name, folder=folder, files=files, **value)
    except (OSError, ValueError, LookupError, TypeError) as error:
        raise HelperError(f"{folder} cannot be read: {error}") from error


def named(root: Path) -> list[Named]:
    """All named snapshots, oldest first."""
    folder = root / STATE / "snapshots"
    names = [path.name for path in folder.iterdir() if _NAME.fullmatch(path.name)] if folder.is_dir() else []
    return sorted((load(root, name) for name in names), key=lambda snapshot: snapshot.created)


def delete(root: Path, name: str) -> None:
    """Delete a named snapshot. Raises UsageError if there is none."""
    folder = load(root, name).folder
    going = folder.with_name(f".{name}.going")
    remove_tree(going)
    move(folder, going)  # first out of sight, so that a kill leaves no half of one
    remove_tree(going)


def size_on_disk(folder: Path) -> int:
    """Bytes that deleting `folder` would free: files that are linked from elsewhere do not count."""
    return sum(status.st_size for status in _files(folder) if status.st_nlink == 1)


def _files(folder: Path) -> Iterator[os.stat_result]:
    for base, _, names in os.walk(folder):
        for name in names:
            with contextlib.suppress(OSError):
                yield Path(base, name).lstat()


def prune(root: Path) -> list[int]:
    """Forget the oldest automatic snapshots beyond the limits of snapshot_limits.json; returns their numbers.

    The latest always stays. What a transaction changed stays on record; it can no longer be undone.
    """
    limits = json.loads(_LIMITS.read_text(encoding="utf-8"))
    pruned, count, size = [], 0, 0
    for record in reversed(history(root)):
        old = folder_of(root, record.id) / "old"
        if not old.is_dir():
            continue
        count, size = count + 1, size + size_on_disk(old)
        if count > 1 and (count > limits["count"] or size > limits["bytes"]):
            going = old.with_name("pruned")
            move(old, going)
            remove_tree(going)
            pruned.append(record.id)
    transactions = root / STATE / "transactions"
    for folder in (
        *(root / STATE / "snapshots").glob(".*"),
        *transactions.glob("*/pruned"),
        *transactions.glob("*/work-*"),
    ):
        remove_tree(folder)  # what a kill left
    return sorted(pruned)
