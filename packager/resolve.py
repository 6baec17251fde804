"""Recipe -> Lock: every repository to a commit, every package to a version with hashes.

There is one resolution for ComfyUI, all nodes and `python_packages` together, so the order of installation cannot
change the outcome. `overrides:` of the recipe win over everything, `constraints:` hold for everything.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from packager import uv
from packager.accelerators import choose_torch
from packager.console import Console
from packager.errors import InputError
from packager.fetch.sources import SourceRequest, pin_all, place_all
from packager.filesystem import remove_tree
from packager.lock import Lock, LockedPackage, LockedRepository, parse_compiled
from packager.origins import Origins
from packager.recipe import Recipe
from packager.requirements import Removed, Requirements, decode, parse_requirements, read_requirements
from packager.settings import Settings
from packager.targets import Target

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

# In every bundle, whatever the recipe says: helpers install with it.
ALWAYS = ("pip",)


def resolve(
    recipe: Recipe,
    *,
    target: Target,
    runtime: Mapping[str, str],
    origins: Origins,
    work: Path,
    console: Console,
) -> Lock:
    """Make the lock. `work` is a folder of its own for checkouts and uv's input.

    Raises FetchError, ResolveError, InputError.
    """
    check_source_names(recipe, origins.settings)
    repositories = _pin(recipe, origins, console)
    lock = Lock(
        version_id=recipe.version_id,
        recipe_digest=recipe.digest,
        target=target.name,
        accelerator=recipe.accelerator,
        runtime=dict(runtime),
        repositories=repositories,
        packages=(),
    )
    checkouts = work / "checkouts"
    place_all(
        [(pin, checkouts / pin.name) for pin in origins.pins(lock, recipe)],
        cache=origins.cache,
        mirrors=origins.mirrors,
        console=console,
        offline=origins.offline,
        replace=True,
    )
    gathered = {repo.name: gather_requirements(checkouts / repo.name) for repo in repositories}
    removed = [replace(item, file=f"{name}/{item.file}") for name, found in gathered.items() for item in found.removed]
    for item in removed:
        console.warn(f"{item.file}:{item.line}: left out '{item.text}': {item.reason}")
    packages = _compile(
        recipe,
        gathered,
        target=target,
        python=lock.python_version,
        folder=work / "uv",
        origins=origins,
    )
    console.info(f"{len(repositories)} repositories, {len(packages)} packages")
    return replace(lock, packages=tuple(packages), removed=tuple(removed))


def check_source_names(recipe: Recipe, settings: Settings) -> None:
    """A --source for a repository that the recipe doesn't name is a slip of the pen. Raises InputError."""
    known = [repo.name for repo in recipe.repositories]
    for name in settings.named:
        if name.lower() not in {word.lower() for word in known}:
            raise InputError(
                f"the recipe has no repository '{name}'", where="--source", remedy=f"use one of {', '.join(known)}"
            )


def gather_requirements(checkout: Path) -> Requirements:
    """What a repository asks for: requirements.txt, else `[project] dependencies` of pyproject.toml, else nothing."""
    listed = checkout / "requirements.txt"
    if listed.is_file():
        return read_requirements(listed, root=checkout)
    project = checkout / "pyproject.toml"
    if not project.is_file():
        return Requirements()
    try:
        table = tomllib.loads(decode(project.read_bytes()))
        dependencies = table.get("project", {}).get("dependencies", [])
        return parse_requirements([str(item) for item in dependencies], file=project.name)
    except (ValueError, AttributeError, TypeError) as error:
        return Requirements(removed=(Removed(file=project.name, line=1, text="(whole file)", reason=str(error)),))


def _pin(recipe: Recipe, origins: Origins, console: Console) -> tuple[LockedRepository, ...]:
    requests = [
        SourceRequest(name=repo.name, url=origins.location(repo.name, repo.url), ref=repo.ref, commit=repo.commit)
        for repo in recipe.repositories
    ]
    pins = pin_all(requests, cache=origins.cache, mirrors=origins.mirrors, console=console, offline=origins.offline)
    # The lock names the recipe's address, so that it says the same on every machine.
    return tuple(
        LockedRepository(name=repo.name, url=_public(repo.url), ref=repo.ref, commit=pin.commit, tree=pin.tree)
        for repo, pin in zip(recipe.repositories, pins, strict=True)
    )


def _public(url: str) -> str:
    """A local folder goes into the lock by its name alone: where it lies is this machine's affair."""
    return url if "://" in url else Path(url).name


def _compile(
    recipe: Recipe,
    gathered: Mapping[str, Requirements],
    *,
    target: Target,
    python: str,
    folder: Path,
    origins: Origins,
) -> list[LockedPackage]:
    """Run `uv pip compile` over one file a layer, named so that uv's `# via -r NAME.txt` tells who asked."""
    remove_tree(folder)
    folder.mkdir(parents=True)
    layers = {name: [line.requirement for line in found.kept] for name, found in gathered.items()}
    layers["python_packages"] = list(recipe.python_packages)
    layers["packager"] = list(ALWAYS)
    choice = choose_torch(recipe.accelerator, wish=recipe.torch, asked=recipe.versions_asked, target=target)
    command = ["pip", "compile", "--quiet", "--no-header", "--generate-hashes", "--no-config"]
    command += ["--python-version", python, "--python-platform", target.uv_platform, "--no-python-downloads"]
    command += uv.install_options(wheels=origins.wheels, offline=origins.offline)
    command += ["--emit-index-annotation", *choice.options]
    for option, lines in (
        ("--constraints", recipe.constraints),
        ("--overrides", choice.merged(recipe.overrides)),
        ("--excludes", recipe.excludes),
    ):
        if lines:
            (folder / f"{option[2:]}.in").write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
            command += [option, f"{option[2:]}.in"]
    for name, asked in layers.items():
        (folder / f"{name}.txt").write_text("".join(f"{line}\n" for line in asked), encoding="utf-8")
        command.append(f"{name}.txt")
    return parse_compiled(uv.run_uv(command, cwd=folder).stdout)
