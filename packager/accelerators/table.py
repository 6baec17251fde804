"""The table of accelerators (accelerators.yml)."""

from __future__ import annotations

import functools
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from packager.document import Document
from packager.errors import Fault, InputError
from packager.targets import Target


@dataclass(frozen=True, kw_only=True)
class Accelerator:
    """One build of torch.

    `index` is a simple index (None: the default one); `label` the local version label of its wheels; `reports` what
    torch/version.py says of `cuda`, `hip` and `xpu`, from its beginning; `driver` the oldest driver by operating
    system; `capability` the lowest and highest compute capability.
    """

    name: str
    index: str | None
    targets: tuple[str, ...]
    label: str | None
    reports: dict[str, str] = field(default_factory=dict)
    driver: dict[str, str] = field(default_factory=dict)
    capability: tuple[str, str] | None = None


@functools.cache
def facts() -> dict[str, Any]:
    """accelerators.yml as it is."""
    loaded: dict[str, Any] = yaml.safe_load(Path(__file__).with_name("accelerators.yml").read_text(encoding="utf-8"))
    return loaded


@functools.cache
def accelerators() -> dict[str, Accelerator]:
    """Every row by name."""
    return {
        name: Accelerator(
            name=name,
            index=row["index"],
            targets=tuple(row["targets"]),
            label=row["label"],
            reports=row["reports"],
            driver=row.get("driver", {}),
            capability=(row["capability"][0], row["capability"][1]) if "capability" in row else None,
        )
        for name, row in facts()["accelerators"].items()
    }


def find_accelerator(name: str, target: Target) -> Accelerator:
    """The row called `name`. Raises InputError if there is none for the target."""
    table = accelerators()
    usable = [row.name for row in table.values() if target.name in row.targets]
    remedy = f"use one of {', '.join(['auto', *usable])}, or leave it out"
    if name not in table or target.name not in table[name].targets:
        raise InputError(f"there is no '{name}' build of torch for {target.name}", where="accelerator", remedy=remedy)
    return table[name]


def check_accelerator(document: Document) -> Iterator[Fault]:
    """An accelerator in a recipe that no target has."""
    name = document.value.get("accelerator")
    if name is not None and name not in ("auto", *accelerators()):
        near = facts()["wheel_tags"].get(name)
        remedy = f"use {near}, whose wheels it can run" if near else f"use one of auto, {', '.join(accelerators())}"
        yield document.fault(("accelerator",), f"unknown accelerator '{name}'", remedy)


def wheel_tag(label: str) -> str:
    """The CUDA tag under which others publish wheels for a build of torch: cu129 -> cu128, cu128 -> cu128."""
    tag: str = facts()["wheel_tags"].get(label, label)
    return tag


def torch_label(version: str, beside: Mapping[str, str]) -> str | None:
    """What a torch of that version was built for, by its label, else by the packages (name -> version) locked with it:
    cu128, cpu; None where neither tells."""
    label = version.partition("+")[2]
    if label:
        return label
    for name in facts()["runtime_packages"]:
        if name in beside:
            return f"cu{''.join(beside[name].split('.')[:2])}"
    return None
