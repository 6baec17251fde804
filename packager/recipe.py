"""The recipe: what its author asks for. Loads `schema_version: 2` documents, YAML or JSON (recipe.schema.json)."""

from __future__ import annotations

import functools
import hashlib
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal
from urllib.parse import unquote

from packaging.requirements import InvalidRequirement, Requirement

from packager import resources
from packager.accelerators import TorchWish, check_accelerator
from packager.document import Document, Pointer, check_address, check_schema, read_document
from packager.errors import DocumentError, Fault, InputError
from packager.filesystem import is_device_name
from packager.models import Model, check_models, read_model
from packager.parts import MAX_PART_SIZE, parse_size
from packager.resolution.patches import Patch, check_patches, read_patches
from packager.resolution.wheel_matrix import NativePackage, check_native_packages

_SUFFIXES = (".yml", ".yaml", ".json")
# Names under which the lock tells the recipe's own wishes from those of nodes.
_TAKEN = {"packager", "python_packages", "constraints", "overrides"}


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
        faults = list(_check_meaning(document))
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
        name=name or value.get("name") or _repository_name(url),
        url=url,
        ref=value.get("ref"),
        commit=value.get("commit"),
    )


def _repository_name(url: str) -> str:
    return unquote(url.rstrip("/").replace("\\", "/").rsplit("/", 1)[-1]).removesuffix(".git")


def _check_meaning(document: Document) -> Iterator[Fault]:
    """What a schema cannot say: names that clash or mean devices, paths that leave, requirements that do not parse."""
    value = document.value
    for field in ("version_id", "name", "root"):
        if field in value:
            yield from _check_name(document, (field,), value[field])
    yield from _check_nodes(document)
    yield from _check_conda(document)
    for field in ("python_packages", "constraints", "overrides"):
        for position, text in enumerate(value.get(field, ())):
            yield from _check_requirement(document, (field, position), text)
    yield from check_models(document)
    yield from check_accelerator(document)
    yield from check_patches(document)
    yield from check_native_packages(document)
    if index := value.get("torch", {}).get("index"):
        yield from check_address(document, ("torch", "index"), index)


def _check_name(document: Document, pointer: Pointer, name: str) -> Iterator[Fault]:
    if is_device_name(name):
        yield document.fault(pointer, f"'{name}' is the name of a device on Windows", "choose another name")


def _check_nodes(document: Document) -> Iterator[Fault]:
    seen = {"comfyui": -1}  # the app's own folder among the checkouts
    repositories: list[tuple[Pointer, dict[str, Any]]] = [(("comfy",), document.value["comfy"])]
    repositories += [(("custom_nodes", n), node) for n, node in enumerate(document.value.get("custom_nodes", ()))]
    for pointer, node in repositories:
        repo = node["repo"]
        if "://" in repo and not repo.startswith("file://"):
            yield from check_address(document, (*pointer, "repo"), repo)
        if repo.startswith("-") or "::" in repo or any(ord(letter) < 32 for letter in repo):
            yield document.fault((*pointer, "repo"), f"'{repo}' is not a repository", "use https:// or a folder")
        if ".." in node.get("ref", "").split("/") or node.get("ref", "").endswith((".lock", "/")):
            yield document.fault(
                (*pointer, "ref"), f"'{node['ref']}' is not a branch, tag or commit", "see `git check-ref-format`"
            )
        if pointer == ("comfy",):
            continue
        name = node.get("name") or _repository_name(repo)
        if not re.search(schema()["$defs"]["name"]["pattern"], name):
            yield document.fault((*pointer, "name"), "no folder name can be made of the repository", "give a name")
            continue
        if name in _TAKEN:
            yield document.fault((*pointer, "name"), f"'{name}' is taken for the recipe's own lines", "choose another")
        yield from _check_name(document, (*pointer, "name"), name)
        position = seen.setdefault(name.lower(), pointer[-1] if isinstance(pointer[-1], int) else 0)
        if position != pointer[-1]:
            yield document.fault(
                (*pointer, "name"),
                f"'{name}' is also {'ComfyUI itself' if position < 0 else f'custom_nodes[{position}]'}",
                "give one of them another name",
            )


def _check_conda(document: Document) -> Iterator[Fault]:
    for field in ("conda_packages", "channels", "miniforge"):
        if field in document.value and document.value.get("runtime", _default_runtime()) != "miniforge":
            yield document.fault((field,), "only runtime miniforge can use it", "write `runtime: miniforge`")


def _default_runtime() -> str:
    default: str = schema()["properties"]["runtime"]["default"]
    return default


def _check_requirement(document: Document, pointer: Pointer, text: str) -> Iterator[Fault]:
    try:
        requirement = Requirement(text)
    except InvalidRequirement as error:
        reason = str(error).splitlines()[0]
        yield document.fault(pointer, f"'{text}' is not a requirement: {reason}", "write it as in `package>=1.0,<2.0`")
        return
    if requirement.url:
        yield from check_address(document, pointer, requirement.url.removeprefix("git+"))
