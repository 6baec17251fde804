"""What the interpreter that runs this file can see and import. Each question is put to a fresh process.

    python -I probe.py inventory RESULT
    python -I probe.py import RESULT ROOT MODULE

It is run by the bundle's Python, so it imports the standard library alone and nothing of packager. The answer goes to
the file RESULT as JSON, since a module may print anything while it is imported.
"""

from __future__ import annotations

import importlib
import importlib.machinery
import importlib.metadata
import json
import keyword
import os
import sys
import traceback
from collections.abc import Iterable
from pathlib import Path, PurePosixPath
from typing import Any

_MAPS = Path("/proc/self/maps")
_TRACEBACK_LINES = 30


def inventory() -> dict[str, Any]:
    """Interpreter, distributions, their top-level modules and entry points. A broken distribution is named as such;
    `unlisted` are those without a RECORD, which pip can neither uninstall nor upgrade."""
    distributions: dict[str, str] = {}
    modules: set[str] = set()
    scripts: dict[str, str] = {}
    entry_points: set[str] = set()
    unlisted: list[str] = []
    _read_any_encoding()
    for distribution in importlib.metadata.distributions():
        name = distribution.metadata["Name"]
        if not name:
            name = f"without a name: {getattr(distribution, '_path', '?')}"
        if name in distributions:
            continue  # the first on sys.path is the one that gets imported
        distributions[name] = distribution.metadata["Version"] or "without a version"
        modules |= top_level_modules(distribution)
        if distribution.files is None:
            unlisted.append(name)
        for point in distribution.entry_points:
            entry_points.add(f"{point.group}: {point.name} = {point.value}")
            if point.group == "console_scripts":
                scripts[point.name] = point.value
    return {
        "python": ".".join(map(str, sys.version_info[:3])),
        "prefix": sys.prefix,
        "distributions": dict(sorted(distributions.items())),
        "modules": sorted(modules),
        "scripts": dict(sorted(scripts.items())),
        "entry_points": sorted(entry_points),
        "unlisted": sorted(unlisted),
    }


def _read_any_encoding() -> None:
    """Old wheels hold Latin-1 where the specifications ask for UTF-8; what is no UTF-8 is read with replacements."""
    read = importlib.metadata.PathDistribution.read_text

    def lenient(distribution: Any, filename: str) -> str | None:
        try:
            return read(distribution, filename)
        except UnicodeDecodeError:
            content: bytes = distribution._path.joinpath(filename).read_bytes()
            return content.decode("utf-8", "replace")

    importlib.metadata.PathDistribution.read_text = lenient  # type: ignore[assignment,method-assign]


def top_level_modules(distribution: importlib.metadata.Distribution) -> set[str]:
    """Its importable names: those of RECORD, or of top_level.txt when it has no list of files.

    Below a namespace package, which has nothing to import itself, the nearest packages and modules are taken.
    """
    if distribution.files is None:
        return set((distribution.read_text("top_level.txt") or "").split())
    found: set[str] = set()
    packages: set[str] = set()
    for path in distribution.files:
        name, is_package = _module_name(path)
        if name:
            found.add(name)
            if is_package:
                packages.add(name)
    return {name for name in found if not any(parent in packages for parent in _parents(name))}


def _module_name(path: PurePosixPath) -> tuple[str, bool]:
    """The module a file of a distribution is, and whether it is a regular package; ("", False) if it is none."""
    for suffix in sorted(importlib.machinery.all_suffixes(), key=len, reverse=True):
        if path.name.endswith(suffix) and suffix != ".pyc":
            break
    else:
        return "", False
    if suffix in {".so", ".pyd"} and len(path.parts) > 1:
        return "", False  # a library without an ABI tag in a folder is as good as never a module
    stem = path.name[: -len(suffix)]
    parts = [*path.parts[:-1], *([] if stem == "__init__" else [stem])]
    if (
        not parts
        or stem == "__main__"
        or not all(part.isidentifier() and not keyword.iskeyword(part) for part in parts)
    ):
        return "", False
    return ".".join(parts), stem == "__init__"


def _parents(name: str) -> Iterable[str]:
    parts = name.split(".")
    return (".".join(parts[:count]) for count in range(1, len(parts)))


def import_module(name: str, root: str) -> dict[str, Any]:
    """`error` is None, or every exception of the chain and the end of the traceback; `mapped` as in mapped_outside."""
    error = None
    try:
        importlib.import_module(name)
    except BaseException as raised:  # a module may raise SystemExit, and that is an answer too
        error = f"{_chain(raised)}\n{_traceback_tail(raised)}"
    return {"error": error, "mapped": mapped_outside(root)}


def _chain(error: BaseException) -> str:
    """Packages hide the cause of a failed import behind their own exception; all of it is told."""
    texts = []
    seen: set[int] = set()
    current: BaseException | None = error
    while current is not None and id(current) not in seen:
        seen.add(id(current))
        texts.append(f"{type(current).__name__}: {current}")
        current = current.__cause__ or current.__context__
    return "; caused by ".join(texts)


def _traceback_tail(error: BaseException) -> str:
    own_frame = error.__traceback__
    below = own_frame.tb_next if own_frame else None
    lines = "".join(traceback.format_exception(type(error), error, below)).splitlines()
    return "\n".join(lines[-_TRACEBACK_LINES:])


def mapped_outside(root: str) -> list[str]:
    """Files mapped for execution that do not lie below `root` (an absolute path without links). Linux; else empty."""
    if not _MAPS.exists():
        return []
    found = set()
    for line in os.fsdecode(_MAPS.read_bytes()).splitlines():
        fields = line.split(None, 5)
        if len(fields) == 6 and "x" in fields[1] and fields[5].startswith("/"):
            found.add(fields[5])
    return sorted(path for path in found if not path.startswith(root.rstrip("/") + "/"))


def main(arguments: list[str]) -> None:
    answer: dict[str, Any]
    if arguments[0] == "inventory":
        answer = inventory()
    else:
        _, _, root, module = arguments
        answer = import_module(module, root)
    # half a surrogate pair, which an error text may hold, would be refused by whoever writes it down next
    Path(arguments[1]).write_bytes(json.dumps(answer, ensure_ascii=False).encode("utf-8", errors="replace"))
    os._exit(0)  # a thread that an imported module started must not keep the process


if __name__ == "__main__":
    main(sys.argv[1:])
