"""A recipe installed in place for local use, without an archive: HOME/ID, where ID is the recipe's version_id.

HOME/.packager/ID/work             the build so far; a stopped run goes on from there
HOME/.packager/ID/realized.json    what lies in HOME/ID and is ours, so that `delete` takes that and nothing else
"""

from __future__ import annotations

import dataclasses
import json
import os
import re
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from packager import process, runtimes
from packager.archive.scan import scan
from packager.build import build_tree
from packager.build_options import BuildOptions
from packager.bundle import MANIFEST_NAME, PORTABLE_DIR, PYTHON_DIR
from packager.console import Console, format_bytes
from packager.errors import InputError, PackagerError
from packager.filesystem import remove_tree, walk_files, write_atomic, write_json
from packager.journal import exclusive
from packager.lock import load_lock
from packager.locking import beside_recipe
from packager.model_files import place_models
from packager.models import wanted_models
from packager.recipe import Recipe
from packager.stages import Stages

# Ours as a whole: what was installed or compiled there later is of no use without the rest.
_OURS = (PYTHON_DIR, PORTABLE_DIR)
_NAME = re.compile(r"[A-Za-z0-9]([A-Za-z0-9._-]*[A-Za-z0-9_-])?")


@dataclass(frozen=True, kw_only=True)
class Place:
    """Where one realized recipe lies. Raises InputError for an `id` that could leave `home`."""

    home: Path
    id: str

    def __post_init__(self) -> None:
        if not _NAME.fullmatch(self.id):
            raise InputError(f"'{self.id}' is no version_id", where="ID", remedy="give the version_id of a recipe")

    @property
    def root(self) -> Path:
        return self.home / self.id

    @property
    def notes(self) -> Path:
        return self.home / ".packager" / self.id

    @property
    def work(self) -> Path:
        return self.notes / "work"

    @property
    def state(self) -> Path:
        return self.notes / "realized.json"

    def read_state(self) -> dict[str, Any] | None:
        """What is on record of it; None if nothing is, so that what lies there is not ours."""
        try:
            value: dict[str, Any] = json.loads(self.state.read_text(encoding="utf-8"))
            return value if value["format"] == 1 and value["id"] == self.id else None
        except (OSError, ValueError, KeyError, TypeError):
            return None


@dataclass(frozen=True, kw_only=True)
class Removal:
    """What `delete` takes and leaves: paths below the root, `size` in bytes of what goes."""

    root: Path
    remove: tuple[Path, ...]
    keep: tuple[Path, ...]
    size: int


def choose_runtime(recipe: Recipe, options: BuildOptions, console: Console) -> Recipe:
    """`recipe` with a Python for use on this machine where it names none.

    That is the one of the lock there is, else this machine's own if it will do, since nothing has to be fetched for it,
    else the default. What is chosen is told.
    """
    if recipe.names_runtime:
        return recipe
    lock = options.lock or beside_recipe(recipe, options.target)
    if lock.is_file():
        return dataclasses.replace(recipe, runtime=load_lock(lock).runtime["name"])
    if recipe.conda_packages or recipe.channels or recipe.miniforge:
        return recipe
    request = runtimes.RuntimeRequest(python=recipe.python, target=options.target, console=console)
    try:
        version = runtimes.get("host").inspect(request).python_version
    except PackagerError as error:
        console.info(f"Python comes from {recipe.runtime}: {error.what}")
        return recipe
    console.info(f"Python {version} is this machine's own; --runtime {recipe.runtime} takes another")
    return dataclasses.replace(recipe, runtime="host")


def realize(
    recipe: Recipe, options: BuildOptions, home: Path, console: Console, *, models_dir: Path | None = None
) -> dict[str, Any]:
    """Install `recipe` at HOME/ID; returns `root`, `new`, `files` and `needs` (node -> its unmet requirements).

    With `models_dir` the models go there, and ComfyUI is told so. What a user put into HOME/ID before is kept. Raises
    PackagerError of every kind; InputError if HOME/ID is not ours or was made of another recipe.
    """
    place = Place(home=home.resolve(), id=recipe.version_id)
    with exclusive(place.notes):
        state = _check(place, recipe)
        pending = place.work / "bundle" / place.id
        if state and state["recipe_digest"] == recipe.digest and place.root.exists() and not pending.exists():
            console.info(f"{place.root} is there already")
            return {"root": str(place.root), "new": False, "needs": state["needs"], "files": len(state["files"])}
        if not (state and state["recipe_digest"] == recipe.digest and pending.exists()):
            state = _make(recipe, options, place, models_dir, console)
        for path in _move_in(pending, place.root):
            console.warn(f"{path} was there before and was kept")
        if models_dir:
            _link_models(place.root, options, models_dir)
        remove_tree(place.work)
    return {"root": str(place.root), "new": True, "needs": state["needs"], "files": len(state["files"])}


def _make(
    recipe: Recipe, options: BuildOptions, place: Place, models_dir: Path | None, console: Console
) -> dict[str, Any]:
    """Build the tree in the work folder and put on record what it holds; the record is returned."""
    apart = models_dir is not None and recipe.model_mode == "bundle"
    plain = dataclasses.replace(recipe, root=place.id, model_mode="skip" if apart else recipe.model_mode)
    stages = build_tree(plain, dataclasses.replace(options, work=place.work), console)
    if models_dir and apart:
        models = wanted_models(recipe.models, stages.target, stages.facts.python_version)
        place_models(models, models_dir, origins=options.origins, console=console)
    root = stages.tree.root
    _write_manifest(stages)
    state = {
        "format": 1,
        "id": place.id,
        "recipe_digest": recipe.digest,
        "needs": stages.results["install"]["needs"],
        "files": {path.relative_to(root).as_posix(): _stamp(path) for path in walk_files(root)},
    }
    write_json(place.state, state)
    return state


def _write_manifest(stages: Stages) -> None:
    """What `manage verify` compares with; a bundle gets it from the archiver."""
    path = stages.tree.portable / MANIFEST_NAME
    found = scan(
        stages.tree.root,
        threads=os.cpu_count() or 1,
        bundle=stages.bundle_facts,
        exclude=(stages.tree.relative(path).as_posix(),),
    )
    write_atomic(path, found.to_json().encode())


def plan_delete(id: str, home: Path, *, everything: bool) -> Removal:  # noqa: A002 - the field's word
    """What `delete` would do. Ours are python/, portable/ and every recorded file that is as it was made; with
    `everything` all that is there. Raises InputError for a folder that is not ours."""
    place = Place(home=home.resolve(), id=id)
    state = place.read_state()
    if state is None or place.root.is_symlink() or (place.root.exists() and not place.root.is_dir()):
        raise InputError(
            "was not made by `packager realize`", where=str(place.root), remedy="check ID and --home; delete it by hand"
        )
    remove: list[Path] = []
    keep: list[Path] = []
    for path in walk_files(place.root) if place.root.is_dir() else ():
        (remove if everything or _is_ours(path, place.root, state["files"]) else keep).append(path)
    size = sum(path.lstat().st_size for path in remove)
    return Removal(root=place.root, remove=tuple(remove), keep=tuple(keep), size=size)


def delete(id: str, home: Path, plan: Removal, console: Console) -> None:  # noqa: A002
    """Do what `plan` says. Folders go when they are empty, the record when nothing is left."""
    place = Place(home=home.resolve(), id=id)
    with exclusive(place.notes):
        for path in plan.remove:
            path.unlink(missing_ok=True)
        for folder, _, _ in os.walk(place.root, topdown=False):
            if not os.listdir(folder):  # noqa: PTH208 - os.walk's own words
                Path(folder).rmdir()
        remove_tree(place.work)
        if place.root.exists():
            state = {"format": 1, "id": id, "recipe_digest": "", "needs": {}, "files": {}}
            write_json(place.state, state)
    if not place.root.exists():
        remove_tree(place.notes)
    console.info(f"{format_bytes(plan.size)} in {len(plan.remove)} files removed")


def _check(place: Place, recipe: Recipe) -> dict[str, Any] | None:
    """The record of what is there. Raises InputError if that is not ours to touch."""
    state = place.read_state()
    if place.root.is_symlink() or (place.root.exists() and state is None):
        raise InputError("is there, and not made by this program", where=str(place.root), remedy="give another --home")
    if state and state["recipe_digest"] not in ("", recipe.digest):
        raise InputError(
            "was made of another state of the recipe",
            where=str(place.root),
            remedy=f"packager delete {place.id} --home {place.home}; models, outputs and added nodes stay",
        )
    return state


def _stamp(path: Path) -> list[int]:
    """Size in bytes and time of change in nanoseconds: what tells a file that was changed."""
    status = path.lstat()
    return [status.st_size, status.st_mtime_ns]


def _is_ours(path: Path, root: Path, recorded: dict[str, list[int]]) -> bool:
    name = PurePosixPath(path.relative_to(root).as_posix())
    if name.parts[0] in _OURS:
        return True
    if name.parent.name == "__pycache__":  # PEP 3147: __pycache__/NAME.TAG.pyc of ../NAME.py
        return str(name.parent.parent / f"{name.name.split('.')[0]}.py") in recorded
    return recorded.get(str(name)) == _stamp(path)


def _move_in(tree: Path, root: Path) -> list[Path]:
    """Move all of `tree` to `root`; what is there already stays and is returned. Can be done again after any end."""
    if not root.exists():
        tree.rename(root)
        return []
    kept = []
    for path in list(walk_files(tree)):
        target = root / path.relative_to(tree)
        if target.exists() or target.is_symlink():
            kept.append(target)
            continue
        target.parent.mkdir(parents=True, exist_ok=True)
        path.rename(target)
    for folder, names, _ in os.walk(tree):
        for name in names:  # empty folders are part of the app: input/3d
            (root / Path(folder).relative_to(tree) / name).mkdir(exist_ok=True)
    remove_tree(tree)
    return kept


def _link_models(root: Path, options: BuildOptions, folder: Path) -> None:
    """Through the bundle's own helper, as its user would."""
    python = root / PYTHON_DIR / options.target.python_executable()
    folder.mkdir(parents=True, exist_ok=True)
    process.run([python, "-I", "-X", "utf8", root / PORTABLE_DIR, "models", "link", folder.resolve()])
