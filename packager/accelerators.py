"""Which build of torch an accelerator means (accelerators.yml)."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Any

import yaml

from packager.errors import InputError
from packager.targets import Target


@functools.cache
def _table() -> dict[str, dict[str, Any]]:
    document = yaml.safe_load(Path(__file__).with_name("accelerators.yml").read_text(encoding="utf-8"))
    table: dict[str, dict[str, Any]] = document["accelerators"]
    return table


def torch_backend(accelerator: str | None, target: Target) -> str | None:
    """The `--torch-backend` of uv for `accelerator` on `target`; None where the package index's own build is meant.

    Raises InputError for an unknown accelerator or one that has no wheels for the target.
    """
    if accelerator is None:
        return None
    table = _table()
    if accelerator not in table:
        raise InputError(
            f"unknown accelerator '{accelerator}'", where="accelerator", remedy=f"use one of {', '.join(sorted(table))}"
        )
    if target.name not in table[accelerator]["targets"]:
        usable = sorted(name for name, row in table.items() if target.name in row["targets"])
        raise InputError(
            f"there is no '{accelerator}' build of torch for {target.name}",
            where="accelerator",
            remedy=f"use one of {', '.join(usable)}, or leave it out",
        )
    backend: str | None = table[accelerator]["torch_backend"]
    return backend
