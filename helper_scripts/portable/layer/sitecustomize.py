"""Python sees an instance's packages before those of the base, or instead of them if the instance is isolated.

The environment of an instance names this folder in PYTHONPATH and the instance in PORTABLE_INSTANCE (layers.py), so
that whatever it starts sees the same packages, on every system, wherever the bundle was moved to.
"""

import contextlib
import importlib
import json
import os
import site
import sys
from pathlib import Path


def add_layer(instance: Path) -> None:
    """Put the packages of `instance` in front of those that site found, or in their place."""
    described = json.loads((instance / "portable" / "bundle.json").read_text(encoding="utf-8"))
    prefix = Path(__file__).absolute().parents[2] / "python"
    shared = [entry for entry in sys.path if _holds_packages(entry, prefix)]
    sys.path[:] = [entry for entry in sys.path if entry not in shared and not _is_same(entry, Path(__file__).parent)]
    pattern = "Lib/site-packages" if os.name == "nt" else "lib/python3*/site-packages"
    for folder in sorted((instance / "python").glob(pattern)):
        site.addsitedir(str(folder))  # with what its .pth files name
    sys.path.extend(shared)
    if described["instance"]["isolated"]:
        with contextlib.suppress(ImportError):
            import pip  # noqa: F401, PLC0415 - goes on working when the base is out of sight
        sys.path[:] = [entry for entry in sys.path if entry not in shared]


def _holds_packages(entry: str, prefix: Path) -> bool:
    inside = os.path.realpath(entry).startswith(os.path.realpath(prefix) + os.sep)
    return inside and "site-packages" in Path(entry).parts


def _is_same(entry: str, folder: Path) -> bool:
    return bool(entry) and os.path.realpath(entry) == os.path.realpath(folder)


def _go_on() -> None:
    """Import the sitecustomize that this one stands in front of, if there is one."""
    here = sys.modules.pop("sitecustomize", None)
    try:
        importlib.import_module("sitecustomize")
    except ImportError:
        if here is not None:
            sys.modules["sitecustomize"] = here


if os.environ.get("PORTABLE_INSTANCE"):
    add_layer(Path(os.environ["PORTABLE_INSTANCE"]))
    _go_on()
