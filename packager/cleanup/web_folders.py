"""The folders that nodes have served to the browser, whatever they are called.

ComfyUI (nodes.py, load_custom_node) serves WEB_DIRECTORY of a node's module, or `web` under [tool.comfy] in its
pyproject.toml.
"""

from __future__ import annotations

import ast
import os
import re
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

_MAX_BYTES = 4 * 1024 * 1024
_TOOL_COMFY_WEB = re.compile(r"^\[tool\.comfy\]\s*$(?:\n(?!\[).*)*?\nweb\s*=\s*[\"']([^\"'\n]+)[\"']", re.MULTILINE)


def served_folders(nodes: Path) -> list[str]:
    """Paths from `nodes` (the custom_nodes folder) with forward slashes, sorted. Reads the nodes' text, runs nothing.

    A node that serves its whole folder adds nothing: what may go from a node, its history and bytecode, is not fetched.
    """
    if not nodes.is_dir() or nodes.is_symlink():
        return []
    found: set[str] = set()
    with os.scandir(nodes) as entries:
        folders = [Path(entry.path) for entry in entries if entry.is_dir(follow_symlinks=False)]
    for node in folders:
        for value in (*_assigned(node / "__init__.py"), *_TOOL_COMFY_WEB.findall(_text(node / "pyproject.toml"))):
            parts = [part for part in re.split(r"[/\\]", value) if part not in ("", ".")]
            if parts and ".." not in parts and (node.joinpath(*parts)).is_dir():
                found.add(str(PurePosixPath(node.name, *parts)))
    return sorted(found)


def _assigned(module: Path) -> Iterator[str]:
    """Every string in what a module assigns to WEB_DIRECTORY, such as the parts of an os.path.join()."""
    try:
        tree = ast.parse(_text(module))
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return  # ComfyUI cannot load it either
    for node in ast.walk(tree):
        if isinstance(node, ast.Assign):
            names = [target.id for target in node.targets if isinstance(target, ast.Name)]
        elif isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
            names = [node.target.id]
        else:
            continue
        if "WEB_DIRECTORY" in names and node.value is not None:
            for part in ast.walk(node.value):
                if isinstance(part, ast.Constant) and isinstance(part.value, str):
                    yield part.value


def _text(path: Path) -> str:
    """The text of a regular file of sensible size; '' otherwise."""
    try:
        if path.is_symlink() or not path.is_file() or path.stat().st_size > _MAX_BYTES:
            return ""
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
