"""Custom nodes: every folder and every .py file in custom_nodes/. The log lines are those of ComfyUI's nodes.py."""

from __future__ import annotations

import importlib.util
import logging
import sys
import time
import traceback
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import nodes


def load_custom_nodes(folder: Path, *, only: Sequence[str] | None = None) -> None:
    """Load what lies in `folder` (of it `only` the named ones). A node that fails is reported and left out."""
    times = []
    for path in sorted(folder.iterdir()):
        if not _is_node(path) or (only is not None and path.name not in only):
            continue
        start = time.perf_counter()
        loaded = _load(path)
        times.append((time.perf_counter() - start, str(path), loaded))
    if times:
        logging.info("\nImport times for custom nodes:")
        for seconds, path_text, loaded in sorted(times):
            logging.info("%6.1f seconds%s: %s", seconds, "" if loaded else " (IMPORT FAILED)", path_text)
        logging.info("")


def _is_node(path: Path) -> bool:
    if path.name.startswith((".", "__")) or path.name.endswith(".disabled"):
        return False
    return path.is_dir() or path.suffix == ".py"


def _load(path: Path) -> bool:
    try:
        module = _import(path)
    except Exception as error:  # whatever a stranger's module may raise
        logging.warning(traceback.format_exc())
        logging.warning("Cannot import %s module for custom nodes: %s", path, error)
        return False
    mappings = getattr(module, "NODE_CLASS_MAPPINGS", None)
    if mappings is None:
        logging.warning("Skip %s module for custom nodes due to the lack of NODE_CLASS_MAPPINGS.", path)
        return False
    for name, node in mappings.items():
        if name not in nodes.NODE_CLASS_MAPPINGS:
            node.RELATIVE_PYTHON_MODULE = f"custom_nodes.{path.stem}"
            nodes.NODE_CLASS_MAPPINGS[name] = node
    nodes.NODE_DISPLAY_NAME_MAPPINGS.update(getattr(module, "NODE_DISPLAY_NAME_MAPPINGS", {}))
    return True


def _import(path: Path) -> Any:
    name = str(path).replace(".", "_x_")
    spec = importlib.util.spec_from_file_location(name, path / "__init__.py" if path.is_dir() else path)
    if spec is None or spec.loader is None:
        raise ImportError(f"{path} cannot be loaded")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module
