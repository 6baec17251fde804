"""Everything a build fetches, in one folder: gathered here with a network, used elsewhere without (--offline).

gathered.json      what belongs to it: every file with size and sha256, and what each stands for
lock.json          the lock it was gathered for
repositories/      bare repositories of one commit each, and plain folders
wheels/            wheels, and sdists with what building them takes
addresses/         wheels and sdists that come from no index, each in a folder of its address
conda/             the Miniforge installer and the conda packages of the lock
models/            as below ComfyUI/models
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from packager.accelerators import choose_torch
from packager.console import Console, format_bytes
from packager.errors import FetchError, InputError
from packager.fetch.collect import collect
from packager.fetch.download import download_all
from packager.fetch.mirrors import Mirrors, local_path
from packager.fetch.sources import Pin
from packager.filesystem import remove_tree, sha256_file, walk_files, write_json
from packager.gathering.packages import REPOSITORIES, GatherPackages
from packager.gathering.runtime import gather_runtime
from packager.gathering.wheel_files import Asking
from packager.lock import Lock, load_lock
from packager.model_files import model_request
from packager.models import wanted_models
from packager.origins import Origins
from packager.recipe import Recipe
from packager.targets import Target

MANIFEST = "gathered.json"
_REMEDY = "run `packager download` again with a network, or copy the whole folder"


@dataclass(frozen=True, kw_only=True)
class Gathered:
    """A gathered folder that is complete. `mirrors`: address -> path; `sources`: repository -> path; `models`: address
    -> (path, sha256, size in bytes)."""

    folder: Path
    mirrors: dict[str, str]
    sources: dict[str, str]
    models: dict[str, tuple[str, str, int]]

    @property
    def wheels(self) -> Path:
        return self.folder / "wheels"

    @property
    def lock(self) -> Path:
        return self.folder / "lock.json"

    def origins(self, origins: Origins) -> Origins:
        """`origins` with everything taken from the folder."""
        rewrites = {**dict(origins.mirrors.rewrites), **self.mirrors}
        settings = dataclasses.replace(origins.settings, sources={**origins.settings.sources, **self.sources})
        return dataclasses.replace(origins, settings=settings, mirrors=Mirrors.from_pairs(rewrites), wheels=self.wheels)

    def recipe(self, recipe: Recipe) -> Recipe:
        """`recipe` with its models taken from the folder, exactly as they were gathered."""
        models = []
        for model in recipe.models:
            url, sha256, size = self.models.get(model.url, (model.url, model.sha256, model.size))
            models.append(dataclasses.replace(model, url=url, sha256=model.sha256 or sha256, size=size))
        return dataclasses.replace(recipe, models=tuple(models))


def gather(
    recipe: Recipe, lock: Lock, folder: Path, *, target: Target, origins: Origins, work: Path, console: Console
) -> dict[str, Any]:
    """Fill `folder` with all that a build of `lock` fetches; what is there and right stays. Returns the manifest.

    Raises FetchError, InputError. A folder that holds something else is refused.
    """
    folder = folder.resolve()
    if folder.exists() and any(folder.iterdir()) and not any((folder / name).exists() for name in (MANIFEST, _STARTED)):
        raise InputError("holds something else", where=str(folder), remedy="give an empty or a new folder")
    folder.mkdir(parents=True, exist_ok=True)
    (folder / _STARTED).touch()
    (folder / MANIFEST).unlink(missing_ok=True)
    manifest = _gather_all(recipe, lock, folder, target=target, origins=origins, work=work, console=console)
    lock.save(folder / "lock.json")
    manifest["files"] = [
        {"path": path.relative_to(folder).as_posix(), "size": path.lstat().st_size, "sha256": sha256_file(path)}
        for path in walk_files(folder)
        if path.name != _STARTED and path.is_file()
    ]
    write_json(folder / MANIFEST, manifest)
    (folder / _STARTED).unlink()
    console.info(f"{len(manifest['files'])} files, {format_bytes(sum(file['size'] for file in manifest['files']))}")
    return manifest


def _gather_all(
    recipe: Recipe, lock: Lock, folder: Path, *, target: Target, origins: Origins, work: Path, console: Console
) -> dict[str, Any]:
    """The manifest without its files. Raises FetchError that lists all that can't be had, of every kind."""
    missing: list[FetchError] = []

    def attempt(step: Callable[[], None]) -> None:
        try:
            step()
        except FetchError as error:
            missing.append(error)

    manifest: dict[str, Any] = {"format": 1, "recipe_digest": recipe.digest, "target": target.name}
    mirrors: dict[str, str] = {}
    sources: dict[str, str] = {}
    models: list[dict[str, Any]] = []
    remove_tree(folder / REPOSITORIES)
    pins = origins.pins(lock, recipe)
    with console.bar("repositories gathered", len(pins), unit="repositories") as advance:
        for pin in pins:
            attempt(lambda pin=pin: _gather_repository(pin, folder, mirrors, sources, origins, console))  # type: ignore[misc]
            advance(1)
    choice = choose_torch(lock.accelerator, wish=recipe.torch, asked=recipe.versions_asked, target=target)
    asking = Asking(
        target=target,
        python=lock.python_version,
        options=tuple(choice.options),
        indexes=tuple(filter(None, (patch.index for patch in recipe.patches))),
        origins=origins,
        folder=work / "uv",
    )
    packages = GatherPackages(
        lock=lock, folder=folder, asking=asking, attempt=attempt, mirrors=mirrors, console=console
    )
    wanted = packages.run()
    means = {"target": target, "origins": origins, "console": console}
    attempt(lambda: mirrors.update(gather_runtime(recipe, lock, folder, **means)))  # type: ignore[arg-type]
    attempt(lambda: models.extend(_gather_models(recipe, lock, folder, target, origins, console)))
    if missing:
        raise FetchError(
            "\n".join(["these things cannot be gathered:", *(f"- {error}" for error in missing)]),
            where=str(folder),
            remedy="what was gathered stays; the same command goes on from there",
        )
    packages.drop_others(wanted)
    return {**manifest, "mirrors": mirrors, "sources": sources, "models": models}


_STARTED = ".gathering"


def open_gathered(folder: Path) -> Gathered | None:
    """The gathered folder at `folder`; None if it is a plain folder of wheels.

    Raises FetchError that lists every file that is missing or has another size, InputError for a broken manifest.
    """
    path = folder / MANIFEST
    if not path.is_file():
        if (folder / _STARTED).exists():
            raise FetchError("is not complete: its download was interrupted", where=str(folder), remedy=_REMEDY)
        return None
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
        files = {file["path"]: file["size"] for file in value["files"]}
        places = [*value["mirrors"].values(), *value["sources"].values(), *(item["path"] for item in value["models"])]
        inside = value["format"] == 1 and all(_is_inside(name) for name in [*files, *places])
        gathered = Gathered(
            folder=folder.resolve(),
            mirrors={url: str(folder.resolve() / name) for url, name in value["mirrors"].items()},
            sources={name: str(folder.resolve() / place) for name, place in value["sources"].items()},
            models={
                item["url"]: (str(folder.resolve() / item["path"]), item["sha256"], item["size"])
                for item in value["models"]
            },
        )
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise InputError(f"cannot be read: {error}", where=str(path), remedy=_REMEDY) from error
    if not inside:
        raise InputError("is of another format", where=str(path), remedy=_REMEDY)
    faults = [fault for name, size in files.items() if (fault := _fault(folder / name, name, size))]
    if faults:
        raise FetchError("\n".join(["is not complete:", *faults]), where=str(folder), remedy=_REMEDY)
    load_lock(gathered.lock)
    return gathered


def _is_inside(name: str) -> bool:
    return not name.startswith("/") and ".." not in name.split("/") and "\\" not in name and ":" not in name


def _fault(path: Path, name: str, size: int) -> str | None:
    if not path.is_file():
        return f"  {name}: is missing"
    found = path.stat().st_size
    return f"  {name}: has {found} bytes, gathered were {size}" if found != size else None


def _gather_repository(
    pin: Pin, folder: Path, mirrors: dict[str, str], sources: dict[str, str], origins: Origins, console: Console
) -> None:
    """Puts down what its addresses (`mirrors`) and its name (`sources`) stand for, relative to `folder`."""
    collected = collect(
        pin,
        folder / REPOSITORIES,
        cache=origins.cache,
        mirrors=origins.mirrors,
        console=console,
        offline=origins.offline,
    )
    for number, item in enumerate(collected):
        place = item.path.relative_to(folder).as_posix()
        if local_path(item.url) is None:
            mirrors[item.url] = place
        elif number == 0:
            sources[pin.name] = place
        else:
            raise InputError(
                f"{pin.name} has a submodule that lies on this machine",
                where=item.url,
                remedy="give the repository by its https address and a --mirror",
            )


def _gather_models(
    recipe: Recipe, lock: Lock, folder: Path, target: Target, origins: Origins, console: Console
) -> list[dict[str, Any]]:
    """The models that the bundle carries, and what the addresses stand for."""
    models = wanted_models(recipe.models, target, lock.python_version) if recipe.model_mode == "bundle" else ()
    if not models:
        return []
    places = {model.url: folder / "models" / model.path for model in models}
    done = download_all(
        [(model_request(model, origins), places[model.url]) for model in models],
        cache=origins.cache,
        mirrors=origins.mirrors,
        console=console,
        offline=origins.offline,
        thorough=True,
    )
    return [
        {
            "url": model.url,
            "path": found.path.relative_to(folder).as_posix(),
            "sha256": found.sha256,
            "size": found.size,
        }
        for model, found in zip(models, done, strict=True)
    ]
