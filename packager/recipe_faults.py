"""What is wrong with a recipe that keeps its schema, and what a repository is called that has no name there."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any
from urllib.parse import unquote

from packaging.requirements import InvalidRequirement, Requirement

from packager.accelerators import check_accelerator
from packager.document import Document, Pointer, check_address
from packager.errors import Fault
from packager.filesystem import is_device_name
from packager.models import check_models
from packager.resolution.patches import check_patches
from packager.resolution.wheel_matrix import check_native_packages

# Names under which the lock tells the recipe's own wishes from those of nodes.
_TAKEN = {"packager", "python_packages", "constraints", "overrides"}


def check_meaning(document: Document, schema: dict[str, Any]) -> Iterator[Fault]:
    """What a schema cannot say: names that clash or mean devices, paths that leave, requirements that do not parse."""
    value = document.value
    for field in ("version_id", "name", "root"):
        if field in value:
            yield from _check_name(document, (field,), value[field])
    yield from _check_nodes(document, schema)
    yield from _check_conda(document, schema)
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


def _check_nodes(document: Document, schema: dict[str, Any]) -> Iterator[Fault]:
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
        name = node.get("name") or repository_name(repo)
        if not re.search(schema["$defs"]["name"]["pattern"], name):
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


def _check_conda(document: Document, schema: dict[str, Any]) -> Iterator[Fault]:
    runtime = document.value.get("runtime", schema["properties"]["runtime"]["default"])
    for field in ("conda_packages", "channels", "miniforge"):
        if field in document.value and runtime != "miniforge":
            yield document.fault((field,), "only runtime miniforge can use it", "write `runtime: miniforge`")


def _check_requirement(document: Document, pointer: Pointer, text: str) -> Iterator[Fault]:
    try:
        requirement = Requirement(text)
    except InvalidRequirement as error:
        reason = str(error).splitlines()[0]
        yield document.fault(pointer, f"'{text}' is not a requirement: {reason}", "write it as in `package>=1.0,<2.0`")
        return
    if requirement.url:
        yield from check_address(document, pointer, requirement.url.removeprefix("git+"))


def repository_name(url: str) -> str:
    """The last word of a repository's address or path."""
    return unquote(url.rstrip("/").replace("\\", "/").rsplit("/", 1)[-1]).removesuffix(".git")
