"""What fetching repositories works with, and being alone with one of them."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TypeVar

from packager.console import Console
from packager.fetch import parallel
from packager.fetch.cache import Cache, disk_errors, no_room
from packager.fetch.folder import find_local
from packager.fetch.git import GitError
from packager.fetch.mirrors import Mirrors, local_path
from packager.fetch.repository import Repository

T = TypeVar("T")


@dataclass(frozen=True, kw_only=True)
class Means:
    """`offline`: take nothing from another machine. `cancel` is set when another job failed."""

    cache: Cache
    mirrors: Mirrors
    console: Console
    offline: bool
    cancel: threading.Event = field(default_factory=threading.Event)

    def locate(self, url: str) -> tuple[str, bool]:
        """Where to take `url` from, and whether that is a repository (else a plain folder).

        Raises InputError for a URL that is refused, FetchError for a path where nothing is.
        """
        location = self.mirrors.rewrite(url)
        path = local_path(location)
        if path is None:
            return location, True
        found, is_repository = find_local(path)
        return str(found), is_repository

    def use(self, location: str, action: Callable[[Repository], T], *, writes: Path | None = None) -> T:
        """Do something alone with the cache's repository of `location`; once more from nothing if it proves damaged.

        `writes` is the folder that a full disk is told of, if not the cache.
        """
        path = self.cache.repository_path(location)
        with self.cache.lock(f"git-{path.stem}", waiting=partial(parallel.check, self.cancel)):
            repository = Repository(path, location, offline=self.offline, cancel=self.cancel)
            try:
                with disk_errors(path.parent, None):
                    repository.prepare()
                try:
                    return action(repository)
                except GitError as error:
                    if error.kind != "unknown" or not repository.rebuild():
                        raise
                    return action(repository)
            except GitError as error:
                if error.kind != "space":
                    raise
                raise no_room(writes or path.parent, None) from error
