"""The environment of every entry point: the user's machine stays out, caches stay inside.

The rules are in environment.json:

- `remove`, `remove_prefixes`: names that go; `keep` lists those of a prefix that stay (the user's index and proxy do).
- `set`: always this value. `default`: this value unless the user has one. `{root}` is the bundle, `{null}` the null
  device under the only name by which pip takes it for "no configuration file" (`os.devnull`).
- `default_file`: the first of these files that exists, unless the user's value names an existing file.
- `path`: folders put in front of PATH, so that `python` and console scripts are the bundle's.
"""

from __future__ import annotations

import json
import ntpath
import os
import posixpath
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

_REFERENCE = re.compile(r"\$\{([A-Za-z_][A-Za-z0-9_]*)\}")
_RULES = Path(__file__).absolute().with_name("environment.json")


def environment(
    bundle_root: Path,
    base: Mapping[str, str],
    *,
    recipe_env: Mapping[str, str] | None = None,
    windows: bool = os.name == "nt",
) -> dict[str, str]:
    """The whole environment for a program of the bundle in `bundle_root`, when the caller's is `base`.

    `recipe_env` wins over `base`, and the rules win over both, so that no recipe can let the user's machine in.
    `${NAME}` in a value of `recipe_env` is the user's variable; a value that is nothing but one which isn't set is left
    out.
    Changes nothing, and reads nothing but the rules and whether certificate files exist.
    """
    rules: dict[str, Any] = json.loads(_RULES.read_text(encoding="utf-8"))
    own = _names(base, windows)
    wanted = {**own, **_expand(_names(recipe_env or {}, windows), own, windows)}
    result = {name: value for name, value in wanted.items() if not _is_removed(name, rules)}
    for name, value in rules["set"].items():
        result[name] = _fill(value, bundle_root, windows)
    for name, value in rules["default"].items():
        if not result.get(name):
            result[name] = _fill(value, bundle_root, windows)
    for name, patterns in rules["default_file"].items():
        if not Path(result.get(name) or os.devnull).is_file():
            result.pop(name, None)
            if found := _first_file(bundle_root, patterns):
                result[name] = str(found)
    folders = [_fill("{root}/" + folder, bundle_root, windows) for folder in rules["path"][_family(windows)]]
    separator = (ntpath if windows else posixpath).pathsep
    result["PATH"] = separator.join([*folders, *filter(None, [result.get("PATH")])])
    return result


def _family(windows: bool) -> str:
    return "windows" if windows else "posix"


def _names(variables: Mapping[str, str], windows: bool) -> dict[str, str]:
    """Windows ignores the case of names; `os.environ` shows them in upper case there."""
    return {name.upper(): value for name, value in variables.items()} if windows else dict(variables)


def _expand(variables: Mapping[str, str], base: Mapping[str, str], windows: bool) -> dict[str, str]:
    def look_up(match: re.Match[str]) -> str:
        return base.get(match[1].upper() if windows else match[1], "")

    return {
        name: value
        for name, text in variables.items()
        if (value := _REFERENCE.sub(look_up, text)) or not _REFERENCE.fullmatch(text)
    }


def _is_removed(name: str, rules: Mapping[str, Any]) -> bool:
    return name in rules["remove"] or any(
        name.startswith(rule["prefix"]) and name not in rule["keep"] for rule in rules["remove_prefixes"]
    )


def _fill(value: str, root: Path, windows: bool) -> str:
    if value == "{null}":
        return ntpath.devnull if windows else posixpath.devnull
    if not value.startswith("{root}/"):
        return value
    words = [str(root), *value.split("/")[1:]]
    return ntpath.join(*words) if windows else posixpath.join(*words)


def _first_file(root: Path, patterns: Sequence[str]) -> Path | None:
    return next((path for pattern in patterns for path in sorted(root.glob(pattern)) if path.is_file()), None)
