"""What a repository declares that it needs: requirements.txt, pyproject.toml, setup.cfg, setup.py. Nothing is run."""

from __future__ import annotations

import ast
import configparser
import re
import sys
import warnings
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from packager.resolution.requirements import (
    MAX_BYTES,
    Line,
    Removed,
    Requirements,
    decode,
    parse_requirements,
    read_requirements,
)

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib


def declared_requirements(checkout: Path) -> Requirements:
    """The requirements of the first file that states any, in the order above; the others do not count.

    A requirements.txt always states them, the others do if they name dependencies at all. Never raises for what is in
    a file: what cannot be read is in `removed`, with the reason.
    """
    removed: tuple[Removed, ...] = ()
    for name, read in _SOURCES:
        path = checkout / name
        if not path.is_file():
            continue
        if not path.resolve().is_relative_to(checkout.resolve()):
            found: Requirements | None = _whole(name, "a link that leaves the repository")
        elif path.stat().st_size > MAX_BYTES:
            found = _whole(name, f"larger than {MAX_BYTES // 1024} KiB")
        else:
            found = read(path, checkout)
        if found and (found.kept or not _is_fault(found)):
            return Requirements(kept=found.kept, removed=removed + found.removed)
        removed += found.removed if found else ()
    return Requirements(removed=removed)


def _is_fault(found: Requirements) -> bool:
    """Whether the file as a whole could not be read, so that the next one is asked."""
    return any(item.text == _WHOLE for item in found.removed)


_WHOLE = "(whole file)"


def _whole(name: str, reason: str) -> Requirements:
    return Requirements(removed=(Removed(file=name, line=1, text=_WHOLE, reason=reason),))


def _requirements_txt(path: Path, checkout: Path) -> Requirements:
    return read_requirements(path, root=checkout)


def _pyproject(path: Path, checkout: Path) -> Requirements | None:
    """`[project] dependencies` (PEP 621), or the files setuptools is told to read them from if they are dynamic."""
    text = decode(path.read_bytes())
    try:
        table = tomllib.loads(text)
        project = table.get("project", {})
        if "dependencies" in project:
            entries = [str(item) for item in project["dependencies"]]
            return parse_requirements(list(_toml_lines(text, entries)), file=path.name)
        if "dependencies" in project.get("dynamic", []):
            dynamic = table.get("tool", {}).get("setuptools", {}).get("dynamic", {}).get("dependencies", {})
            files = dynamic.get("file", [])
            names = [files] if isinstance(files, str) else [str(name) for name in files]
            return _included(names, checkout, path.name) if names else None
    except (ValueError, AttributeError, TypeError, RecursionError) as error:
        return _whole(path.name, f"not readable as TOML with a [project] table: {error}")
    return None


def _toml_lines(text: str, entries: Sequence[str]) -> Iterator[tuple[int, str]]:
    """The line each entry stands in: the parser keeps none, but the entries follow each other in the text."""
    lines = text.splitlines()
    header = re.compile(r"^\s*\[\s*project\s*\]")
    start = next((number for number, line in enumerate(lines) if header.match(line)), 0)
    key = re.compile(r"^\s*(project\s*\.\s*)?[\"']?dependencies[\"']?\s*=")
    here = next((number for number in range(start, len(lines)) if key.match(lines[number])), start)
    for entry in entries:
        here = next((number for number in range(here, len(lines)) if entry in lines[number]), here)
        yield here + 1, entry


def _setup_cfg(path: Path, checkout: Path) -> Requirements | None:
    """`[options] install_requires`, or the files a `file:` there names."""
    text = decode(path.read_bytes())
    parser = configparser.ConfigParser(interpolation=None, strict=False)
    try:
        parser.read_string(text)
    except configparser.Error as error:
        return _whole(path.name, f"not readable: {' '.join(str(error).split())}")
    value = parser.get("options", "install_requires", fallback=None)
    if value is None:
        return None
    if value.strip().startswith("file:"):
        return _included([name.strip() for name in value.strip()[5:].split(",")], checkout, path.name)
    lines = text.splitlines()
    here = next((number for number, line in enumerate(lines) if line.startswith("install_requires")), 0)
    asked = []
    for entry in value.split(
        "\n" if "\n" in value else ";"
    ):  # setuptools, "Configuring setuptools using setup.cfg": list-semi
        if wanted := entry.partition(" #")[0].strip():
            here = next((number for number in range(here, len(lines)) if wanted in lines[number]), here)
            asked.append((here + 1, wanted))
    return parse_requirements(asked, file=path.name)


def _included(names: Sequence[str], checkout: Path, source: str) -> Requirements:
    """The files another one names, each inside the repository."""
    kept: tuple[Line, ...] = ()
    removed: tuple[Removed, ...] = ()
    for name in names:
        path = (checkout / name).resolve()
        if path.is_relative_to(checkout.resolve()) and path.is_file():
            found = read_requirements(path, root=checkout)
            kept, removed = kept + found.kept, removed + found.removed
        else:
            removed += (Removed(file=source, line=1, text=name, reason="names no file of the repository"),)
    return Requirements(kept=kept, removed=removed)


def _setup_py(path: Path, _: Path) -> Requirements | None:
    """`install_requires` of the call of setup(), as far as it is written out; the file is parsed, never run."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # a bad escape in a stranger's string is not our user's affair
            tree = ast.parse(decode(path.read_bytes()))
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        return _whole(path.name, f"not readable as Python: {error}")
    values = [
        keyword.value
        for node in ast.walk(tree)
        if isinstance(node, ast.Call) and _name(node.func) in ("setup", "setuptools.setup", "distutils.core.setup")
        for keyword in node.keywords
        if keyword.arg == "install_requires"
    ]
    if not values:
        return None
    asked: list[tuple[int, str]] = []
    removed: list[Removed] = []
    for value in values:
        for item in value.elts if isinstance(value, (ast.List, ast.Tuple)) else [value]:
            if isinstance(item, ast.Constant) and isinstance(item.value, str):
                asked.append((item.lineno, item.value))
            else:
                text = " ".join(ast.unparse(item).split())[:200]
                reason = "computed by setup.py, which is read and never run"
                removed.append(Removed(file=path.name, line=item.lineno, text=text, reason=reason))
    found = parse_requirements(asked, file=path.name)
    return Requirements(kept=found.kept, removed=(*found.removed, *removed))


def _name(node: ast.expr) -> str:
    if isinstance(node, ast.Attribute):
        return f"{_name(node.value)}.{node.attr}"
    return node.id if isinstance(node, ast.Name) else ""


_SOURCES: tuple[tuple[str, Callable[[Path, Path], Requirements | None]], ...] = (
    ("requirements.txt", _requirements_txt),
    ("pyproject.toml", _pyproject),
    ("setup.cfg", _setup_cfg),
    ("setup.py", _setup_py),
)
