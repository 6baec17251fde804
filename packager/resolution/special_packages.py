"""Packages with rules of their own (special_packages.yml), applied to the wishes before any conflict is looked for."""

from __future__ import annotations

import functools
import json
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path

from packager.document import check_schema, read_document
from packager.errors import DocumentError
from packager.resolution.conflicts import Decision, Wish, bare, renamed


@dataclass(frozen=True, kw_only=True)
class Drop:
    package: str
    why: str
    source: str


@dataclass(frozen=True, kw_only=True)
class CoreOnly:
    """`accelerated`: the recipe's accelerator decides on the build."""

    name: str
    packages: tuple[str, ...]
    accelerated: bool
    why: str
    source: str


@dataclass(frozen=True, kw_only=True)
class Member:
    """`offers` is what it has beyond its siblings; None as `targets` or `accelerators` means everywhere."""

    package: str
    offers: frozenset[str]
    targets: frozenset[str] | None = None
    accelerators: frozenset[str] | None = None

    def usable(self, target: str, accelerator: str | None) -> bool:
        return (self.targets is None or target in self.targets) and (
            self.accelerators is None or (accelerator or "index") in self.accelerators
        )


@dataclass(frozen=True, kw_only=True)
class OneOf:
    name: str
    members: tuple[Member, ...]
    why: str
    source: str

    @property
    def packages(self) -> frozenset[str]:
        return frozenset(member.package for member in self.members)

    def choose(self, asked: Collection[str], *, target: str, accelerator: str | None) -> str:
        """The member to install where `asked` are wanted."""
        usable = [member for member in self.members if member.usable(target, accelerator)]
        wanted = frozenset[str]().union(*(member.offers for member in usable if member.package in asked))
        return next((member.package for member in usable if wanted <= member.offers), usable[0].package)


@dataclass(frozen=True, kw_only=True)
class SpecialPackages:
    drop: tuple[Drop, ...]
    core_only: tuple[CoreOnly, ...]
    one_of: tuple[OneOf, ...]


@functools.cache
def special_packages() -> SpecialPackages:
    """The table. Raises DocumentError if it does not follow its schema."""
    path = Path(__file__).with_name("special_packages.yml")
    document = read_document(path)
    schema = json.loads(path.with_suffix(".schema.json").read_text(encoding="utf-8"))
    if faults := check_schema(document, schema):
        raise DocumentError(faults)
    value = document.value
    return SpecialPackages(
        drop=tuple(Drop(**row) for row in value["drop"]),
        core_only=tuple(CoreOnly(**{**row, "packages": tuple(row["packages"])}) for row in value["core_only"]),
        one_of=tuple(
            OneOf(
                name=row["name"],
                why=row["why"],
                source=row["source"],
                members=tuple(
                    Member(
                        package=member["package"],
                        offers=frozenset(member["offers"]),
                        targets=frozenset(member["targets"]) if "targets" in member else None,
                        accelerators=frozenset(member["accelerators"]) if "accelerators" in member else None,
                    )
                    for member in row["members"]
                ),
            )
            for row in value["one_of"]
        ),
    )


def drop_strangers(nodes: Sequence[Wish], table: SpecialPackages) -> tuple[list[Wish], list[Decision]]:
    """The nodes' wishes without the packages that are never installed for a node."""
    decisions = []
    for row in table.drop:
        asking = tuple(wish for wish in nodes if wish.package == row.package)
        if asking:
            decisions.append(
                Decision(
                    package=row.package,
                    wants=asking,
                    overruled=asking,
                    chosen="none",
                    rule="special: drop",
                    why=row.why,
                    override=f"python_packages: [{row.package}]",
                )
            )
    dropped = {row.package for row in table.drop}
    return [wish for wish in nodes if wish.package not in dropped], decisions


def leave_to_core(
    nodes: Sequence[Wish], known: Collection[str], table: SpecialPackages, *, accelerated: bool
) -> list[Wish]:
    """The nodes' wishes without versions for the families that core or recipe name (`known`), or an accelerator."""
    families = [
        row
        for row in table.core_only
        if (accelerated and row.accelerated) or any(package in known for package in row.packages)
    ]
    core_only = {package for row in families for package in row.packages}
    return [bare(wish) if wish.package in core_only else wish for wish in nodes]


def collapse(wishes: Sequence[Wish], group: OneOf, chosen: str) -> list[Wish]:
    """The wishes with every member of `group` replaced by `chosen`."""
    return [
        renamed(wish, chosen) if wish.package in group.packages and wish.package != chosen else wish for wish in wishes
    ]
