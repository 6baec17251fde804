"""Keys under which continuous integration keeps caches: the same key, the same content; a prefix, nearly the same."""

from __future__ import annotations

from dataclasses import dataclass

from packager.journal import digest
from packager.recipe import Recipe
from packager.releases.matrix import Row
from packager.resources import program_digests

# What decides on the content of each cache, beside the target.
KINDS = ("downloads", "wheels", "miniforge", "oracle")


@dataclass(frozen=True, kw_only=True)
class CacheKey:
    """`key` is exact; `restore` the beginning of those that are worth having when there is none."""

    kind: str
    key: str
    restore: str


def cache_keys(recipe: Recipe, row: Row, *, lock_digest: str = "") -> tuple[CacheKey, ...]:
    """One key a kind. `lock_digest` is that of the lock to build from, "" if it is not made yet.

    downloads: repositories and files of the recipe; wheels: what uv fetched and built; miniforge: installer and conda
    packages; oracle: what the clean-up learned about distributions, which a change of its code or rules outdates.
    """
    program = program_digests()
    own = {
        "downloads": digest(recipe.digest, lock_digest),
        "wheels": digest(recipe.digest, row.accelerator, lock_digest),
        "miniforge": digest(recipe.runtime, recipe.python, recipe.miniforge, recipe.channels, recipe.conda_packages),
        "oracle": digest(program["cleanup"], recipe.digest, lock_digest),
    }
    prefixes = {kind: f"packager-{kind}-{row.target}-" for kind in KINDS}
    prefixes["wheels"] += f"{row.accelerator}-" if row.accelerator else ""
    return tuple(CacheKey(kind=kind, key=prefixes[kind] + own[kind][:32], restore=prefixes[kind]) for kind in KINDS)
