"""Where the things a recipe names come from on this machine. Shared by the stages that fetch."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from packager.fetch.cache import Cache
from packager.fetch.mirrors import Mirrors
from packager.fetch.sources import Pin
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
        return self.settings.source(name) or url

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
