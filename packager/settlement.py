"""One resolution for ComfyUI, the recipe and all nodes, its conflicts settled by rule and each one told.

First what the lines themselves contradict in (conflicts.settle), then what their dependencies do: there the version
that ComfyUI gets by itself, else the newest that a node gets by itself, is laid down for the fewest packages that make
the whole solvable.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from packaging.version import Version

from packager.conflicts import RULES, Decision, UnsettledError, Wish, faulty, minimal, settle
from packager.errors import ResolveError
from packager.lock import LockedPackage
from packager.solver import Solver, spoken_requirement
from packager.special_packages import OneOf, SpecialPackages, collapse, drop_strangers, leave_to_core

PYTHON_PACKAGES = "python_packages"
_SAID = 12  # lines of uv's own explanation worth showing
_OVERRIDE = "write under `overrides:` in the recipe the version that shall win, or leave one of the two out"


@dataclass(frozen=True, kw_only=True)
class Settled:
    packages: tuple[LockedPackage, ...]
    decisions: tuple[Decision, ...]


@dataclass
class Settlement:
    """`core` are the wishes of ComfyUI, the recipe and the packager itself, `nodes` those of all nodes.

    `constraints` and `overrides` are the recipe's, of which the solver knows too. While it works, `rules` gathers by
    which rule a package was settled, `gone` the lines that gave way (layer, file, line), `collapsed` which packages one
    stands for, `laid_down` and `excludes` what uv is told for it.
    """

    core: list[Wish]
    nodes: list[Wish]
    constraints: Sequence[Wish]
    overrides: Sequence[Wish]
    solver: Solver
    table: SpecialPackages
    target: str
    accelerator: str | None
    rules: dict[str, str] = field(default_factory=dict)
    gone: set[tuple[str, str, int]] = field(default_factory=set)
    collapsed: dict[str, frozenset[str]] = field(default_factory=dict)
    laid_down: dict[str, str] = field(default_factory=dict)
    excludes: set[str] = field(default_factory=set)
    decisions: list[Decision] = field(default_factory=list)

    def run(self) -> Settled:
        """Resolve. Raises ResolveError that names the nodes and the lines of what cannot be settled."""
        asked = [*self.core, *self.nodes]
        self.nodes, self.decisions = drop_strangers(self.nodes, self.table)
        self._leave_to_core()
        for group in self.table.one_of:
            self._collapse(group, [wish for wish in asked if wish.package in group.packages], ())
        packages = self._compile()
        for group in self.table.one_of:
            if self._collapse(group, (), packages):
                packages = self._compile()
        self.decisions += self._told(asked, packages)
        ordered = sorted(self.decisions, key=lambda decision: (decision.package, decision.rule))
        return Settled(packages=tuple(packages), decisions=tuple(ordered))

    def _leave_to_core(self) -> None:
        known = {wish.package for wish in (*self.core, *self.constraints, *self.overrides)}
        freed = leave_to_core(self.nodes, known, self.table, accelerated=self.accelerator is not None)
        for before, after in zip(self.nodes, freed, strict=True):
            if before != after:
                family = next(row for row in self.table.core_only if before.package in row.packages)
                self.rules[before.package] = f"special: {family.name}"
        self.nodes = freed

    def _collapse(self, group: OneOf, asking: Sequence[Wish], found: Sequence[LockedPackage]) -> bool:
        """Let one member of `group` stand for all that lines ask for, or dependencies brought; whether that is new."""
        brought = {package.name: package for package in found if package.name in group.packages}
        asked = {wish.package for wish in asking} | brought.keys()
        named = sorted(
            {wish.package for wish in self.core if wish.layer == PYTHON_PACKAGES and wish.package in group.packages}
        )
        if len(named) > 1:
            raise self._error([wish for wish in self.core if wish.package in named])
        asked -= set(self.solver.excludes)
        chosen = named[0] if named else ""
        if asked and not chosen:
            chosen = group.choose(asked, target=self.target, accelerator=self.accelerator)
        if asked <= {chosen}:
            return False
        self.core, self.nodes = collapse(self.core, group, chosen), collapse(self.nodes, group, chosen)
        wants = [*asking, *(self._through(package, found) for package in brought.values() if package.name != chosen)]
        if all(wish.package != chosen for wish in (*self.core, *self.nodes)):
            self.core.append(Wish(layer="packager", file="special_packages.yml", line=1, text=chosen))
        self.excludes |= group.packages - {chosen}
        self.collapsed[chosen] = group.packages
        self.decisions.append(
            Decision(
                package=group.name,
                wants=tuple(wants),
                overruled=tuple(wish for wish in wants if wish.package != chosen),
                chosen=chosen,
                rule="recipe" if named else f"special: {group.name}",
                why=RULES["recipe"] if named else group.why,
                override=f"python_packages: [{min(asked - {chosen})}]",
            )
        )
        return True

    def _settle_lines(self) -> None:
        """Take out the nodes' lines that give way to others."""
        free = {wish.package for wish in self.overrides}
        groups: dict[str, list[Wish]] = {}
        for wish in (*self.core, *self.nodes):
            if wish.package not in free:
                groups.setdefault(wish.package, []).append(wish)

        def fails(packages: Sequence[str]) -> bool:
            return self._fails([wish for name in packages for wish in groups[name]], deps=False)

        for package in faulty(sorted(groups), fails):
            core = [wish for wish in (*self.constraints, *self.core) if wish.package == package]
            nodes = [wish for wish in self.nodes if wish.package == package]
            try:
                verdict = settle(core, nodes, newest=self.solver.newest)
            except UnsettledError as error:
                raise self._error(error.wishes) from error
            self.gone |= {_line(wish) for wish, _ in verdict.overruled}
            self.nodes = [wish for wish in self.nodes if _line(wish) not in self.gone]
            self.rules[package] = " and ".join(sorted({rule for _, rule in verdict.overruled}))

    def _compile(self) -> list[LockedPackage]:
        """All packages: as asked if that can be, else without the lines that give way, else with the fewest versions
        laid down that make it possible."""
        if not self._fails([*self.core, *self.nodes], hashes=True):
            return self._solve([*self.core, *self.nodes], hashes=True)
        self._settle_lines()
        wishes = [*self.core, *self.nodes]
        if not self._fails(wishes):
            return self._solve(wishes, hashes=True)
        candidates = self._candidates()

        def solvable(names: Sequence[str]) -> bool:
            return not self._fails(wishes, overrides=[candidates[name] for name in names])

        names = sorted(candidates.keys() - {wish.package for wish in self.overrides})
        if not names or not solvable(names):
            raise self._error(minimal(wishes, self._fails))
        for name in minimal(names, solvable):
            self.laid_down[name] = candidates[name]
        return self._solve(wishes, hashes=True)

    def _candidates(self) -> dict[str, str]:
        """Versions to lay down, `name==version` by name, of the packages that come out differently when ComfyUI and
        each node are resolved alone: ComfyUI's, else what the recipe's constraints allow, else the newest."""
        if self._fails(self.core):
            raise self._error(minimal(self.core, self._fails))
        pins = {package.name: package for package in self._solve(self.core)}
        core = frozenset(pins)
        versions = {name: {package.pin} for name, package in pins.items()}
        for layer in sorted({wish.layer for wish in self.nodes}):
            own = [wish for wish in self.nodes if wish.layer == layer]
            if self._fails(own, bound=False):
                raise self._error(minimal(own, lambda part: self._fails(part, bound=False)))
            for package in self._solve(own, bound=False):
                versions.setdefault(package.name, set()).add(package.pin)
                known = pins.setdefault(package.name, package)
                if package.name not in core and Version(package.version or "0") > Version(known.version or "0"):
                    pins[package.name] = package
        lines = {name: pins[name].pin for name in versions}
        for wish in self.constraints:
            if wish.package in lines and wish.package not in core:
                versions[wish.package].add(wish.text)
                lines[wish.package] = f"{wish.package}=={self.solver.newest([wish])}"
        bound = core | {wish.package for wish in self.constraints}
        differing = [name for name, found in versions.items() if len(found) > 1]
        for name in differing:
            self.rules.setdefault(name, "core-wins" if name in bound else "newest-wins")
        return {name: self._with_extras(name, lines[name]) for name in differing}

    def _with_extras(self, name: str, pin: str) -> str:
        """The pin with the extras that lines ask for: an override would take them away."""
        extras = sorted(
            {extra for wish in (*self.core, *self.nodes) if wish.package == name for extra in wish.requirement.extras}
        )
        return f"{name}[{','.join(extras)}]{pin.removeprefix(name)}" if extras else pin

    def _solve(self, wishes: Sequence[Wish], *, overrides: Sequence[str] = (), **how: bool) -> list[LockedPackage]:
        laid_down = [self.laid_down[name] for name in sorted(self.laid_down)]
        return self.solver.compile(wishes, overrides=[*laid_down, *overrides], excludes=sorted(self.excludes), **how)

    def _fails(self, wishes: Sequence[Wish], *, overrides: Sequence[str] = (), **how: bool) -> bool:
        """Whether there is no solution."""
        try:
            self._solve(wishes, overrides=overrides, **how)
        except ResolveError:
            return True
        return False

    def _told(self, asked: Sequence[Wish], packages: Sequence[LockedPackage]) -> list[Decision]:
        """A decision for every package of which not all wishes came true."""
        by_name = {package.name: package for package in packages}
        told = []
        hidden = {member for chosen, members in self.collapsed.items() for member in members - {chosen}}
        hidden |= {decision.package for decision in self.decisions}
        for name in sorted(({wish.package for wish in asked} | self.laid_down.keys()) - hidden):
            package = by_name.get(name)
            same = self.collapsed.get(name, {name})
            wants = [wish for wish in asked if wish.package in same]
            overruled = [
                wish
                for wish in wants
                if package is None or _line(wish) in self.gone or not wish.admits(package.version, package.url)
            ]
            if package and name in self.laid_down:
                indirect = self._dissenters(package, packages)
                wants, overruled = wants + indirect, overruled + indirect
            if overruled:
                laws = [wish for wish in (*self.constraints, *self.overrides) if wish.package == name]
                told.append(self._decision(name, package, [*laws, *wants], overruled))
        return told

    def _decision(
        self, name: str, package: LockedPackage | None, wants: Sequence[Wish], overruled: Sequence[Wish]
    ) -> Decision:
        rule = self.rules.get(name, "recipe")
        family = next((row for row in self.table.core_only if name in row.packages), None)
        why = (
            family.why
            if family and rule.startswith("special")
            else "; ".join(RULES[part] for part in rule.split(" and "))
        )
        return Decision(
            package=name,
            wants=tuple(wants),
            overruled=tuple(overruled),
            chosen=package.pin if package else "none",
            rule=rule,
            why=why,
            override=f"overrides: ['{overruled[0].text}']" if rule != "recipe" else "change `overrides` or `excludes`",
        )

    def _dissenters(self, package: LockedPackage, packages: Sequence[LockedPackage]) -> list[Wish]:
        """The wishes of installed packages that do not admit the version laid down for `package`."""
        dissent = []
        for dependent in (other for other in packages if other.name in package.via):
            line = self._origin(dependent.name, packages)
            try:
                self.solver.compile([replace(line, text=pin, through=()) for pin in (dependent.pin, package.pin)])
            except ResolveError as error:
                text = spoken_requirement(error.what, dependent.name, package.name)
                through = (*line.through, dependent.pin)
                dissent.append(replace(line, text=text or f"{package.name}!={package.version}", through=through))
        return dissent

    def _through(self, package: LockedPackage, packages: Sequence[LockedPackage]) -> Wish:
        """The wish of a dependency for `package`, with the line at the end of the chain."""
        line = self._origin(package.name, packages)
        return replace(line, text=package.name)

    def _origin(self, name: str, packages: Sequence[LockedPackage]) -> Wish:
        """The line that brought package `name`; in `through` the packages between the two."""
        lines = {wish.package: wish for wish in reversed([*self.core, *self.nodes])}
        via = {package.name: package for package in packages}
        paths: list[tuple[str, tuple[str, ...]]] = [(name, ())]
        seen = {name}
        for here, through in paths:
            if here in lines:
                return replace(lines[here], through=through)
            for above in via[here].via if here in via else ():
                if above in via and above not in seen:
                    seen.add(above)
                    paths.append((above, (via[above].pin, *through)))
        return Wish(layer="packager", file="", line=0, text=name)

    def _error(self, wishes: Sequence[Wish]) -> ResolveError:
        lines = "\n".join(f"    {wish}" for wish in wishes)
        names = " and ".join(dict.fromkeys(wish.layer for wish in wishes))
        one = len(wishes) == 1
        try:
            self._solve(wishes)
            said = ""
        except ResolveError as error:
            said = "".join(f"\n  {line}" for line in error.what.splitlines()[1:_SAID])
        what = "what it asks for cannot be had for this Python and target" if one else "these cannot be had together"
        return ResolveError(f"{what}:\n{lines}{said}", where=names, remedy=_OVERRIDE)


def _line(wish: Wish) -> tuple[str, str, int]:
    """What stays the same of a wish that is rewritten."""
    return wish.layer, wish.file, wish.line
