"""What the torch of a bundle wants of the machine it is started on: portable/gpu.json, read before every start."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from packager.accelerators.table import Accelerator, accelerators
from packager.targets import Target

FILE_NAME = "gpu.json"
_FORMAT = 1


def machine_needs(
    accelerator: str | None, builds: Sequence[Mapping[str, Any]], target: Target
) -> dict[str, Any] | None:
    """`kind` "nvidia" or "amd", `platform` (CUDA's or ROCm's version), oldest `driver` or "", `capability` or None.

    `builds` are variant.TorchBuild as JSON. Without an `accelerator` torch's own word decides; None where nothing is
    known to be wanted.
    """
    torch = next((build for build in builds if build["name"] == "torch"), None)
    if torch is None:
        return None
    row = accelerators()[accelerator] if accelerator else _row_of(torch)
    cuda, hip = torch["cuda"], torch["hip"]
    if not (cuda or hip):
        return None
    return {
        "format": _FORMAT,
        "kind": "nvidia" if cuda else "amd",
        "platform": ".".join((cuda or hip).split(".")[:2]),
        "driver": row.driver.get(target.os, "") if row else "",
        "capability": list(row.capability) if row and row.capability else None,
    }


def _row_of(torch: Mapping[str, Any]) -> Accelerator | None:
    cuda = f"{torch['cuda']}."
    return next((row for row in accelerators().values() if cuda.startswith(f"{row.reports.get('cuda', '-')}.")), None)
