"""What this bundle is: the first thing asked in a bug report."""

from __future__ import annotations

import argparse
import json
import platform
import re
import sys
from importlib import metadata
from typing import Any

from portable import bundle as bundles
from portable.bundle import Bundle
from portable.command_line import add_json
from portable.errors import DONE

_APP_VERSION = re.compile(r"^__version__ *= *[\"']([^\"']+)", re.MULTILINE)
_SHOWN = ("torch", "numpy", "pip")


def add(commands: Any) -> None:
    """Add `info` to the words of `portable`."""
    show = commands.add_parser("info", help="versions, and where the bundle lies", allow_abbrev=False)
    add_json(show)
    show.set_defaults(action=_info)


def _info(options: argparse.Namespace) -> int:
    facts = describe(bundles.read(bundles.locate()))
    if options.json:
        print(json.dumps(facts, ensure_ascii=False, indent=2))
    else:
        width = max(map(len, facts)) + 2
        print("\n".join(f"{name + ':':{width}}{value}" for name, value in facts.items()))
    return DONE


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
