"""The recipe: what its author asks for. Loads `schema_version: 2` documents, YAML or JSON (recipe.schema.json)."""

from __future__ import annotations

import functools
import hashlib
import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from packager import resources
from packager.accelerators import TorchWish
from packager.document import check_schema, read_document
from packager.errors import DocumentError, InputError
from packager.models import Model, read_model
from packager.parts import MAX_PART_SIZE, parse_size
from packager.recipe_faults import check_meaning, repository_name
from packager.resolution.patches import Patch, read_patches
from packager.resolution.wheel_matrix import NativePackage

_SUFFIXES = (".yml", ".yaml", ".json")


@dataclass(frozen=True, kw_only=True)
class Repository:
    """A git repository (https URL) or a local folder (absolute path in `url`)."""

    name: str
    url: str
    ref: str | None = None
    commit: str | None = None


@dataclass(frozen=True, kw_only=True)
class Keep:
    """A path no clean-up rule may remove; `pattern` is gitignore-style from the bundle's root."""

    pattern: str
    reason: str


@dataclass(frozen=True, kw_only=True)
class RuleException:
    """What one rule leaves alone; `pattern` is gitignore-style from the folder of the rule's scope."""

    rule: str
    pattern: str
    reason: str


@dataclass(frozen=True, kw_only=True)
class Cleanup:
    """`rules` are more rules: the path of a rule file as it stands in the recipe, or a rule as one holds it.

    `strip` and `bytecode` None: as the tier has it.
    """

    tier: str = "safe"
    opt_in: tuple[str, ...] = ()
    keep: tuple[Keep, ...] = ()
    oracle: bool = True
    rules: tuple[str | dict[str, Any], ...] = ()
    exceptions: tuple[RuleException, ...] = ()
    strip: bool | None = None
    bytecode: bool | None = None

    @property
    def wants_strip(self) -> bool:
        """Symbols are what a crash report of native code is read with: few people use them, so it is not `safe`."""
        return self.tier == "aggressive" if self.strip is None else self.strip

    @property
    def wants_bytecode(self) -> bool:
        return self.tier != "none" if self.bytecode is None else self.bytecode


@dataclass(frozen=True, kw_only=True)
class Archive:
    formats: tuple[Literal["zip", "tar.zst", "dir"], ...] = ("zip",)
    level: str = "default"
    max_part_size: int = MAX_PART_SIZE
    max_path: int | None = None


@dataclass(frozen=True, kw_only=True)
class Release:
    """Which bundles a release has; empty: see releases/matrix.py."""

    targets: tuple[str, ...] = ()
    accelerators: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """A valid recipe, defaults filled in. `path` is where it was read from; `digest` is of its content alone.

    `names_runtime`: whether it says itself where Python comes from.
    """

    path: Path
    digest: str
    version_id: str
    name: str
    root: str
    version: str
    description: str
    python: str | None
    runtime: str
    names_runtime: bool = True
    conda_packages: tuple[str, ...] = ()
    channels: tuple[str, ...] = ()
    miniforge: str | None = None
    accelerator: str | None
    torch: TorchWish
    comfy: Repository
    custom_nodes: tuple[Repository, ...] = ()
    python_packages: tuple[str, ...] = ()
    constraints: tuple[str, ...] = ()
    overrides: tuple[str, ...] = ()
    excludes: tuple[str, ...] = ()
    patches: tuple[Patch, ...] = ()
    native_packages: tuple[NativePackage, ...] = ()
    models: tuple[Model, ...] = ()
    model_mode: Literal["bundle", "first-run", "skip"] = "bundle"
    env: dict[str, str]
    launch_args: tuple[str, ...] = ()
    offline: bool = False
    system_libraries: tuple[str, ...] = ()
    cleanup: Cleanup
    archive: Archive
    release: Release = Release()

    @property
    def repositories(self) -> tuple[Repository, ...]:
        """ComfyUI first, then the nodes in their order."""
        return (self.comfy, *self.custom_nodes)

    @property
    def versions_asked(self) -> tuple[str, ...]:
        """The requirements by which the recipe itself decides on versions."""
        return (*self.constraints, *self.overrides)


@functools.cache
def schema() -> dict[str, Any]:
    """The JSON Schema of a recipe."""
    loaded: dict[str, Any] = json.loads(Path(__file__).with_name("recipe.schema.json").read_text(encoding="utf-8"))
    return loaded


def find_recipe(word: str) -> Path:
    """The file a RECIPE argument means: a path, or the name of one in recipes/. Raises InputError."""
    path = Path(word)
    try:
        if path.is_file():
            return path
    except OSError as error:
        raise InputError(f"no such recipe: {error.strerror}", where=f"{word[:60]}...", remedy="give a file") from error
    if path.suffix not in _SUFFIXES and path.name == word:
        for suffix in _SUFFIXES:
            named = resources.recipes() / f"{word}{suffix}"
            if named.is_file():
                return named
    known = sorted(found.stem for found in resources.recipes().iterdir() if found.suffix in _SUFFIXES)
    raise InputError("no such recipe", where=word, remedy=f"give a file, or one of {', '.join(known)}")


def checked_version(text: str) -> str:
    """`text` if it may stand as a bundle's version, which is part of file names. Raises InputError."""
    rule = schema()["properties"]["version"]
    if len(text) > rule["maxLength"] or not re.fullmatch(rule["pattern"].strip("^$"), text):
        raise InputError(f"'{text}' is no version", where="--version", remedy="write it as in 1.4.0")
    return text


def load_recipe(path: Path) -> Recipe:
    """Read and check the recipe at `path`. Raises DocumentError with every fault at once, or InputError."""
    document = read_document(path)
    if document.value is None:
        raise InputError("is empty", where=str(path), remedy="write at least schema_version, version_id and comfy")
    faults = check_schema(document, schema())
    if not faults:
        faults = list(check_meaning(document, schema()))
    if faults:
        raise DocumentError(faults)
    return _build(document.value, path.resolve())


def _build(value: dict[str, Any], path: Path) -> Recipe:
    name = value.get("name", value["version_id"])
    options = value.get("options", {})
    cleanup = value.get("cleanup", {})
    archive = value.get("archive", {})
    mode: Literal["bundle", "first-run", "skip"] = (
        "skip" if options.get("skip_models") else options.get("models", "bundle")
    )
    return Recipe(
        path=path,
        digest=hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest(),
        version_id=value["version_id"],
        name=name,
        root=value.get("root", name),
        version=value.get("version", resources.version()),
        description=value.get("description", ""),
        python=value.get("python"),
        runtime=value.get("runtime", _default_runtime()),
        names_runtime="runtime" in value,
        conda_packages=tuple(value.get("conda_packages", ())),
        channels=tuple(value.get("channels", ())),
        miniforge=value.get("miniforge"),
        accelerator=value.get("accelerator"),
        torch=TorchWish(**value.get("torch", {})),
        comfy=_repository(value["comfy"], path.parent, name="ComfyUI"),
        custom_nodes=tuple(_repository(node, path.parent) for node in value.get("custom_nodes", ())),
        python_packages=tuple(value.get("python_packages", ())),
        constraints=tuple(value.get("constraints", ())),
        overrides=tuple(value.get("overrides", ())),
        excludes=tuple(value.get("excludes", ())),
        patches=read_patches(value.get("patches", [])),
        native_packages=tuple(NativePackage(**item) for item in value.get("native_packages", ())),
        models=() if mode == "skip" else tuple(read_model(model) for model in value.get("models", ())),
        model_mode=mode,
        env=dict(value.get("env", {})),
        launch_args=tuple(value.get("launch", {}).get("args", ())),
        offline=options.get("offline", False),
        system_libraries=tuple(options.get("system_libraries", ())),
        cleanup=Cleanup(
            tier=cleanup.get("tier", "safe"),
            opt_in=tuple(cleanup.get("opt_in", ())),
            keep=tuple(Keep(**keep) for keep in cleanup.get("keep", ())),
            oracle=cleanup.get("oracle", True),
            rules=tuple(cleanup.get("rules", ())),
            exceptions=tuple(RuleException(**item) for item in cleanup.get("exceptions", ())),
            strip=cleanup.get("strip"),
            bytecode=cleanup.get("bytecode"),
        ),
        archive=Archive(
            formats=tuple(archive.get("formats", ("zip",))),
            level=archive.get("level", "default"),
            max_part_size=parse_size(
                archive.get("max_part_size", MAX_PART_SIZE), where=f"{path}: archive.max_part_size"
            ),
            max_path=archive.get("max_path"),
        ),
        release=Release(**{key: tuple(names) for key, names in value.get("release", {}).items()}),
    )


def _repository(value: dict[str, Any], folder: Path, *, name: str | None = None) -> Repository:
    url = value["repo"]
    if "://" not in url:
        url = str((folder / url).resolve())
    return Repository(
        name=name or value.get("name") or repository_name(url),
        url=url,
        ref=value.get("ref"),
        commit=value.get("commit"),
    )


def _default_runtime() -> str:
    default: str = schema()["properties"]["runtime"]["default"]
    return default
