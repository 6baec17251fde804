"""Reading a tree into a manifest: what may be archived, with normalised modes and the hash of every file."""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Collection, Iterator, Mapping
from contextlib import closing
from pathlib import Path
from typing import Any

from packager.archive.manifest import Entry, Manifest, sort_key
from packager.archive.names import MAX_DEPTH, case_collisions, link_faults, name_fault
from packager.archive.pipeline import ordered
from packager.archive.tree_files import read_whole, unreadable
from packager.errors import InputError
from packager.filesystem import sha256_file

_BATCH = 64  # files hashed in one job, at most
_BATCH_BYTES = 4 * 1024 * 1024  # bytes hashed in one job, but for its last file


def scan(
    root: Path,
    *,
    threads: int,
    bundle: Mapping[str, Any] | None = None,
    windows: bool = False,
    case_insensitive: bool = False,
    exclude: Collection[str] = (),
) -> Manifest:
    """The manifest of the tree below `root`, hashed by `threads` threads.

    Modes become 0755 or 0644 by the owner's execute bit. `exclude` are paths left out. `windows`: the target's names
    must do for Windows, and it takes no links. Raises InputError, naming the file and the remedy, for a socket, fifo or
    device, an unreadable or unfit name, and a link that is absolute, circular or leads out of `root`.
    """
    if not root.is_dir():
        raise InputError("it is not a folder", where=str(root), remedy="give the folder to archive")
    found = sorted((item for item in _walk(root, "") if item.path not in exclude), key=lambda item: sort_key(item.path))
    _check(found, windows=windows, case_insensitive=case_insensitive)
    files = [entry for entry in found if entry.kind == "file"]

    def hashes(batch: list[Entry]) -> list[tuple[str, str]]:
        return [(entry.path, _sha256(root, entry)) for entry in batch]

    results = ordered(_batches(files), hashes, threads=threads, budget=threads * 4, cost=lambda _: 1)
    with closing(results):
        digests = dict(pair for batch in results for pair in batch)
    entries = tuple(
        Entry(path=e.path, kind="file", mode=e.mode, size=e.size, sha256=digests[e.path]) if e.kind == "file" else e
        for e in found
    )
    return Manifest(bundle=dict(bundle or {}), entries=entries)


def _batches(files: list[Entry]) -> Iterator[list[Entry]]:
    """Large files first, so that no thread is left alone with one at the end."""
    batch: list[Entry] = []
    size = 0
    for entry in sorted(files, key=lambda entry: (-entry.size, entry.path)):
        batch.append(entry)
        size += entry.size
        if len(batch) == _BATCH or size >= _BATCH_BYTES:
            yield batch
            batch, size = [], 0
    if batch:
        yield batch


def _walk(folder: Path, prefix: str) -> Iterator[Entry]:
    with os.scandir(folder) as items:
        listed = list(items)
    if not listed and prefix:
        yield Entry(path=prefix[:-1], kind="directory", mode=0o755)
    for item in listed:
        path = prefix + item.name
        if item.is_symlink():
            yield Entry(path=path, kind="link", mode=0o777, target=os.readlink(item.path))  # noqa: PTH115 -- as it is spelled
        elif item.is_dir():
            if path.count("/") >= MAX_DEPTH - 2:  # below it lies a name, above it the archive's own folder
                raise InputError(
                    f"folders are nested more than {MAX_DEPTH - 2} deep, and no such archive is unpacked again",
                    where=path,
                    remedy="shorten the path or remove it with a clean-up rule",
                )
            yield from _walk(Path(item.path), path + "/")
        else:
            yield _file(path, item.stat(follow_symlinks=False))


def _file(path: str, status: os.stat_result) -> Entry:
    if not stat.S_ISREG(status.st_mode):
        raise InputError(
            "it is a socket, fifo or device, which no archive can carry", where=path, remedy="delete it or leave it out"
        )
    mode = 0o755 if status.st_mode & stat.S_IXUSR else 0o644
    return Entry(path=path, kind="file", mode=mode, size=status.st_size)


def _sha256(root: Path, entry: Entry) -> str:
    if entry.size <= _BATCH_BYTES:
        return hashlib.sha256(read_whole(root, entry)).hexdigest()
    try:
        return sha256_file(root / entry.path)
    except OSError as error:
        raise unreadable(entry, error) from error


def _check(entries: list[Entry], *, windows: bool, case_insensitive: bool) -> None:
    for entry in entries:
        if fault := name_fault(entry.path, windows=windows):
            where = entry.path.encode(errors="backslashreplace").decode()
            raise InputError(fault, where=where, remedy="rename the file or remove it with a clean-up rule")
    links = {entry.path: entry.target for entry in entries if entry.kind == "link"}
    if links and windows:
        names = ", ".join(list(links)[:10])
        raise InputError(
            f"{len(links)} symbolic links, which Windows unpacks as text files: {names}",
            remedy="replace each link by a copy of what it points to",
        )
    for path, fault in link_faults(links, ignore_case=case_insensitive):
        raise InputError(fault, where=path, remedy="make it a relative link to a file inside the folder, or a copy")
    if case_insensitive:
        for first, second in case_collisions(entry.path for entry in entries):
            raise InputError(
                f"it is the same name as {first} where case does not count", where=second, remedy="rename one of them"
            )
