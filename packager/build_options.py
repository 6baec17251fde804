"""What the command line decides of a build, and what follows from it for the Python and the lock."""

from __future__ import annotations

from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path

from packager import runtimes
from packager.console import Console
from packager.errors import InputError
from packager.gathering import offline
from packager.journal import digest
from packager.lock import load_lock
from packager.locking import Locking, beside_recipe
from packager.origins import Origins
from packager.recipe import Recipe
from packager.targets import Target


@dataclass(frozen=True, kw_only=True)
class BuildOptions:
    """What the command line decides. `lock` is a lock file to build from, made anew if it is stale and `refresh_lock`
    says so; `output` gets the release files. `reuse` is an earlier zip of the bundle, or a part of one. With
    `keep_quarantine` what the clean-up took stays in the work folder, to be put back by undo_clean_up.
    """

    target: Target
    output: Path
    work: Path
    origins: Origins
    lock: Path | None = None
    refresh_lock: bool = False
    prove: bool = True
    keep_quarantine: bool = False
    reuse: Path | None = None


def runtime_request(
    recipe: Recipe, options: BuildOptions, console: Console, *, refresh: bool, renew: bool = False
) -> runtimes.RuntimeRequest:
    """The Python a lock names, where there is one and `renew` does not ask for a new one.

    `refresh`: the lock may be made anew, so what it names counts only while the recipe asks for the same environment.
    """
    beside = beside_recipe(recipe, options.target)
    given = options.lock or (beside if beside.is_file() else None)
    return runtimes.RuntimeRequest(
        python=recipe.python,
        target=options.target,
        conda_packages=recipe.conda_packages,
        channels=recipe.channels,
        miniforge_version=recipe.miniforge,
        explicit=_locked_environment(given, _environment_asked(recipe) if refresh else None)
        if given and not renew
        else None,
        renew=renew,
        mirrors=options.origins.mirrors,
        offline=options.origins.offline,
        console=console,
    )


def locking_for(recipe: Recipe, options: BuildOptions, identity: dict[str, str], console: Console) -> Locking:
    """`identity`: what a lock holds of the Python (see Runtime.identify)."""
    asked = {"asked": _environment_asked(recipe)} if "explicit" in identity else {}
    return Locking(
        recipe=recipe,
        target=options.target,
        runtime={**identity, **asked},
        origins=options.origins,
        work=options.work.resolve(),
        console=console,
    )


def told_at_once(
    recipe: Recipe, options: BuildOptions, request: runtimes.RuntimeRequest, *, anew: bool = False
) -> AbstractContextManager[None]:
    """See offline.told_at_once; `anew`: the lock is to be made, and not to be built from."""
    beside = beside_recipe(recipe, options.target)
    lock = None if anew else options.lock or (beside if beside.is_file() else None)
    stock = offline.Stock(recipe=recipe, target=options.target, origins=options.origins, work=options.work.resolve())
    return offline.told_at_once(stock, lambda: runtimes.get(recipe.runtime).identify(request), lock)


def _locked_environment(path: Path, asked: str | None) -> str | None:
    """The conda packages a lock names; None if it names none, or can't be read, which Locking is to judge, or if they
    are not what is `asked`."""
    try:
        runtime = load_lock(path).runtime
    except InputError:
        return None
    return runtime.get("explicit") if asked in (None, runtime.get("asked")) else None


def _environment_asked(recipe: Recipe) -> str:
    """What a conda environment is solved for; kept in the lock to tell whether its packages still answer it."""
    return digest(recipe.python, recipe.conda_packages, recipe.channels)
