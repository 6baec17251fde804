"""Where the things a recipe names come from on this machine. Shared by the stages that fetch."""

from __future__ import annotations

import io
from dataclasses import dataclass
from pathlib import Path

from packager.console import Console
from packager.fetch.cache import Cache
from packager.fetch.mirrors import Mirrors, as_location, local_path
from packager.fetch.sources import Pin, SourceRequest, pin_all
from packager.lock import Lock
from packager.recipe import Recipe
from packager.settings import Settings


@dataclass(frozen=True, kw_only=True)
class Origins:
    """Where things come from on this machine. `wheels` is a folder of wheels to use beside the index."""

    settings: Settings
    cache: Cache
    mirrors: Mirrors
    wheels: Path | None = None
    offline: bool = False

    def location(self, name: str, url: str) -> str:
        """The URL or folder to take the repository from: that of --source, else the recipe's."""
        place = self.settings.source(name)
        return as_location(place) if place else url

    def local_pins(self, recipe: Recipe) -> list[Pin]:
        """Where the repositories that lie on this machine stand now."""
        requests = [
            SourceRequest(name=repo.name, url=place, ref=repo.ref, commit=repo.commit)
            for repo in recipe.repositories
            if local_path(self.mirrors.rewrite(place := self.location(repo.name, repo.url)))
        ]
        silent = Console(quiet=True, stream=io.StringIO())  # the resolution says it all again, if there is one
        return pin_all(requests, cache=self.cache, mirrors=self.mirrors, console=silent, offline=self.offline)

    def pins(self, lock: Lock, recipe: Recipe) -> list[Pin]:
        """What to place for each repository of `lock`, ComfyUI first. `recipe` is the one the lock was made of."""
        urls = {repo.name: repo.url for repo in recipe.repositories}
        return [
            Pin(
                name=repo.name,
                url=self.location(repo.name, urls[repo.name]),
                ref=repo.ref,
                commit=repo.commit,
                tree=repo.tree,
            )
            for repo in lock.repositories
        ]
