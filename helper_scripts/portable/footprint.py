"""What the bundle has, or may have, outside its folder. By itself nothing: it takes a variable of the user's, a link
made by `models link`, or a package that asks nobody (footprint.json: places known from their sources)."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from portable import model_places
from portable.bundle import Bundle
from portable.distributions import installed
from portable.environment import environment
from portable.errors import HelperError

_KNOWN = Path(__file__).absolute().with_name("footprint.json")
_RULES = Path(__file__).absolute().with_name("environment.json")


@dataclass(frozen=True, kw_only=True)
class Outside:
    """A file or folder outside the bundle; `size` in bytes. `why` tells what leads there, and what to do about it."""

    path: str
    size: int
    why: str


def find(bundle: Bundle, environ: Mapping[str, str], *, system: str) -> list[Outside]:
    """All that is there now. `system` is "posix", "macos" or "windows"."""
    env = environment(bundle.root, environ, recipe_env=bundle.env)
    found: list[Outside] = []
    for name in json.loads(_RULES.read_text(encoding="utf-8"))["default"]:
        value = env.get(name, "")
        if environ.get(name) and os.path.isabs(value) and not _is_inside(bundle.root, value):  # noqa: PTH117
            found += _there(Path(value), f"the variable {name} of yours leads there; unset, it is in portable/cache")
    shared = model_places.linked(bundle)
    if shared is not None:
        found += _there(shared, "the shared models folder; read alone. `manage models unlink` leaves it")
    try:
        packages = installed(bundle.root)
    except HelperError:
        packages = {}
    places: Any = json.loads(_KNOWN.read_text(encoding="utf-8"))["places"]
    for place in places:
        if place["package"] in packages:
            path = Path(os.path.expandvars(place.get(system, place["posix"]))).expanduser()
            found += _there(path, f"the package {place['package']} writes there; so may that of another program")
    return found


def _is_inside(root: Path, path: str) -> bool:
    real, inside = os.path.realpath(path), os.path.realpath(root)
    return real == inside or real.startswith(inside.rstrip(os.sep) + os.sep)


def _there(path: Path, why: str) -> list[Outside]:
    try:
        if not path.exists():
            return []
        size = path.stat().st_size if path.is_file() else _size(path)
    except OSError:
        size = 0
    return [Outside(path=str(path), size=size, why=why)]


def _size(folder: Path) -> int:
    total = 0
    for base, _, files in os.walk(folder):
        for name in files:
            try:
                total += os.lstat(os.path.join(base, name)).st_size  # noqa: PTH118 - many
            except OSError:
                continue
    return total
