"""Repositories into a folder that can be carried elsewhere: each as a bare repository of one commit, or a plain folder.

Not as bundle files: `git bundle` cannot hold a commit without its history, which the cache does not have either.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from packager.console import Console
from packager.fetch.cache import Cache, disk_errors
from packager.fetch.folder import copy_folder
from packager.fetch.git import run_git
from packager.fetch.means import Means
from packager.fetch.mirrors import Mirrors
from packager.fetch.repository import Repository
from packager.fetch.sources import Pin
from packager.fetch.submodules import read_layers
from packager.filesystem import remove_tree


@dataclass(frozen=True, kw_only=True)
class Collected:
    """`url` is what the pin or a submodule calls it; `path` is where it lies now."""

    url: str
    path: Path


def collect(
    pin: Pin, folder: Path, *, cache: Cache, mirrors: Mirrors, console: Console, offline: bool
) -> list[Collected]:
    """Put the repository of `pin` and its submodules into `folder`, the pin's own first.

    Raises InputError for what is refused, FetchError if something can't be had.
    """
    means = Means(cache=cache, mirrors=mirrors, console=console, offline=offline)
    location, is_repository = means.locate(pin.url)
    if not is_repository:
        copy_folder(Path(location), folder / pin.name)
        return [Collected(url=pin.url, path=folder / pin.name)]
    collected = []
    for number, layer in enumerate(read_layers(pin.url, pin.commit, means)):
        path = folder / (f"{pin.name}-submodule{number}.git" if number else f"{pin.name}.git")

        def copy(repository: Repository, commit: str = layer.commit, path: Path = path) -> None:
            copy_commit(repository, repository.obtain(commit), path, means)

        means.use(layer.location, copy, writes=folder)
        collected.append(Collected(url=layer.url, path=path))
    return collected


def copy_commit(repository: Repository, commit: str, folder: Path, means: Means) -> None:
    """Make `folder` anew, a bare repository with the commit as its only branch."""
    remove_tree(folder)
    with disk_errors(folder.parent, None):
        folder.parent.mkdir(parents=True, exist_ok=True)
    location = str(folder.absolute())
    for words in (("init", "--bare", "--quiet", "--template="), ("config", "receive.shallowUpdate", "true")):
        run_git(*words, folder=folder, location=location, cancel=means.cancel)
    run_git(
        "push",
        "--quiet",
        "--",
        folder.absolute().as_uri(),
        f"{commit}:refs/heads/main",
        folder=repository.path,
        location=location,
        cancel=means.cancel,
    )
