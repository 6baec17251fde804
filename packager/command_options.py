"""What the words of a command line ask for: the recipe with their changes, and the options of a build."""

from __future__ import annotations

import dataclasses
from argparse import Namespace
from pathlib import Path
from typing import Any

from packager import targets
from packager.accelerators import AUTO, detect
from packager.build_options import BuildOptions
from packager.console import Console
from packager.errors import InputError
from packager.fetch.cache import Cache, default_cache_root
from packager.fetch.mirrors import Mirrors
from packager.gathering.gather import open_gathered
from packager.origins import Origins
from packager.parts import parse_size
from packager.recipe import Recipe, checked_version, find_recipe, load_recipe
from packager.settings import load_settings


def recipe_of(words: Namespace) -> Recipe:
    """The recipe with what the command line says in its place."""
    recipe = load_recipe(find_recipe(words.recipe))
    given = vars(words)
    changes: dict[str, Any] = {}
    if given.get("accelerator"):
        changes["accelerator"] = words.accelerator
    if given.get("runtime"):
        changes |= {"runtime": words.runtime, "names_runtime": True}
    if given.get("bundle_version"):
        changes["version"] = checked_version(words.bundle_version)
    if given.get("format"):
        changes["archive"] = dataclasses.replace(recipe.archive, formats=tuple(dict.fromkeys(words.format)))
    if given.get("max_part_size"):
        size = parse_size(words.max_part_size, where="--max-part-size")
        changes["archive"] = dataclasses.replace(changes.get("archive", recipe.archive), max_part_size=size)
    if given.get("tier"):
        changes["cleanup"] = dataclasses.replace(recipe.cleanup, tier=words.tier)
    if given.get("no_oracle"):
        changes["cleanup"] = dataclasses.replace(changes.get("cleanup", recipe.cleanup), oracle=False)
    if switches := {name: given[name] for name in ("strip", "bytecode") if given.get(name) is not None}:
        changes["cleanup"] = dataclasses.replace(changes.get("cleanup", recipe.cleanup), **switches)
    return dataclasses.replace(recipe, **changes)


def use_gathered(recipe: Recipe, words: Namespace, console: Console) -> tuple[Recipe, BuildOptions]:
    """Recipe and options, with everything taken from --wheels-dir if `packager download` made that folder."""
    options = options_of(words, recipe)
    recipe = settle_accelerator(recipe, options, console)
    gathered = open_gathered(options.origins.wheels) if options.origins.wheels else None
    if gathered is None:
        return recipe, options
    origins = gathered.origins(options.origins)
    return gathered.recipe(recipe), dataclasses.replace(options, origins=origins, lock=options.lock or gathered.lock)


def settle_accelerator(recipe: Recipe, options: BuildOptions, console: Console) -> Recipe:
    """The recipe with the accelerator of this machine where it says `auto`."""
    if recipe.accelerator != AUTO:
        return recipe
    found = detect(options.target)
    console.info(f"accelerator {found.accelerator}: {found.saw}")
    return dataclasses.replace(recipe, accelerator=found.accelerator)


def options_of(words: Namespace, recipe: Recipe) -> BuildOptions:
    target = targets.get(words.target) if words.target else targets.current()
    settings = load_settings(sources=words.source, mirrors=words.mirror)
    given = vars(words)
    if words.wheels_dir and not words.wheels_dir.is_dir():
        raise InputError("no such folder", where=str(words.wheels_dir), remedy="give a folder of wheels")
    for option, path in (("-o", given.get("output")), ("--work", given.get("work"))):
        if path and any(place.is_file() for place in (path, *path.parents)):
            raise InputError("is a file, or lies below one", where=f"{option} {path}", remedy="give a folder")
    if given.get("lock") and not words.lock.is_file():
        raise InputError("no such file", where=f"--lock {words.lock}", remedy="write one with `packager lock`")
    return BuildOptions(
        target=target,
        output=given.get("output", Path("dist")),
        work=given.get("work") or Path("build") / f"{recipe.name}-{target.name}",
        origins=Origins(
            settings=settings,
            cache=Cache(default_cache_root()),
            mirrors=Mirrors.from_pairs(settings.mirrors),
            wheels=words.wheels_dir.resolve() if words.wheels_dir else None,
            offline=words.offline or recipe.offline,
        ),
        lock=given.get("lock"),
        refresh_lock=given.get("refresh_lock", False),
        prove=not given.get("no_prove", False),
        keep_quarantine=given.get("keep_quarantine", False),
        reuse=given.get("reuse"),
    )
