"""What this bundle is: the first thing asked in a bug report."""

from __future__ import annotations

import platform
import re
import sys
from importlib import metadata

from portable.bundle import Bundle

_APP_VERSION = re.compile(r"^__version__ *= *[\"']([^\"']+)", re.MULTILINE)
_SHOWN = ("torch", "numpy", "pip")


def describe(bundle: Bundle) -> dict[str, str]:
    """Facts by name, in the order in which they are shown. Versions of packages that are there alone."""
    facts = {
        "bundle": f"{bundle.name} {bundle.version}",
        "target": bundle.target,
        "location": str(bundle.root),
        "system": platform.platform(),
        "python": sys.version.split()[0],
        "app": f"{bundle.app} {_app_version(bundle)}",
    }
    for name in _SHOWN:
        try:
            facts[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return facts


def _app_version(bundle: Bundle) -> str:
    try:
        text = (bundle.app_dir / "comfyui_version.py").read_text(encoding="utf-8")
    except (OSError, ValueError):
        return "of unknown version"
    found = _APP_VERSION.search(text)
    return found[1] if found else "of unknown version"
