"""What each command around a release does: a function from its words to a `Result`."""

from __future__ import annotations

import dataclasses
from argparse import Namespace
from pathlib import Path
from typing import Any

from packager import commands, resources
from packager.build import build as build_bundle
from packager.command_options import options_of, recipe_of
from packager.commands import Result
from packager.console import Console
from packager.errors import InputError
from packager.filesystem import sha256_file, write_atomic
from packager.lock import load_lock
from packager.locking import beside_recipe
from packager.releases.cache_keys import cache_keys
from packager.releases.changes import lock_changes
from packager.releases.collect import NOTES, copy_bundles, find_bundles, find_locks
from packager.releases.compare import compare_bundles
from packager.releases.matrix import Row, plan_matrix, with_accelerator
from packager.releases.notes import changes_text, release_notes
from packager.releases.versions import bumped, check_tag, write_version
from packager.targets import current, get


def matrix(words: Namespace, _: Console) -> Result:
    rows = _rows(words)
    lines = [f"{row.target:<15} {row.accelerator or '-':<8} {row.runner:<18} {row.stem}" for row in rows]
    return Result(value={"include": [row.to_json() for row in rows]}, text="\n".join(lines))


def version(words: Namespace, _: Console) -> Result:
    path = resources.data_root() / "version.yml"
    if words.set or words.bump:
        write_version(path, words.set or bumped(resources.version(), words.bump))
    now = resources.version()
    if words.check is not None:
        check_tag(now, words.check)
    return Result(value={"version": now}, text=now)


def notes(words: Namespace, _: Console) -> Result:
    found = lock_changes(load_lock(words.old), load_lock(words.new))
    return Result(value=found.to_json(), text=changes_text(found).rstrip("\n"))


def diff(words: Namespace, _: Console) -> Result:
    found = compare_bundles(words.old, words.new)
    return Result(value=found.to_json(), text=found.text())


def cache(words: Namespace, console: Console) -> Result:
    if words.action != "key":
        return commands.cache(words, console)
    if not words.recipe:
        raise InputError("needs a recipe", where="cache key", remedy="packager cache key RECIPE")
    recipe = recipe_of(words)
    row = _one_row(words)
    lock = beside_recipe(with_accelerator(recipe, row), get(row.target))
    keys = cache_keys(recipe, row, lock_digest=sha256_file(lock) if lock.is_file() else "")
    lines = [line for it in keys for line in (f"{it.kind}={it.key}", f"{it.kind}-restore={it.restore}")]
    return Result(value={it.kind: {"key": it.key, "restore": it.restore} for it in keys}, text="\n".join(lines))


def release(words: Namespace, console: Console) -> Result:
    """Build this machine's rows (or take what others built), then check, collect and describe them."""
    recipe = recipe_of(words)
    check_tag(recipe.version, words.tag) if words.tag else None
    if words.gather and not words.gather.is_dir():
        raise InputError("no such folder", where=f"--from {words.gather}", remedy="give the folder of downloaded files")
    rows = _rows(words)
    if not words.gather:
        rows = _buildable(rows)
        for row in rows:
            console.step(f"release: {row.stem}")
            build_bundle(with_accelerator(recipe, row), _row_options(words, row), console)
    console.step("collect")
    bundles = find_bundles(rows, words.gather or words.output)
    sums = copy_bundles(bundles, words.output)
    previous, since = find_locks(words.previous, rows, name=recipe.name) if words.previous else ({}, "")
    text = release_notes(
        reports=[bundle.report for bundle in bundles],
        locks={bundle.row.place: bundle.lock for bundle in bundles},
        previous=previous,
        since=since,
    )
    write_atomic(words.output / NOTES, text.encode())
    names = sorted(name for bundle in bundles for name in bundle.sums)
    value = {"version": recipe.version, "files": [*names, sums.name], "notes": str(words.output / NOTES)}
    return Result(value=value, text="\n".join([*names, sums.name, NOTES]))


def _rows(words: Namespace) -> tuple[Row, ...]:
    return plan_matrix(recipe_of(words), targets=words.targets, accelerators_asked=words.accelerators)


def _buildable(rows: tuple[Row, ...]) -> tuple[Row, ...]:
    """The rows that this machine can build and prove: those of its own target."""
    own = tuple(row for row in rows if row.target == current().name)
    if not own:
        raise InputError(
            f"none of the release's bundles is for this machine, {current().name}",
            where="release",
            remedy="run it on such a machine, or bring what was built elsewhere with --from DIR",
        )
    return own


def _one_row(words: Namespace) -> Row:
    rows = _rows(words)
    own = rows if len(rows) == 1 else tuple(row for row in rows if row.target == current().name)
    if len(own) != 1:
        raise InputError(
            f"the recipe's release has {len(rows)} bundles", where="cache key", remedy="say --target and --accelerator"
        )
    return own[0]


def _row_options(words: Namespace, row: Row) -> Any:
    """Options of one row's build; each has a work folder of its own, the one of its last version."""
    one = Namespace(**{**vars(words), "target": row.target})
    recipe = recipe_of(words)
    options = options_of(one, recipe)
    work: Path = words.work or Path("build")
    return dataclasses.replace(options, work=work / f"{recipe.name}-{row.place}")
