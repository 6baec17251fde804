"""Where a bundle's Python comes from. Each module is one source; all satisfy `Runtime`."""

from __future__ import annotations

from packager.errors import InputError
from packager.runtimes.host import HostRuntime
from packager.runtimes.miniforge import MiniforgeRuntime
from packager.runtimes.protocol import Runtime, RuntimeFacts, RuntimeRequest, locked_identity

__all__ = [
    "NAMES",
    "HostRuntime",
    "MiniforgeRuntime",
    "Runtime",
    "RuntimeFacts",
    "RuntimeRequest",
    "get",
    "locked_identity",
]

_RUNTIMES: dict[str, type[HostRuntime] | type[MiniforgeRuntime]] = {
    HostRuntime.name: HostRuntime,
    MiniforgeRuntime.name: MiniforgeRuntime,
}

NAMES = tuple(_RUNTIMES)


def get(name: str) -> Runtime:
    """The runtime called `name`. Raises InputError that lists the known ones."""
    try:
        return _RUNTIMES[name]()
    except KeyError:
        raise InputError(
            f"unknown runtime '{name}'", where="runtime", remedy=f"use one of {', '.join(NAMES)}"
        ) from None
