"""`_sysconfigdata*.py`, which says how and where a CPython was built, made to say where it lies now."""

from __future__ import annotations

import ast
import pprint
import shlex
from collections.abc import Mapping, Sequence
from typing import Any

from packager.errors import InputError

_HEAD = "# How this Python was built. Where it lies is known at run time only, so the paths are made then.\n"


def relocatable(source: str, *, where: str, paths: Mapping[str, str], build_paths: Sequence[str]) -> str:
    """The same module with no path of the original left.

    The variables in `paths` become that path below `sys.base_prefix` (the bundle's prefix, also within a virtual
    environment made from it); of the other values, words that hold one of `build_paths` are dropped. Equal sources give
    equal results. Raises InputError, naming `where`, if `source` is not the one literal that CPython's build writes.
    """
    variables = _literal(source, where)
    fixed = {
        name: _without_words(value, build_paths) if isinstance(value, str) else value
        for name, value in variables.items()
        if name not in paths
    }
    moved = {name: paths[name] for name in sorted(variables) if name in paths}
    return (
        f"{_HEAD}import os\nimport sys\n\n"
        f"build_time_vars = {pprint.pformat(fixed, width=120)}\n\n"
        f"_paths = {pprint.pformat(moved, width=120)}\n"
        "build_time_vars.update(\n"
        "    (name, os.path.join(sys.base_prefix, path).rstrip('/')) for name, path in _paths.items()\n"
        ")\n"
    )


def _literal(source: str, where: str) -> dict[str, Any]:
    try:
        assignments = [
            node.value
            for node in ast.parse(source).body
            if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "build_time_vars"
        ]
        (literal,) = assignments
        value = ast.literal_eval(literal)
    except (SyntaxError, ValueError) as error:
        raise InputError("does not hold build_time_vars as CPython's build writes it", where=where) from error
    if not isinstance(value, dict):
        raise InputError("build_time_vars is not a dictionary", where=where)
    return value


def _without_words(value: str, build_paths: Sequence[str]) -> str:
    if not any(path in value for path in build_paths):
        return value
    for path in build_paths:
        value = value.replace(path, "\0")  # so that a space in the path does not cut the word
    quoted = "'" in value or '"' in value
    try:
        words = shlex.split(value) if quoted else value.split()
    except ValueError:
        return ""
    kept = [word for word in words if "\0" not in word]
    return shlex.join(kept) if quoted else " ".join(kept)
