"""How long each kind of program may take before it counts as hanging."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Limits:
    """Seconds. Generous: a first start without bytecode on a slow machine takes half a minute for torch alone."""

    module: float = 300
    script: float = 60
    pip: float = 300
    unpack: float = 3600
    quick_test: float = 1200
    server_start: float = 600
    server_stop: float = 60
