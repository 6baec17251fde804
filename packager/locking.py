"""Which lock a build goes by: the one given, the one beside the recipe, or a new one."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from packager.console import Console
from packager.errors import InputError
from packager.filesystem import sha256_file
from packager.journal import Journal, digest
from packager.lock import Lock, load_lock
from packager.origins import Origins
from packager.recipe import Recipe
from packager.resolve import check_source_names, resolve
from packager.targets import Target


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
        return self.recipe.path.with_name(f"{self.recipe.path.stem}.{self.target.name}.lock.json")

    def obtain(self, journal: Journal, given: Path | None) -> Lock:
        """The lock to build from; a copy lies in the work folder as lock.json, so that a build can be repeated.

        A new resolution is reused while recipe, Python, local repositories and wheels are the same; a remote branch is
        not asked again where it stands. Raises InputError for a lock that does not fit.
        """
        check_source_names(self.recipe, self.origins.settings)
        path = self.work / "lock.json"
        given = given or (self.beside_recipe if self.beside_recipe.is_file() else None)
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

    def resolve(self) -> Lock:
        return resolve(
            self.recipe,
            target=self.target,
            runtime=self.runtime,
            origins=self.origins,
            work=self.work / "resolve",
            console=self.console,
        )

    def checked(self, path: Path) -> Lock:
        """The lock at `path`. Raises InputError if it is not one for this build."""
        lock = load_lock(path)
        if why := self.staleness(lock):
            raise InputError(
                f"does not fit this build: {why}",
                where=str(path),
                remedy="make it anew: packager lock RECIPE --upgrade",
            )
        return lock

    def staleness(self, lock: Lock) -> str | None:
        """Why `lock` is not one for this build; None if it is."""
        for what, locked, wanted in (
            ("the recipe", lock.recipe_digest, self.recipe.digest),
            ("the target", lock.target, self.target.name),
            ("the accelerator", lock.accelerator, self.recipe.accelerator),
            ("the Python", lock.runtime, self.runtime),
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
            sorted(path.name for path in wheels.iterdir()) if wheels else [],
            [pin.tree for pin in self.origins.local_pins(self.recipe)],
        )
