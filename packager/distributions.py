"""What is installed in an environment, read from its metadata; nothing of it runs."""

from __future__ import annotations

import importlib.metadata
from pathlib import Path

from packaging.utils import canonicalize_name


def installed(site_packages: Path) -> dict[str, str]:
    """Version by normalised name (PEP 503)."""
    return {
        canonicalize_name(name): found.version
        for found in importlib.metadata.distributions(path=[str(site_packages)])
        if (name := found.metadata["Name"])
    }


def changes(before: dict[str, str], after: dict[str, str]) -> dict[str, tuple[str, str]]:
    """Where the two differ: name -> (version before, version after), "" where it was or is not there."""
    return {
        name: (before.get(name, ""), after.get(name, ""))
        for name in sorted(before.keys() | after.keys())
        if before.get(name) != after.get(name)
    }
