"""Which versions of the torch family to install, and from which index."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

from packager.accelerators.table import facts, find_accelerator
from packager.targets import Target

FAMILY = ("torch", "torchvision", "torchaudio")


@dataclass(frozen=True, kw_only=True)
class TorchWish:
    """What the recipe wants in place of the table's: a version of torch, and the index its family comes from."""

    version: str | None = None
    index: str | None = None


@dataclass(frozen=True, kw_only=True)
class TorchChoice:
    """`index` is where the family comes from (None: the default index). `overrides` are the requirements that stand
    for whatever anybody asks of the family; their local label names the build: `torch==2.11.0+cu128`."""

    index: str | None = None
    overrides: tuple[str, ...] = ()

    @property
    def options(self) -> tuple[str, ...]:
        """Options of `uv pip compile`: the index beside the default one. It is exact versions with a local label, which
        no other index has, that are asked of it; of all else the newest is taken, wherever it lies."""
        return ("--index", self.index, "--index-strategy", "unsafe-best-match") if self.index else ()

    def holds(self, index: str | None) -> bool:
        """Whether `index`, as a lock has it, is this one."""
        return self.index is not None and index is not None and index.rstrip("/") == self.index.rstrip("/")

    def merged(self, overrides: Sequence[str]) -> tuple[str, ...]:
        """The recipe's overrides without those of the family, then ours, which have taken them into account."""
        ours = {canonicalize_name(Requirement(line).name) for line in self.overrides}
        kept = [line for line in overrides if canonicalize_name(Requirement(line).name) not in ours]
        return (*kept, *self.overrides)


def choose_torch(
    accelerator: str | None,
    *,
    wish: TorchWish,
    asked: Iterable[str],
    target: Target,
) -> TorchChoice:
    """Choose the newest set of versions made for each other that `wish` and `asked` allow.

    `wish` wins over the table; `asked` are the recipe's constraints and
    overrides. Where the table has no such set, torch alone is pinned if one version is asked for, and the index and
    torch's own requirements decide on the others. Raises InputError for an accelerator the target has not.
    """
    row = find_accelerator(accelerator, target) if accelerator else None
    place = wish.index or (row.index if row else None)
    if row is None and wish.version is None:
        return TorchChoice(index=place)
    label = f"+{row.label}" if row and row.label else ""
    wanted = [requirement for requirement in map(Requirement, asked) if canonicalize_name(requirement.name) in FAMILY]
    for versions in facts()["sets"]:
        if row and row.name not in versions["for"]:
            continue
        if wish.version and Version(versions["torch"]) != Version(wish.version):
            continue
        # With the label, for a specifier may name it; one that does not admits every label (PEP 440).
        if all(item.specifier.contains(versions[canonicalize_name(item.name)] + label) for item in wanted):
            return TorchChoice(index=place, overrides=tuple(f"{name}=={versions[name]}{label}" for name in FAMILY))
    exact: dict[str, str | None] = {canonicalize_name(requirement.name): _exact(requirement) for requirement in wanted}
    exact["torch"] = wish.version or exact.get("torch")
    pins = {name: pin for name in FAMILY if (pin := exact.get(name))}
    return TorchChoice(
        index=place,
        overrides=tuple(f"{name}=={pin}{'' if '+' in pin else label}" for name, pin in pins.items()),
    )


def _exact(requirement: Requirement) -> str | None:
    """The one version that `requirement` allows, if it is of that kind."""
    pins = [part.version for part in requirement.specifier if part.operator == "==" and "*" not in part.version]
    return pins[0] if pins else None
