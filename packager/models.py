"""The models of a recipe: what may be said of one, where it goes, and which of them a target gets.

What is known of folders and hosts is data, which the helpers in the bundle read too:
helper_scripts/portable/model_places.json.
"""

from __future__ import annotations

import difflib
import functools
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any
from urllib.parse import quote, unquote, urlsplit

from packaging.markers import InvalidMarker, Marker, UndefinedEnvironmentName

from packager import resources
from packager.document import Document, Pointer, check_address
from packager.errors import Fault
from packager.filesystem import is_device_name
from packager.resolution.markers import marker_environment
from packager.targets import Target

_HUGGING_FACE = "hf://"


@dataclass(frozen=True, kw_only=True)
class Model:
    """One model file. `path` is relative to ComfyUI/models; `size` in bytes; `when` is a PEP 508 marker."""

    path: PurePosixPath
    url: str
    sha256: str | None = None
    size: int | None = None
    license: str | None = None
    when: str | None = None


@functools.cache
def model_places() -> dict[str, Any]:
    """What helper_scripts/portable/model_places.json says (model_places.schema.json explains it)."""
    path = resources.helper_scripts() / "portable" / "model_places.json"
    loaded: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return loaded


def read_model(value: dict[str, Any]) -> Model:
    """The model that one entry of `models:` describes. The entry has passed the schema and `check_models`."""
    return Model(
        path=_path(value),
        url=_url(_source(value)[1]),
        sha256=value.get("sha256"),
        size=value.get("size"),
        license=value.get("license"),
        when=value.get("when"),
    )


def check_models(document: Document) -> Iterator[Fault]:
    """What a schema cannot say: addresses that are refused, paths that leave or clash, markers that do not parse."""
    seen: set[str] = set()
    for position, model in enumerate(document.value.get("models", ())):
        pointer: Pointer = ("models", position)
        field, url = _source(model)
        if url.startswith(_HUGGING_FACE):
            if not all(_hugging_face_parts(url)):
                yield document.fault(
                    (*pointer, field),
                    f"'{model[field]}' names no file",
                    "write ORG/REPO/FILE or ORG/REPO/FILE@REVISION",
                )
                continue
        elif not url.startswith("file://"):
            yield from check_address(document, (*pointer, field), url)
        if why := _marker_fault(model.get("when")):
            yield document.fault((*pointer, "when"), why, "write a marker such as sys_platform == 'linux' (PEP 508)")
        path = str(_path(model))
        if fault := _path_fault(path):
            yield document.fault(pointer, f"'{path}' {fault[0]}", fault[1])
        elif path.lower() in seen:
            yield document.fault(pointer, f"'{path}' is there twice", "give one of them another name")
        seen.add(path.lower())


def folder_warnings(models: Sequence[Model]) -> list[str]:
    """A sentence for each folder that neither ComfyUI nor a known node reads: a slip of the pen, or a node's own."""
    places = model_places()
    known = [*places["folders"], *places["node_folders"], *places["aliases"]]
    folders = {model.path.parts[0]: str(model.path) for model in models if len(model.path.parts) > 1}
    warnings = []
    for folder, path in folders.items():
        if folder not in known:
            near = difflib.get_close_matches(folder, known, 1)
            hint = f"did you mean '{near[0]}'?" if near else "a node must read it"
            warnings.append(f"models: ComfyUI has no folder '{folder}' (for {path}); {hint}")
    return warnings


def wanted_models(models: Sequence[Model], target: Target, python: str) -> tuple[Model, ...]:
    """Those whose `when` holds on `target` with this version of Python."""
    environment = marker_environment(target, python)
    return tuple(model for model in models if model.when is None or Marker(model.when).evaluate(environment))


def _source(value: dict[str, Any]) -> tuple[str, str]:
    """The field that says where the model comes from, and its address; `hf: ORG/REPO/FILE` is read as `hf://...`."""
    if "hf" in value:
        return "hf", _HUGGING_FACE + value["hf"].removeprefix(_HUGGING_FACE)
    return ("url", value["url"]) if "url" in value else ("source", value["source"])


def _url(url: str) -> str:
    if not url.startswith(_HUGGING_FACE):
        return url
    repository, file, revision = _hugging_face_parts(url)
    template: str = model_places()["hugging_face"]
    return template.format(repository=quote(repository), revision=quote(revision, safe=""), file=quote(file))


def _hugging_face_parts(url: str) -> tuple[str, str, str]:
    """hf://ORG/REPO/FILE[@REVISION] -> ORG/REPO, FILE, REVISION; an empty string for what is missing."""
    text, at, revision = url.removeprefix(_HUGGING_FACE).partition("@")
    parts = text.split("/")
    if not all(parts) or ".." in parts:
        return "", "", ""
    return "/".join(parts[:2]), "/".join(parts[2:]), revision if at else "main"


def _path(value: dict[str, Any]) -> PurePosixPath:
    if "path" in value:
        return PurePosixPath(value["path"])
    kind = value.get("type")
    folder = model_places()["aliases"].get(kind, kind) or value.get("target_subdir") or "checkpoints"
    url = _source(value)[1]
    path = url.partition("@")[0] if url.startswith(_HUGGING_FACE) else urlsplit(url).path
    file_name = unquote(PurePosixPath(path).name)
    name = value.get("name") or file_name
    if "." not in name:  # a label, as in `name: wan22-unet`, not a file name
        name += PurePosixPath(file_name).suffix
    return PurePosixPath(folder) / name


def _path_fault(path: str) -> tuple[str, str] | None:
    """What is wrong with it and what to do; None if nothing is."""
    parts = path.replace("\\", "/").split("/")
    if path.startswith("/") or ".." in parts or "" in parts or ":" in path or any(ord(letter) < 32 for letter in path):
        return "leaves the models folder", "give a path below ComfyUI/models"
    if any(is_device_name(part) for part in parts):
        return "holds the name of a device on Windows", "choose another name"
    return None


def _marker_fault(text: str | None) -> str | None:
    try:
        if text is not None:
            Marker(text).evaluate()
    except (InvalidMarker, UndefinedEnvironmentName) as error:
        return f"'{text}' is not a marker: {str(error).splitlines()[0]}"
    return None
