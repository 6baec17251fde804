"""Which lock a build goes by: the one given, the one beside the recipe, or a new one."""

from __future__ import annotations

import os
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

from packaging.utils import canonicalize_name

from packager import resources, uv
from packager.console import Console
from packager.errors import InputError
from packager.filesystem import sha256_file
from packager.journal import Journal, digest
from packager.lock import Lock, load_lock
from packager.origins import Origins
from packager.recipe import Recipe
from packager.resolve import check_source_names, public_address, resolve
from packager.targets import Target

# The program's parts that decide what a lock holds.
_RESOLVING = {"accelerators", "lock.py", "pins.py", "resolution", "resolve.py", "uv.py"}


def beside_recipe(recipe: Recipe, target: Target) -> Path:
    """Where the lock of `recipe` lies that its author keeps: one a target and accelerator."""
    build = f"{target.name}-{recipe.accelerator}" if recipe.accelerator else target.name
    return recipe.path.with_name(f"{recipe.path.stem}.{build}.lock.json")


@dataclass(frozen=True, kw_only=True)
class Locking:
    """`runtime` tells equal Pythons from different ones (Lock.runtime); `work` is the build's folder."""

    recipe: Recipe
    target: Target
    runtime: dict[str, str]
    origins: Origins
    work: Path
    console: Console

    @property
    def beside_recipe(self) -> Path:
        """Where `packager lock` writes, and a build looks."""
        return beside_recipe(self.recipe, self.target)

    def obtain(self, journal: Journal, given: Path | None, *, refresh: bool = False) -> Lock:
        """The lock to build from; a copy lies in the work folder as lock.json, so that a build can be repeated.

        With `refresh` a stale lock is made anew in its place. A new resolution is reused while recipe, Python, local
        repositories and wheels are the same; a remote branch is not asked again where it stands. Raises InputError for
        a lock that does not fit.
        """
        check_source_names(self.recipe, self.origins.settings)
        path = self.work / "lock.json"
        given = given or (self.beside_recipe if self.beside_recipe.is_file() else None)
        if given and refresh and given.is_file():
            self.refresh(given)
        inputs = digest(sha256_file(given)) if given else self._inputs()

        def action() -> str:
            self.console.step("resolve")
            lock = self.checked(given) if given else self.resolve()
            lock.save(path)
            return lock.digest

        def intact(result: str) -> bool:
            return path.is_file() and load_lock(path).digest == result

        journal.run("resolve", inputs, action, intact=intact)
        return self.checked(path)

    def refresh(self, path: Path, *, upgrade: Collection[str] | None = None) -> None:
        """Make the lock at `path` anew if it is stale or not there.

        With `upgrade`, always: only what it names may change then, and everything if it names nothing. What a stale
        lock holds is kept as far as the recipe still allows it. Raises InputError for a name the lock does not hold.
        """
        previous = self._previous(path) if upgrade != () else None
        if previous and upgrade:
            _check_names(previous, upgrade, path)
        if previous is None or upgrade or self.staleness(previous):
            self.resolve(previous, upgrade or ()).save(path)

    def _previous(self, path: Path) -> Lock | None:
        """The lock at `path`; one that cannot be read counts as none, since it is about to be replaced."""
        try:
            return load_lock(path) if path.is_file() else None
        except InputError as error:
            self.console.warn(str(error))
            return None

    def resolve(self, previous: Lock | None = None, upgrade: Collection[str] = ()) -> Lock:
        return resolve(
            self.recipe,
            target=self.target,
            runtime=self.runtime,
            origins=self.origins,
            work=self.work / "resolve",
            console=self.console,
            previous=previous,
            upgrade=upgrade,
        )

    def checked(self, path: Path) -> Lock:
        """The lock at `path`. Raises InputError if it is not one for this build."""
        lock = load_lock(path)
        if why := self.staleness(lock):
            raise InputError(
                f"does not fit this build: {why}",
                where=str(path),
                remedy="make it anew with `packager lock RECIPE`, or build with --refresh-lock",
            )
        return lock

    def staleness(self, lock: Lock) -> str | None:
        """Why `lock` is not one for this build; None if it is."""
        repositories = [(repo.name, public_address(repo.url)) for repo in self.recipe.repositories]
        for what, locked, wanted in (
            ("the recipe", lock.recipe_digest, self.recipe.digest),
            ("the target", lock.target, self.target.name),
            ("the accelerator", lock.accelerator, self.recipe.accelerator),
            ("the Python", lock.runtime, self.runtime),
            ("what the recipe names", [(repo.name, repo.url) for repo in lock.repositories], repositories),
        ):
            if locked != wanted:
                return f"{what} has changed since it was made"
        return None

    def _inputs(self) -> str:
        """What a new resolution depends on, as far as it can be told without the network."""
        wheels = self.origins.wheels
        return digest(
            self.recipe.digest,
            self.recipe.accelerator,
            self.target.name,
            self.runtime,
            self.origins.settings,
            {path.name: sha256_file(path) for path in wheels.iterdir() if path.is_file()} if wheels else {},
            [pin.tree for pin in self.origins.local_pins(self.recipe)],
            uv.version(),
            {name: value for name, value in os.environ.items() if name.startswith("UV_")},
            {name: value for name, value in resources.program_digests().items() if name in _RESOLVING},
        )


def _check_names(lock: Lock, names: Collection[str], path: Path) -> None:
    added = [package for addition in lock.additions for package in addition.packages]
    held = [item.name for items in (lock.repositories, lock.packages, lock.additions, added) for item in items]
    known = set(map(canonicalize_name, held))
    for name in names:
        if canonicalize_name(name) not in known:
            raise InputError(
                f"holds no package, repository or addition '{name}'",
                where=str(path),
                remedy="see --explain, or check the name",
            )
