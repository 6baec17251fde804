"""Where models lie: in the bundle, and in a folder shared with others, named in ComfyUI/extra_model_paths.yaml.

ComfyUI reads that file (`load_extra_path_config`). One section between two marker lines is ours; all else in it is the
user's and stays as it is. No model is ever copied, moved or deleted here.
"""

from __future__ import annotations

import json
import os
import re
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from portable.bundle import Bundle
from portable.errors import HelperError, UsageError

_BEGIN = "# >>> shared models folder, written by `manage models link`; `manage models unlink` removes it >>>"
_END = "# <<< shared models folder <<<"
_SECTION = re.compile(rf"^{re.escape(_BEGIN)}\r?\n(.*?)^{re.escape(_END)}[^\S\n]*(?:\n|\Z)", re.MULTILINE | re.DOTALL)
_BASE = re.compile(r"^ +base_path: (\".*\")\s*$", re.MULTILINE)


@dataclass(frozen=True, kw_only=True)
class Candidate:
    """A place for a shared models folder. `named` is how the table or the user wrote it."""

    path: Path
    named: str

    @property
    def exists(self) -> bool:
        return self.path.is_dir()


def table() -> dict[str, Any]:
    """What model_places.json says."""
    loaded: dict[str, Any] = json.loads(
        Path(__file__).absolute().with_name("model_places.json").read_text(encoding="utf-8")
    )
    return loaded


def candidates(environ: Mapping[str, str] = os.environ, *, platform: str = sys.platform) -> list[Candidate]:
    """Where a shared folder may lie, in the order in which it is looked for; names that are not set are skipped."""
    shared = table()["shared"]
    found = []
    for named in shared["windows" if platform == "win32" else "macos" if platform == "darwin" else "posix"]:
        path = named
        if named.startswith("$"):
            variable, _, rest = named[1:].partition("/")
            if not environ.get(variable):
                continue
            path = os.path.join(environ[variable], rest) if rest else environ[variable]  # noqa: PTH118 - `~` may follow
        found.append(Candidate(path=Path(path).expanduser(), named=named))
    return found


def paths_file(bundle: Bundle) -> Path:
    return bundle.app_dir / "extra_model_paths.yaml"


def linked(bundle: Bundle) -> Path | None:
    """The shared folder that the bundle uses now."""
    section = _SECTION.search(_read(paths_file(bundle)))
    base = _BASE.search(section[1]) if section else None
    return Path(json.loads(base[1])) if base else None


def link(bundle: Bundle, folder: str | None) -> Path:
    """Make ComfyUI read the models in `folder` too, or in the first candidate that exists. Returns the folder.

    Raises UsageError if there is no such folder, HelperError if the file cannot be written or our section is damaged.
    """
    chosen = Path(folder).expanduser() if folder else next((item.path for item in candidates() if item.exists), None)
    if chosen is None:
        tried = ", ".join(str(item.path) for item in candidates())
        raise UsageError(f"there is no shared models folder; tried {tried}. Give one: manage models link FOLDER")
    chosen = Path(os.path.abspath(chosen))  # noqa: PTH100 - a link the user made stays what the file names
    if not chosen.is_dir():
        raise UsageError(f"{chosen} is no folder: make it first, or give another.")
    if not chosen.as_posix().isprintable():
        raise UsageError("the folder's name holds characters that a YAML file cannot.")
    if chosen == bundle.app_dir / "models":
        raise UsageError(f"{chosen} is the bundle's own models folder, which ComfyUI reads anyway.")
    _write_section(paths_file(bundle), _section(chosen))
    return chosen


def unlink(bundle: Bundle) -> bool:
    """Take our section out again; False if there was none. The folder itself stays as it is."""
    there = linked(bundle) is not None
    if there:
        _write_section(paths_file(bundle), "")
    return there


def share(instance: Bundle, base: Bundle) -> None:
    """Let an instance read the models of its base, and the shared folder that this one uses; the way is relative."""
    way = Path(os.path.relpath(base.app_dir / "models", instance.app_dir)).as_posix()
    text = "\n".join(["# Written by `manage instance create`.", *_lines("bundle_models", way), ""])
    paths_file(instance).write_text(text, encoding="utf-8")
    if (shared := linked(base)) and shared.is_dir():
        link(instance, str(shared))


def _section(folder: Path) -> str:
    return "\n".join([_BEGIN, *_lines("portable_shared_models", folder.as_posix()), _END, ""])


def _lines(section: str, base_path: str) -> list[str]:
    """A JSON string is a YAML string too. Each folder is listed with the older names it has."""
    places = table()
    lines = [f"{section}:", f"    base_path: {json.dumps(base_path, ensure_ascii=False)}"]
    for name in [*places["folders"], *places["node_folders"]]:
        older = [alias for alias, new in places["aliases"].items() if new == name]
        if older:
            lines += [f"    {name}: |", *(f"        {each}/" for each in [name, *older])]
        else:
            lines.append(f"    {name}: {name}/")
    return lines


def _read(path: Path) -> str:
    try:
        text = path.read_bytes().decode("utf-8-sig")
    except FileNotFoundError:
        return ""
    except (OSError, UnicodeError) as error:
        raise HelperError(f"{path} cannot be read ({error}): mend or remove it.") from error
    if (
        text.count(_BEGIN) != text.count(_END)
        or text.count(_BEGIN) > 1
        or bool(_SECTION.search(text)) != (_BEGIN in text)
    ):
        raise HelperError(
            f"{path}: the marker lines around the shared folder are damaged: remove them and what they hold."
        )
    return text


def _write_section(path: Path, section: str) -> None:
    text = _read(path)
    match = _SECTION.search(text)
    if match:
        text = text[: match.start()] + section + text[match.end() :]
    elif re.search(r"^portable_shared_models:", text, re.MULTILINE):
        raise HelperError(f"{path} has a section portable_shared_models of its own: rename it.")
    else:
        text = text + ("\n" if text and not text.endswith("\n") else "") + section
    try:
        if not text:
            path.unlink()
            return
        temporary = path.with_name(f".{path.name}.tmp")
        temporary.write_bytes(text.encode())
        temporary.replace(path)
    except OSError as error:
        raise HelperError(f"{path} cannot be written ({error.strerror}).") from error
