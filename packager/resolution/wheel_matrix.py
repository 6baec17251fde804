"""Packages whose builds depend on torch, CUDA, CPython and system (wheel_matrix.yml): which to try, in which order."""

from __future__ import annotations

import functools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import yaml
from packaging.specifiers import SpecifierSet

from packager.accelerators import wheel_tag
from packager.document import Document, Pointer
from packager.errors import Fault
from packager.targets import Target, minor_version

Kind = Literal["wheel", "requirement", "source"]
_KINDS: tuple[Kind, ...] = ("wheel", "requirement", "source")


@dataclass(frozen=True, kw_only=True)
class NativePackage:
    """A wish of the recipe. `required`: its failure ends the build; `source`: it may be built on this machine."""

    name: str
    required: bool = False
    source: bool = False


@dataclass(frozen=True, kw_only=True)
class Candidate:
    """One way to have a package. `what` is an address of a wheel or a requirement; `index` the one to ask for it.
    `requires` are the dependencies of a source that has to be built to be asked; None: it can be asked."""

    kind: Kind
    what: str
    sha256: str | None = None
    index: str | None = None
    requires: tuple[str, ...] | None = None

    def __str__(self) -> str:
        place = f" from {self.index}" if self.index else ""
        return f"{'build ' if self.kind == 'source' else ''}{self.what}{place}"


@dataclass(frozen=True, kw_only=True)
class NativePlan:
    """The candidates of one package that fit, in the order in which to try them."""

    package: NativePackage
    candidates: tuple[Candidate, ...]

    def __str__(self) -> str:
        ways = " | ".join(str(candidate) for candidate in self.candidates) or "nothing fits"
        return f"{self.package.name}{' (required)' if self.package.required else ''}: {ways}"


@dataclass(frozen=True, kw_only=True)
class Surroundings:
    """What decides: torch's version and label (cu128, cpu) if it is there, its index, full Python version, target."""

    torch: str | None
    label: str | None
    index: str | None
    python: str
    target: Target


def check_native_packages(document: Document) -> Iterator[Fault]:
    """Names of a recipe's `native_packages` that the matrix does not have, or that are there twice."""
    names = [item["name"] for item in document.value.get("native_packages", ())]
    for position, name in enumerate(names):
        pointer: Pointer = ("native_packages", position, "name")
        if name not in _matrix():
            remedy = f"use one of {', '.join(_matrix())}, or put it into python_packages or patches"
            yield document.fault(pointer, f"the wheel matrix has no '{name}'", remedy)
        elif name in names[:position]:
            yield document.fault(pointer, f"'{name}' is there twice", "keep one of the two")
        else:
            yield from _check_needs(document, name)


def _check_needs(document: Document, name: str) -> Iterator[Fault]:
    """Opt-in rules of the clean-up that would take away what the package works with."""
    for position, rule in enumerate(document.value.get("cleanup", {}).get("opt_in", ())):
        if rule in _matrix()[name].get("not_with", ()):
            what = f"'{rule}' removes what {name} compiles with on the user's machine"
            yield document.fault(("cleanup", "opt_in", position), what, f"leave out the rule, or {name}")


def plan_native(packages: Sequence[NativePackage], around: Surroundings) -> tuple[NativePlan, ...]:
    """For each package what to try, most exact first. A package nothing fits has no candidates."""
    return tuple(
        NativePlan(
            package=package,
            candidates=tuple(
                _candidate(row, around)
                for row in _matrix()[package.name]["candidates"]
                if _fits(row.get("when", {}), around) and ("source" not in row or package.source)
            ),
        )
        for package in packages
    )


def _fits(when: dict[str, Any], around: Surroundings) -> bool:
    if "targets" in when and around.target.name not in when["targets"]:
        return False
    if "python" in when and not SpecifierSet(when["python"]).contains(minor_version(around.python)):
        return False
    if "torch" in when and not (around.torch and SpecifierSet(when["torch"]).contains(around.torch)):
        return False
    return "cuda" not in when or (around.label is not None and wheel_tag(around.label) in when["cuda"])


def _candidate(row: dict[str, Any], around: Surroundings) -> Candidate:
    kind = next(kind for kind in _KINDS if kind in row)
    tag = f"cp{minor_version(around.python).replace('.', '')}"
    return Candidate(
        kind=kind,
        what=row[kind].replace("{cp}", tag),
        sha256=row.get("sha256"),
        index=around.index if "index" in row else None,
        requires=tuple(row["requires"]) if "requires" in row else None,
    )


@functools.cache
def _matrix() -> dict[str, Any]:
    text = Path(__file__).with_name("wheel_matrix.yml").read_text(encoding="utf-8")
    packages: dict[str, Any] = yaml.safe_load(text)["packages"]
    return packages
