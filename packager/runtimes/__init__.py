"""Where a bundle's Python comes from. Each module is one source; all satisfy `Runtime`."""

from __future__ import annotations

from packager.errors import InputError
from packager.runtimes.host import HostRuntime
from packager.runtimes.protocol import Runtime, RuntimeFacts, RuntimeRequest

__all__ = ["NAMES", "HostRuntime", "Runtime", "RuntimeFacts", "RuntimeRequest", "get"]

_RUNTIMES: dict[str, type[HostRuntime]] = {HostRuntime.name: HostRuntime}

NAMES = tuple(_RUNTIMES)


def get(name: str) -> Runtime:
    """The runtime called `name`. Raises InputError that lists the known ones."""
    try:
        return _RUNTIMES[name]()
    except KeyError:
        raise InputError(
            f"unknown runtime '{name}'", where="runtime", remedy=f"use one of {', '.join(NAMES)}"
        ) from None
