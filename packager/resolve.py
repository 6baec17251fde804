"""Recipe -> Lock: every repository to a commit, every package to a version with hashes.

There is one resolution for ComfyUI, all nodes and `python_packages` together, so the order of installation cannot
change the outcome. `overrides:` of the recipe win over everything, `constraints:` hold for everything.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from packager import uv
from packager.accelerators import choose_torch
from packager.console import Console, Rounds
from packager.document import read_document
from packager.errors import FetchError, InputError
from packager.fetch.sources import SourceRequest, pin_all, place_all
from packager.lock import Lock, LockedRepository
from packager.origins import Origins
from packager.pins import git_environment
from packager.recipe import Recipe, Repository
from packager.resolution.conflicts import Wish
from packager.resolution.declared import declared_requirements
from packager.resolution.markers import applies, marker_environment
from packager.resolution.requirements import Removed, Requirements
from packager.resolution.settle_additions import settle_additions
from packager.resolution.settlement import PYTHON_PACKAGES, Settled, Settlement
from packager.resolution.solver import Solver
from packager.resolution.special_packages import special_packages
from packager.settings import Settings
from packager.targets import Target

# In every bundle, whatever the recipe says: helpers install with it.
ALWAYS = ("pip",)
ELSEWHERE = "its marker names another target or Python"


def resolve(
    recipe: Recipe,
    *,
    target: Target,
    runtime: Mapping[str, str],
    origins: Origins,
    work: Path,
    console: Console,
    previous: Lock | None = None,
    upgrade: Collection[str] = (),
) -> Lock:
    """Make the lock. `work` is a folder of its own for checkouts and uv's input.

    What `previous` has locked is kept where the recipe still allows it, but for the packages and repositories that
    `upgrade` names; without it everything is the newest. Raises FetchError, ResolveError, InputError.
    """
    check_source_names(recipe, origins.settings)
    repositories = _pin(_held(recipe, previous, upgrade), origins, console)
    lock = Lock(
        version_id=recipe.version_id,
        recipe_digest=recipe.digest,
        target=target.name,
        accelerator=recipe.accelerator,
        runtime=dict(runtime),
        repositories=repositories,
        packages=(),
    )
    common: dict[str, Any] = {"target": target, "origins": origins, "previous": previous, "upgrade": upgrade}
    lock = _with_packages(recipe, lock, work=work, console=console, **common)
    additions = settle_additions(recipe, lock, folder=work / "additions", console=console, **common)
    return replace(lock, additions=additions)


def _with_packages(
    recipe: Recipe,
    lock: Lock,
    *,
    target: Target,
    origins: Origins,
    work: Path,
    console: Console,
    previous: Lock | None,
    upgrade: Collection[str],
) -> Lock:
    """`lock` with all that its repositories and the recipe ask for, settled in one resolution."""
    asked, removed = read_wishes(
        lock, recipe, target=target, origins=origins, folder=work / "checkouts", console=console
    )
    for item in removed:
        say = console.detail if item.reason == ELSEWHERE else console.warn
        say(f"{item.file}:{item.line}: left out '{item.text}': {item.reason}")
    with console.rounds("resolving all requirements together", unit="questions to uv") as rounds:
        settled = settle_wishes(
            recipe,
            asked,
            target=target,
            python=lock.python_version,
            folder=work / "uv",
            origins=origins,
            previous=previous,
            upgrade=upgrade,
            rounds=rounds,
        )
    for decision in settled.decisions:
        console.warn(str(decision))
    counts = f"{len(settled.packages)} packages, {len(settled.decisions)} conflicts settled"
    console.info(f"{len(lock.repositories)} repositories, {counts}")
    for field in (PYTHON_PACKAGES, "constraints", "overrides"):
        asked += _recipe_wishes(recipe, field, getattr(recipe, field))
    return replace(
        lock,
        packages=settled.packages,
        asked=tuple(asked),
        decisions=settled.decisions,
        removed=tuple(removed),
    )


def read_wishes(
    lock: Lock, recipe: Recipe, *, target: Target, origins: Origins, folder: Path, console: Console
) -> tuple[list[Wish], list[Removed]]:
    """What the repositories of `lock`, placed below `folder`, ask for on `target`, and the lines that are left out.

    Raises FetchError, InputError.
    """
    place_all(
        [(pin, folder / pin.name) for pin in origins.pins(lock, recipe)],
        cache=origins.cache,
        mirrors=origins.mirrors,
        console=console,
        offline=origins.offline,
        replace=True,
    )
    environment = marker_environment(target, lock.python_version)
    gathered = _here({repo.name: _declared(repo.name, folder / repo.name) for repo in lock.repositories}, environment)
    removed = [replace(item, file=f"{name}/{item.file}") for name, found in gathered.items() for item in found.removed]
    return [wish for name, found in gathered.items() for wish in _wishes(name, found)], removed


def _declared(name: str, checkout: Path) -> Requirements:
    """What repository `name` asks for. Raises FetchError for a file that is there and cannot be read: to go on without
    would leave the node without its packages."""
    try:
        return declared_requirements(checkout)
    except OSError as error:
        file = Path(error.filename or checkout)
        place = file.relative_to(checkout).as_posix() if file.is_relative_to(checkout) else file.name
        raise FetchError(
            f"cannot be read: {error.strerror or error}",
            where=f"{name}/{place}:1",
            remedy="make the file readable, or take the repository from elsewhere with --source",
        ) from error


def _held(recipe: Recipe, previous: Lock | None, upgrade: Collection[str]) -> Recipe:
    """The recipe with the commits of `previous`, of repositories whose address and ref are the same still."""
    if previous is None:
        return recipe
    upgraded = {canonicalize_name(name) for name in upgrade}
    known = {(repo.name, repo.url, repo.ref): repo.commit for repo in previous.repositories}

    def held(repo: Repository) -> Repository:
        commit = known.get((repo.name, public_address(repo.url), repo.ref))
        return (
            replace(repo, commit=repo.commit or commit or None)
            if canonicalize_name(repo.name) not in upgraded
            else repo
        )

    return replace(recipe, comfy=held(recipe.comfy), custom_nodes=tuple(map(held, recipe.custom_nodes)))


def check_source_names(recipe: Recipe, settings: Settings) -> None:
    """A --source for a repository that the recipe doesn't name is a slip of the pen. Raises InputError."""
    known = [repo.name for repo in recipe.repositories]
    for name in settings.named:
        if name.lower() not in {word.lower() for word in known}:
            raise InputError(
                f"the recipe has no repository '{name}'", where="--source", remedy=f"use one of {', '.join(known)}"
            )


def _pin(recipe: Recipe, origins: Origins, console: Console) -> tuple[LockedRepository, ...]:
    requests = [
        SourceRequest(name=repo.name, url=origins.location(repo.name, repo.url), ref=repo.ref, commit=repo.commit)
        for repo in recipe.repositories
    ]
    pins = pin_all(requests, cache=origins.cache, mirrors=origins.mirrors, console=console, offline=origins.offline)
    # The lock names the recipe's address, so that it says the same on every machine.
    return tuple(
        LockedRepository(name=repo.name, url=public_address(repo.url), ref=repo.ref, commit=pin.commit, tree=pin.tree)
        for repo, pin in zip(recipe.repositories, pins, strict=True)
    )


def public_address(url: str) -> str:
    """A local folder goes into the lock by its name alone: where it lies is this machine's affair."""
    return url if "://" in url else Path(url).name


def _wishes(layer: str, found: Requirements) -> list[Wish]:
    return [
        Wish(layer=layer, file=f"{layer}/{line.file}", line=line.line, text=line.requirement) for line in found.kept
    ]


def _recipe_wishes(recipe: Recipe, field: str, lines: Sequence[str]) -> list[Wish]:
    """The recipe's lines under `field`, with the line each stands in."""
    places = read_document(recipe.path).lines
    return [
        Wish(layer=field, file=recipe.path.name, line=places.get((field, position), 1), text=text)
        for position, text in enumerate(lines)
    ]


def _here(gathered: Mapping[str, Requirements], environment: Mapping[str, str]) -> dict[str, Requirements]:
    """The requirements without those whose marker names another target; these are on record too."""
    sorted_out = {}
    for name, found in gathered.items():
        kept = [line for line in found.kept if applies(Requirement(line.requirement), environment)]
        elsewhere = [
            Removed(file=line.file, line=line.line, text=line.requirement, reason=ELSEWHERE)
            for line in found.kept
            if line not in kept
        ]
        sorted_out[name] = Requirements(kept=tuple(kept), removed=(*found.removed, *elsewhere))
    return sorted_out


def settle_wishes(
    recipe: Recipe,
    wishes: Sequence[Wish],
    *,
    target: Target,
    python: str,
    folder: Path,
    origins: Origins,
    rounds: Rounds,
    previous: Lock | None = None,
    upgrade: Collection[str] = (),
) -> Settled:
    """The one resolution. `previous` and `upgrade` as in resolve(). Raises ResolveError, FetchError."""
    options = ["--python-version", python, "--python-platform", target.uv_platform, "--no-python-downloads"]
    choice = choose_torch(recipe.accelerator, wish=recipe.torch, asked=recipe.versions_asked, target=target)
    options += [*uv.install_options(wheels=origins.wheels, offline=origins.offline), *choice.options]
    kept = previous.packages if previous else ()
    upgraded = {canonicalize_name(name) for name in upgrade}
    nodes = {repo.name for repo in recipe.custom_nodes}
    environment = marker_environment(target, python)
    packages = _recipe_wishes(recipe, PYTHON_PACKAGES, recipe.python_packages)
    always = [Wish(layer="packager", file="packager", line=1, text=name) for name in ALWAYS]
    settlement = Settlement(
        core=[
            *(wish for wish in wishes if wish.layer not in nodes),
            *(wish for wish in packages if applies(wish.requirement, environment)),
            *always,
        ],
        nodes=[wish for wish in wishes if wish.layer in nodes],
        constraints=_recipe_wishes(recipe, "constraints", recipe.constraints),
        overrides=_recipe_wishes(recipe, "overrides", recipe.overrides),
        solver=Solver(
            folder=folder,
            options=tuple(options),
            constraints=recipe.constraints,
            overrides=tuple(choice.merged(recipe.overrides)),
            excludes=recipe.excludes,
            preferred=tuple(package.pin for package in kept if canonicalize_name(package.name) not in upgraded),
            asked=rounds.advance,
            env=git_environment(origins.mirrors),
        ),
        table=special_packages(),
        target=target.name,
        accelerator=recipe.accelerator,
        rounds=rounds,
    )
    return settlement.run()
