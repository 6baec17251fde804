"""The matrix of a release: one row a bundle, target x accelerator, with the machine that builds and proves it."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from packager.accelerators import AUTO, accelerators
from packager.document import check_schema, read_document
from packager.errors import DocumentError, InputError
from packager.recipe import Recipe
from packager.release import file_stem
from packager.targets import TARGETS, Target, get


@dataclass(frozen=True, kw_only=True)
class Row:
    """One bundle of a release. `accelerator` is "" where the recipe leaves torch to the package index.

    `stem` begins the names of its files; `runner` is a runner image's label; `free_disk` are folders of that image to
    remove first.
    """

    target: str
    accelerator: str
    stem: str
    runner: str
    free_disk: tuple[str, ...]

    @property
    def place(self) -> str:
        """Target, and accelerator if there is one: what is the same in every release."""
        return f"{self.target}-{self.accelerator}" if self.accelerator else self.target

    def to_json(self) -> dict[str, Any]:
        return {**dataclasses.asdict(self), "free_disk": " ".join(self.free_disk)}


@functools.cache
def runners() -> dict[str, Any]:
    """runners.yml as it is. Raises DocumentError if it does not keep its schema."""
    folder = Path(__file__).parent
    document = read_document(folder / "runners.yml")
    if faults := check_schema(document, read_document(folder / "runners.schema.json").value):
        raise DocumentError(faults)
    value: dict[str, Any] = document.value
    return value


def plan_matrix(
    recipe: Recipe, *, targets: Collection[str] = (), accelerators_asked: Collection[str] = ()
) -> tuple[Row, ...]:
    """The rows of a release of `recipe`, in the order of the targets' table, then of the accelerators asked for.

    What is not given comes from the recipe's `release`; without that, every target its runtime serves and the
    recipe's own accelerator. A target for which an accelerator has no build of torch gets no row of it. Raises
    InputError if nothing is left, or if the accelerator is `auto`, which means a machine and not a release.
    """
    wanted = [name for name in TARGETS if name in (targets or recipe.release.targets or TARGETS)]
    for name in targets:
        get(name)
    if recipe.runtime == "host":
        wanted = [name for name in wanted if get(name).os == "linux"]
    asked = list(accelerators_asked or recipe.release.accelerators or [recipe.accelerator or ""])
    _check_accelerators(recipe, asked)
    rows = tuple(_row(recipe, get(name), accelerator) for name in wanted for accelerator in _of(get(name), asked))
    if not rows:
        raise InputError(
            f"no bundle would be made: {', '.join(asked)} for {', '.join(wanted) or 'no target'}",
            where=str(recipe.path),
            remedy="give other targets or accelerators (release: in the recipe, --target, --accelerator)",
        )
    return rows


def with_accelerator(recipe: Recipe, row: Row) -> Recipe:
    """The recipe of one row."""
    return dataclasses.replace(recipe, accelerator=row.accelerator or None)


def _of(target: Target, asked: Collection[str]) -> list[str]:
    return [name for name in asked if not name or target.name in accelerators()[name].targets]


def _row(recipe: Recipe, target: Target, accelerator: str) -> Row:
    facts = runners()
    runner = facts["runners"][target.name]
    return Row(
        target=target.name,
        accelerator=accelerator,
        stem=file_stem(dataclasses.replace(recipe, accelerator=accelerator or None), target),
        runner=runner["label"],
        free_disk=tuple(facts["free_disk"].get(target.os, ())) if runner["free_disk"] else (),
    )


def _check_accelerators(recipe: Recipe, asked: Collection[str]) -> None:
    for name in asked:
        if name == AUTO:
            raise InputError(
                "`auto` asks the machine that builds, and a release is for others",
                where=f"{recipe.path}: accelerator",
                remedy="name them: release.accelerators, or --accelerator",
            )
        if name and name not in accelerators():
            raise InputError(
                f"unknown accelerator '{name}'", where="--accelerator", remedy=f"use one of {', '.join(accelerators())}"
            )
