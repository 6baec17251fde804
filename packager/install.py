"""Lock -> packages in python/, ComfyUI and nodes in ComfyUI/, models in ComfyUI/models."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from packager import process, resources, uv
from packager.accelerators import TorchBuild, assert_variant, choose_torch
from packager.additions import Means, NativeInstalled, Patched, apply_patches, install_native
from packager.bundle import BundleTree
from packager.console import Console
from packager.distributions import changes, installed
from packager.errors import InputError
from packager.fetch.sources import place_all
from packager.lock import Lock
from packager.model_files import place_models
from packager.models import wanted_models
from packager.origins import Origins
from packager.pins import git_environment, requirement_lines
from packager.recipe import Recipe

_INSTALL_SCRIPT_SECONDS = 1800


@dataclass(frozen=True, kw_only=True)
class NodeScript:
    """How a node's install.py ended. `output` is the end of what it said."""

    node: str
    returncode: int
    output: str


@dataclass(frozen=True, kw_only=True)
class Installed:
    """What the stage leaves on record. `drift` are packages that a node's install.py changed behind the lock's back,
    `changes` those that patches and native packages changed on purpose: name -> (version before or "", after or "")."""

    torch: tuple[TorchBuild, ...]
    patches: tuple[Patched, ...]
    native: tuple[NativeInstalled, ...]
    changes: dict[str, tuple[str, str]]
    scripts: tuple[NodeScript, ...]
    pip_check: tuple[str, ...]
    drift: dict[str, tuple[str, str]]

    def to_json(self) -> dict[str, Any]:
        return dataclasses.asdict(self)


def install(
    lock: Lock, recipe: Recipe, *, tree: BundleTree, origins: Origins, work: Path, console: Console
) -> Installed:
    """Fill `tree`, whose Python is there already: ComfyUI, nodes, packages, patches, native packages, models, check.

    Raises InputError if it is no ComfyUI, FetchError or PackagerError, ResolveError where the wrong build of torch came
    in. A node's install.py that fails is reported, not raised: whether the node works without it is for the proof to
    find out.
    """
    comfy, *nodes = origins.pins(lock, recipe)
    places = [(comfy, tree.app), *((pin, tree.nodes / pin.name) for pin in nodes)]
    place_all(
        places, cache=origins.cache, mirrors=origins.mirrors, console=console, offline=origins.offline, replace=True
    )
    if not (tree.app / "main.py").is_file():
        raise InputError("holds no main.py, so it is not ComfyUI", where=comfy.url, remedy="check comfy.repo and ref")
    install_packages(lock, recipe, tree=tree, origins=origins, work=work, console=console)
    locked = installed(tree.site_packages)
    patched, native = add(lock, recipe, tree=tree, origins=origins, work=work, console=console)
    before = installed(tree.site_packages)
    scripts = [
        run_install_script(tree, pin.name, console) for pin in nodes if (tree.nodes / pin.name / "install.py").is_file()
    ]
    if recipe.model_mode == "bundle":
        models = wanted_models(recipe.models, tree.target, tree.python_version)
        place_models(models, tree.models, origins=origins, console=console)
    drift = changes(before, installed(tree.site_packages))
    for name, (old, new) in drift.items():
        console.warn(f"an install.py changed {name}: before {old or 'nothing'}, now {new or 'nothing'}")
    return Installed(
        torch=assert_variant(tree.site_packages, lock.accelerator),
        patches=patched,
        native=native,
        changes=changes(locked, before),
        scripts=tuple(scripts),
        pip_check=pip_check(tree, console),
        drift=drift,
    )


def install_packages(
    lock: Lock, recipe: Recipe, *, tree: BundleTree, origins: Origins, work: Path, console: Console
) -> None:
    """Install exactly the locked packages, those of the accelerator's index from there alone, the others without it."""
    choice = choose_torch(lock.accelerator, wish=recipe.torch, asked=recipe.versions_asked, target=tree.target)
    pins = work / "pins.txt"
    command = ["pip", "install", "--quiet", "--no-config", "--python", str(tree.python), "--requirements", str(pins)]
    command += ["--no-deps", "--break-system-packages", *uv.INTO_TREE]
    command += uv.install_options(wheels=origins.wheels, offline=origins.offline)
    with console.bar("packages", len(lock.packages), unit="packages") as advance:
        for from_there in (False, True):
            packages = [package for package in lock.packages if choice.holds(package.index) is from_there]
            if not packages:
                continue
            folder = work / "direct-files"
            lines = requirement_lines(packages, origins=origins, folder=folder, console=console)
            pins.write_text(lines, encoding="utf-8")
            index = ["--default-index", choice.index] if choice.index and from_there else []
            uv.run_uv([*command, *index], env=git_environment(origins.mirrors))
            advance(len(packages))


def add(
    lock: Lock, recipe: Recipe, *, tree: BundleTree, origins: Origins, work: Path, console: Console
) -> tuple[tuple[Patched, ...], tuple[NativeInstalled, ...]]:
    """The lock's patches and native packages. Raises as `apply_patches` and `install_native` do."""
    choice = choose_torch(lock.accelerator, wish=recipe.torch, asked=recipe.versions_asked, target=tree.target)
    means = Means(
        tree=tree,
        origins=origins,
        indexes=tuple(filter(None, [choice.index, *(patch.index for patch in recipe.patches)])),
        folder=work / "additional-wheels",
        console=console,
    )
    patched = apply_patches([item for item in lock.additions if item.kind == "patch"], means)
    return patched, install_native([item for item in lock.additions if item.kind == "native"], means)


def run_install_script(tree: BundleTree, node: str, console: Console) -> NodeScript:
    """Run a node's install.py from the node's folder, in the environment of the bundle's entry points."""
    finished = process.run(
        in_bundle(tree, "python", "install.py"),
        cwd=tree.nodes / node,
        timeout=_INSTALL_SCRIPT_SECONDS,
        check=False,
    )
    if finished.returncode:
        console.warn(f"{node}: install.py exited with {finished.returncode}: {finished.output_tail[-500:]}")
    else:
        console.info(f"{node}: install.py done")
    return NodeScript(node=node, returncode=finished.returncode, output=finished.output_tail)


def in_bundle(tree: BundleTree, *command: str) -> list[str]:
    """Words that run `command` as the bundle's own helpers would; `python` is the bundle's."""
    portable = resources.helper_scripts() / "portable"
    return [str(tree.python), "-I", "-X", "utf8", str(portable), "exec", "--bundle", str(tree.root), "--", *command]


def pip_check(tree: BundleTree, console: Console) -> tuple[str, ...]:
    """What `pip check` complains about, line by line."""
    finished = process.run(in_bundle(tree, "python", "-m", "pip", "check"), check=False)
    if finished.returncode == 0:
        return ()
    lines = tuple(finished.stdout.strip().splitlines()) or (finished.output_tail,)
    for line in lines:
        console.warn(f"pip check: {line}")
    return lines
