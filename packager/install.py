"""Lock -> packages in python/, ComfyUI and nodes in ComfyUI/, models in ComfyUI/models."""

from __future__ import annotations

import dataclasses
import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from packager import process, resources, uv
from packager.bundle import BundleTree
from packager.console import Console
from packager.errors import InputError
from packager.fetch.sources import place_all
from packager.lock import Lock
from packager.model_files import place_models
from packager.models import wanted_models
from packager.origins import Origins
from packager.recipe import Recipe

_INSTALL_SCRIPT_SECONDS = 1800

_LIST_DISTRIBUTIONS = (
    "import importlib.metadata as m, json;print(json.dumps({d.metadata['Name']: d.version for d in m.distributions()}))"
)


@dataclass(frozen=True, kw_only=True)
class NodeScript:
    """How a node's install.py ended. `output` is the end of what it said."""

    node: str
    returncode: int
    output: str


@dataclass(frozen=True, kw_only=True)
class Installed:
    """What the stage leaves on record. `drift` are packages that a node's install.py changed behind the lock's back:
    name -> (locked version or "", found version or "")."""

    scripts: tuple[NodeScript, ...]
    pip_check: tuple[str, ...]
    drift: dict[str, tuple[str, str]]

    def to_json(self) -> dict[str, Any]:
        return dataclasses.asdict(self)


def install(
    lock: Lock, recipe: Recipe, *, tree: BundleTree, origins: Origins, work: Path, console: Console
) -> Installed:
    """Fill `tree`, whose Python is there already, in the order of seeds: ComfyUI, nodes, packages, models, check.

    Raises InputError if it is no ComfyUI, FetchError, or PackagerError. A node's install.py that fails is reported, not
    raised: whether the node works without it is for the proof to find out.
    """
    comfy, *nodes = origins.pins(lock, recipe)
    places = [(comfy, tree.app), *((pin, tree.nodes / pin.name) for pin in nodes)]
    place_all(
        places, cache=origins.cache, mirrors=origins.mirrors, console=console, offline=origins.offline, replace=True
    )
    if not (tree.app / "main.py").is_file():
        raise InputError("holds no main.py, so it is not ComfyUI", where=comfy.url, remedy="check comfy.repo and ref")
    install_packages(lock, tree=tree, origins=origins, work=work, console=console)
    scripts = [
        run_install_script(tree, pin.name, console) for pin in nodes if (tree.nodes / pin.name / "install.py").is_file()
    ]
    if recipe.model_mode == "bundle":
        models = wanted_models(recipe.models, tree.target, tree.python_version)
        place_models(models, tree.models, origins=origins, console=console)
    drift = find_drift(lock, tree) if scripts else {}
    for name, (locked, found) in drift.items():
        console.warn(f"an install.py changed {name}: locked {locked or 'nothing'}, now {found or 'nothing'}")
    return Installed(scripts=tuple(scripts), pip_check=pip_check(tree, console), drift=drift)


def install_packages(lock: Lock, *, tree: BundleTree, origins: Origins, work: Path, console: Console) -> None:
    """Install exactly the locked packages. Copies, never links: files in the tree are changed in place later."""
    pins = work / "pins.txt"
    pins.write_text("".join(f"{package.requirement}\n" for package in lock.packages), encoding="utf-8")
    command = ["pip", "install", "--quiet", "--no-config", "--python", str(tree.python), "--requirements", str(pins)]
    command += ["--no-deps", "--link-mode", "copy", "--no-compile-bytecode", "--break-system-packages"]
    command += uv.install_options(lock.accelerator, target=tree.target, wheels=origins.wheels, offline=origins.offline)
    with console.bar("packages", len(lock.packages), unit="packages") as advance:
        uv.run_uv(command)
        advance(len(lock.packages))


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


def find_drift(lock: Lock, tree: BundleTree) -> dict[str, tuple[str, str]]:
    """Where the installed distributions differ from the lock."""
    listed = process.run([tree.python, "-I", "-c", _LIST_DISTRIBUTIONS], env={}).stdout
    found = {_normalise(name): version for name, version in json.loads(listed).items()}
    locked = {_normalise(package.name): package.version for package in lock.packages}
    return {
        name: (locked.get(name, ""), found.get(name, ""))
        for name in sorted(found.keys() | locked.keys())
        if locked.get(name) != "" and locked.get(name) != found.get(name)  # a package from an address has no version
    }


def pip_check(tree: BundleTree, console: Console) -> tuple[str, ...]:
    """What `pip check` complains about, line by line."""
    finished = process.run(in_bundle(tree, "python", "-m", "pip", "check"), check=False)
    if finished.returncode == 0:
        return ()
    lines = tuple(finished.stdout.strip().splitlines()) or (finished.output_tail,)
    for line in lines:
        console.warn(f"pip check: {line}")
    return lines


def _normalise(name: str) -> str:
    """PEP 503."""
    return re.sub(r"[-_.]+", "-", name).lower()
