"""Repositories and folders: which commit a recipe's words mean (`pin`), and its files at their place (`place`)."""

from __future__ import annotations

import threading
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from packager.console import Console
from packager.errors import FetchError, InputError
from packager.fetch import parallel
from packager.fetch.cache import Cache, check_room, disk_errors
from packager.fetch.folder import copy_folder, folder_digest
from packager.fetch.git import check_ref, is_id
from packager.fetch.means import Means
from packager.fetch.mirrors import Mirrors, redact
from packager.fetch.repository import Repository
from packager.fetch.submodules import Layer, read_layers
from packager.fetch.tree import export, is_placed
from packager.filesystem import remove_tree

WORKERS = 4


@dataclass(frozen=True, kw_only=True)
class SourceRequest:
    """`url`: an allowed URL or a folder. `ref`: branch, tag, full ref or commit id, None for the default branch.
    `commit`: a commit id, which wins over `ref`. A plain folder has neither."""

    name: str
    url: str
    ref: str | None = None
    commit: str | None = None


@dataclass(frozen=True, kw_only=True)
class Pin:
    """Exactly what will be placed: full ids of the commit and its tree.

    A plain folder has commit "" and tree "sha256:" + packager.filesystem.tree_digest, without .git and __pycache__.
    """

    name: str
    url: str
    ref: str | None
    commit: str
    tree: str


def pin(request: SourceRequest, *, cache: Cache, mirrors: Mirrors, console: Console, offline: bool = False) -> Pin:
    """Find out which commit the request means and have it in the cache.

    Raises InputError for a URL or ref that is refused, FetchError if it can't be had.
    """
    return _pin(request, Means(cache=cache, mirrors=mirrors, console=console, offline=offline))


def pin_all(
    requests: Sequence[SourceRequest],
    *,
    cache: Cache,
    mirrors: Mirrors,
    console: Console,
    offline: bool = False,
    workers: int = WORKERS,
) -> list[Pin]:
    """`pin`, several at once. The first error stops the rest; several errors are told in one."""
    with console.bar("repositories found", len(requests), unit="repositories") as advance:

        def job(request: SourceRequest, cancel: threading.Event) -> Pin:
            means = Means(cache=cache, mirrors=mirrors, console=console, offline=offline, cancel=cancel)
            found = _pin(request, means)
            advance(1)
            return found

        return parallel.run_all([partial(job, request) for request in requests], workers=workers)


def place(
    pin: Pin,
    destination: Path,
    *,
    cache: Cache,
    mirrors: Mirrors,
    console: Console,
    offline: bool = False,
    replace: bool = False,
) -> bool:
    """Put the files of `pin`, submodules and all, at `destination`, without any .git. False if they are there already.

    The folder appears whole, by rename. What else is at `destination` is an error, unless `replace` says to delete it.
    Raises InputError for a tree that would write outside, FetchError if it can't be had.
    """
    means = Means(cache=cache, mirrors=mirrors, console=console, offline=offline)
    return _place(pin, destination, means, replace=replace, apart=())


def place_all(
    pins: Sequence[tuple[Pin, Path]],
    *,
    cache: Cache,
    mirrors: Mirrors,
    console: Console,
    offline: bool = False,
    replace: bool = False,
    workers: int = WORKERS,
) -> list[bool]:
    """`place`, several at once. A destination inside another waits for that one, and doesn't count as part of it.

    The first error stops the rest; several errors are told in one.
    """
    with console.bar("repositories placed", len(pins), unit="repositories") as advance:

        def job(number: int, cancel: threading.Event) -> bool:
            means = Means(cache=cache, mirrors=mirrors, console=console, offline=offline, cancel=cancel)
            wanted, path = pins[number]
            apart = [other for _, other in pins if other != path and other.is_relative_to(path)]
            placed = _place(wanted, path, means, replace=replace, apart=apart)
            advance(1)
            return placed

        results: dict[int, bool] = {}
        depths = [sum(path != other and path.is_relative_to(other) for _, other in pins) for _, path in pins]
        for depth in sorted(set(depths)):
            numbers = [number for number in range(len(pins)) if depths[number] == depth]
            done = parallel.run_all([partial(job, number) for number in numbers], workers=workers)
            results.update(zip(numbers, done, strict=True))
        return [results[number] for number in range(len(pins))]


def _pin(request: SourceRequest, means: Means) -> Pin:
    for field_name, word in (("ref", request.ref), ("commit", request.commit)):
        if word is not None:
            check_ref(word, where=f"{request.name}: {field_name}")
    location, is_repository = means.locate(request.url)
    if not is_repository:
        if request.ref or request.commit:
            means.console.warn(
                f"{request.name}: {location} is a plain folder; '{request.commit or request.ref}' is ignored"
            )
        return Pin(name=request.name, url=request.url, ref=request.ref, commit="", tree=folder_digest(Path(location)))

    def resolve(repository: Repository) -> tuple[str, str]:
        commit = repository.resolve(request.commit or request.ref)
        return commit, repository.tree_of(commit)

    commit, tree = means.use(location, resolve)
    means.console.detail(f"{request.name}: {request.ref or 'HEAD'} is {commit}")
    if (Path(location) / ".git").exists():
        means.console.info(f"{request.name}: commit {commit[:12]} of {location}, without what is not committed there")
    return Pin(name=request.name, url=request.url, ref=request.ref, commit=commit, tree=tree)


def _place(pin: Pin, destination: Path, means: Means, *, replace: bool, apart: Collection[Path]) -> bool:
    if destination.is_symlink() or (destination.exists() and not destination.is_dir()):
        raise InputError("is not a folder", where=str(destination), remedy="move it away")
    location, is_repository = means.locate(pin.url)
    if is_repository != bool(pin.commit):
        now = "a repository" if is_repository else "a plain folder"
        raise FetchError(f"{pin.name} is {now} now", where=redact(location), remedy="make the lock anew")
    layers = _layers(pin, location, means) if is_repository else []
    if destination.is_dir() and any(destination.iterdir()):
        if _is_there(pin, destination, layers, apart):
            return False
        if not replace:
            raise InputError(
                f"holds something else than {pin.name} at {pin.commit[:12] or 'this state'}",
                where=str(destination),
                remedy="move it away, or give another folder",
            )
    staging = destination.with_name(f".{destination.name}.part")
    try:
        with disk_errors(destination.parent, None):
            _fill(staging, pin, location, layers, means)
            if destination.exists():
                remove_tree(destination)
            staging.rename(destination)
    except BaseException:
        remove_tree(staging)
        raise
    return True


def _is_there(pin: Pin, destination: Path, layers: Sequence[Layer], apart: Collection[Path]) -> bool:
    if not layers:
        return folder_digest(destination, apart=apart) == pin.tree
    entries = {layer.folder + entry.path: entry for layer in layers for entry in layer.entries}
    return is_placed(destination, entries, apart=apart)


def _fill(staging: Path, pin: Pin, location: str, layers: Sequence[Layer], means: Means) -> None:
    if not layers:
        copy_folder(Path(location), staging)
        if folder_digest(staging) != pin.tree:
            raise FetchError("the folder has changed since it was pinned", where=location, remedy="make the lock anew")
        return
    staging.parent.mkdir(parents=True, exist_ok=True)
    # git says no more than "unable to write file" when the disk is full.
    check_room(staging.parent, sum(entry.size for layer in layers for entry in layer.entries))
    for layer in layers:

        def write(repository: Repository, layer: Layer = layer) -> None:
            export(repository, repository.obtain(layer.commit), staging / layer.folder)

        means.use(layer.location, write, writes=staging.parent)


def _layers(pin: Pin, location: str, means: Means) -> list[Layer]:
    """What `pin` consists of; all of it is in the cache then. Raises FetchError if it isn't what was pinned."""
    if not is_id(pin.commit):
        raise InputError(f"'{pin.commit}' is not a full commit id", where=pin.name, remedy="make the lock anew")

    def read(repository: Repository) -> str:
        return repository.tree_of(repository.obtain(pin.commit))

    tree = means.use(location, read)
    if tree != pin.tree:
        raise FetchError(
            f"commit {pin.commit} has the tree {tree}, the lock says {pin.tree}",
            where=redact(location),
            remedy="make the lock anew",
        )
    return read_layers(pin.url, pin.commit, means)
