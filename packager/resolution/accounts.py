"""The account of a settlement: for every package of which not all wishes came true, who wanted what and what came."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from packaging.utils import canonicalize_name

from packager.errors import ResolveError
from packager.lock import LockedPackage
from packager.resolution.chains import by_package, chains
from packager.resolution.conflicts import RULES, Decision, Wish, faulty
from packager.resolution.solver import Solver, spoken_requirement
from packager.resolution.special_packages import SpecialPackages


@dataclass(frozen=True, kw_only=True)
class Account:
    """`asked` are all lines as they stand, `lines` those that were resolved (some stand for others by now), `laws` the
    recipe's constraints and overrides.

    `rules` say by which rule a package was settled, `gone` are the lines that gave way (see place), `collapsed` says
    which packages one stands for, `laid_down` what uv was told to take.
    """

    asked: Sequence[Wish]
    lines: Sequence[Wish]
    laws: Sequence[Wish]
    packages: Sequence[LockedPackage]
    rules: Mapping[str, str]
    gone: frozenset[tuple[str, str, int]]
    collapsed: Mapping[str, frozenset[str]]
    laid_down: Mapping[str, str]
    solver: Solver
    table: SpecialPackages

    def decisions(self, told: Sequence[Decision]) -> list[Decision]:
        """A decision for each package of which not all wishes came true and that `told` does not speak of."""
        by_name = {package.name: package for package in self.packages}
        found = []
        hidden = {member for chosen, members in self.collapsed.items() for member in members - {chosen}}
        hidden |= {decision.package for decision in told}
        for name in sorted(({wish.package for wish in self.asked} | self.laid_down.keys()) - hidden):
            package = by_name.get(name)
            same = self.collapsed.get(name, {name})
            wants = [wish for wish in self.asked if wish.package in same]
            overruled = [
                wish
                for wish in wants
                if package is None or place(wish) in self.gone or not wish.admits(package.version, package.url)
            ]
            if package and name in self.laid_down:
                heeded, dissent = self._dependents(package)
                wants, overruled = [*wants, *heeded, *dissent], [*overruled, *dissent]
            if overruled:
                laws = [wish for wish in self.laws if wish.package == name]
                found.append(self._decision(name, package, [*laws, *wants], overruled))
        return found

    def origins(self, name: str) -> list[Wish]:
        """The lines that brought package `name`; in `through` the packages between."""
        packages: dict[str, LockedPackage] = {canonicalize_name(item.name): item for item in self.packages}
        nobody = Wish(layer="packager", file="", line=0, text=name)
        return chains(name, by_package(self.lines), packages) or [nobody]

    def _decision(
        self, name: str, package: LockedPackage | None, wants: Sequence[Wish], overruled: Sequence[Wish]
    ) -> Decision:
        rule = self.rules.get(name, "recipe")
        family = next((row for row in self.table.core_only if name in row.packages), None)
        special = family and rule.startswith("special")
        lines = [f"['{text}']" for text in dict.fromkeys(wish.text for wish in overruled)]
        return Decision(
            package=name,
            wants=tuple(wants),
            overruled=tuple(overruled),
            chosen=package.pin if package else "none",
            rule=rule,
            why=family.why if family and special else "; ".join(RULES[part] for part in rule.split(" and ")),
            override=f"overrides: {' or '.join(lines)}" if rule != "recipe" else "change `overrides` or `excludes`",
        )

    def _dependents(self, package: LockedPackage) -> tuple[list[Wish], list[Wish]]:
        """The wishes of installed packages for the one that was laid down: those that admit its version, which count
        once each, and those that do not, each with every line that leads there."""
        by_name = {other.name: other for other in self.packages}
        dependents = [by_name[name] for name in sorted(set(package.via)) if name in by_name]
        refused = faulty(dependents, lambda part: self._refusal(part, package) is not None)
        heeded, dissent = [], []
        for dependent in dependents:
            lines = self.origins(dependent.name)
            if dependent in refused:
                said = spoken_requirement(self._refusal([dependent], package) or "", dependent.name, package.name)
                text = said or f"{package.name}!={package.version}"
                dissent += [replace(line, text=text, through=(*line.through, dependent.pin)) for line in lines]
            else:
                heeded.append(replace(lines[0], text=package.name, through=(*lines[0].through, dependent.pin)))
        return heeded, dissent

    def _refusal(self, dependents: Sequence[LockedPackage], package: LockedPackage) -> str | None:
        """What uv says against `package` beside `dependents`, all else left out; None if nothing."""
        involved = {package.name, *(dependent.name for dependent in dependents)}
        excludes = sorted({other.name for other in self.packages} - involved)
        line = self.lines[0]
        wishes = [replace(line, text=other.pin, through=()) for other in (*dependents, package)]
        try:
            self.solver.compile(wishes, excludes=excludes, bound=False)
        except ResolveError as error:
            return error.what
        return None


def place(wish: Wish) -> tuple[str, str, int]:
    """Layer, file and line: what stays the same of a wish that is rewritten."""
    return wish.layer, wish.file, wish.line
