"""One resolution for ComfyUI, the recipe and all nodes, its conflicts settled by rule and each one told.

First what the lines themselves contradict in (conflicts.settle), then what their dependencies do: there the version
that ComfyUI gets by itself, else the newest that a node gets by itself, is laid down for the fewest packages that make
the whole solvable.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from dataclasses import asdict, dataclass, field, replace

from packaging.requirements import InvalidRequirement, Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

from packager.console import Rounds
from packager.errors import FetchError, ResolveError
from packager.lock import LockedPackage
from packager.resolution.accounts import Account, place
from packager.resolution.conflicts import RULES, Decision, UnsettledError, Wish, faulty, minimal, settle
from packager.resolution.solver import Solution, Solver
from packager.resolution.special_packages import OneOf, SpecialPackages, collapse, drop_strangers, leave_to_core

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
    stands for, `laid_down` and `excludes` what uv is told for it. `rounds` is told how far it is.
    """

    core: list[Wish]
    nodes: list[Wish]
    constraints: Sequence[Wish]
    overrides: Sequence[Wish]
    solver: Solver
    table: SpecialPackages
    target: str
    accelerator: str | None
    rounds: Rounds = field(default_factory=Rounds)
    rules: dict[str, str] = field(default_factory=dict)
    gone: set[tuple[str, str, int]] = field(default_factory=set)
    collapsed: dict[str, frozenset[str]] = field(default_factory=dict)
    laid_down: dict[str, str] = field(default_factory=dict)
    excludes: set[str] = field(default_factory=set)
    decisions: list[Decision] = field(default_factory=list)

    def run(self) -> Settled:
        """Resolve. Raises ResolveError with the nodes and the lines of what cannot be settled, FetchError with those of
        an address that cannot be had."""
        asked = [*self.core, *self.nodes]
        try:
            return self._run(asked)
        except FetchError as error:
            raise _placed(error, asked) from error

    def _run(self, asked: Sequence[Wish]) -> Settled:
        self.nodes, self.decisions = drop_strangers(self.nodes, self.table)
        self._leave_to_core()
        for group in self.table.one_of:
            self._collapse(group, [wish for wish in asked if wish.package in group.packages], ())
        packages = self._compile()
        for group in self.table.one_of:
            if self._collapse(group, (), packages):
                packages = self._compile()
        self.decisions += self._account(asked, packages).decisions(self.decisions)
        ordered = sorted(self.decisions, key=lambda decision: (decision.package, decision.rule))
        return Settled(packages=tuple(packages), decisions=tuple(ordered))

    def _account(self, asked: Sequence[Wish], packages: Sequence[LockedPackage]) -> Account:
        if self.laid_down:
            self.rounds.begin(f"settling: who else asks for {', '.join(sorted(self.laid_down))}")
        return Account(
            asked=asked,
            lines=[*self.core, *self.nodes],
            laws=[*self.constraints, *self.overrides],
            packages=packages,
            rules=self.rules,
            gone=frozenset(self.gone),
            collapsed=self.collapsed,
            laid_down=self.laid_down,
            solver=self.solver,
            table=self.table,
        )

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
        account = self._account((), found)
        wants = [
            *asking,
            *(
                replace(line, text=package.name)
                for package in brought.values()
                if package.name != chosen
                for line in account.origins(package.name)
            ),
        ]
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

        self.rounds.begin(f"settling: looking for lines that contradict each other, {len(groups)} packages")
        for package in faulty(sorted(groups), fails):
            core = [wish for wish in (*self.constraints, *self.core) if wish.package == package]
            nodes = [wish for wish in self.nodes if wish.package == package]
            try:
                verdict = settle(core, nodes, newest=self.solver.newest)
            except UnsettledError as error:
                raise self._error(error.wishes) from error
            self.gone |= {place(wish) for wish, _ in verdict.overruled}
            self.nodes = [wish for wish in self.nodes if place(wish) not in self.gone]
            self.rules[package] = " and ".join(sorted({rule for _, rule in verdict.overruled}))

    def _compile(self) -> list[LockedPackage]:
        """All packages: as asked if that can be, else without the lines that give way, else with the fewest versions
        laid down that make it possible."""
        if not self._fails([*self.core, *self.nodes], hashes=True):
            return self._solve([*self.core, *self.nodes], hashes=True).packages
        self._settle_lines()
        wishes = [*self.core, *self.nodes]
        if not self._fails(wishes):
            return self._solve(wishes, hashes=True).packages
        candidates = self._candidates()

        def solvable(names: Sequence[str]) -> bool:
            return not self._fails(wishes, overrides=[candidates[name] for name in names])

        names = sorted(candidates.keys() - {wish.package for wish in self.overrides})
        if not names or not solvable(names):
            raise self._unsolvable(wishes)
        self.rounds.begin(f"settling: looking for the fewest versions to lay down, {len(names)} differ")
        for name in minimal(names, solvable):
            self.laid_down[name] = candidates[name]
        return self._solve(wishes, hashes=True).packages

    def _candidates(self) -> dict[str, str]:
        """Versions to lay down, `name==version` by name, of the packages that come out differently when ComfyUI and
        each node are resolved alone: ComfyUI's, else what the recipe's constraints allow, else the newest."""
        layers = sorted({wish.layer for wish in self.nodes})
        self.rounds.begin(f"settling: resolving ComfyUI and {len(layers)} nodes each alone")
        alone = self._alone(self.core)
        extras = {name: set(asked) for name, asked in alone.extras.items()}
        pins = {package.name: package for package in alone.packages}
        core = frozenset(pins)
        versions = {name: {package.pin} for name, package in pins.items()}
        for layer in layers:
            alone = self._alone([wish for wish in self.nodes if wish.layer == layer], bound=False)
            for name, asked in alone.extras.items():
                extras.setdefault(name, set()).update(asked)
            for package in alone.packages:
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
        return {name: _with_extras(lines[name], extras.get(name, ())) for name in differing}

    def _alone(self, wishes: Sequence[Wish], *, bound: bool = True) -> Solution:
        """The solution for one layer."""
        if self._fails(wishes, bound=bound):
            raise self._unsolvable(wishes, bound=bound)
        return self._solve(wishes, bound=bound)

    def _solve(self, wishes: Sequence[Wish], *, overrides: Sequence[str] = (), **how: bool) -> Solution:
        laid_down = [self.laid_down[name] for name in sorted(self.laid_down)]
        return self.solver.compile(wishes, overrides=[*laid_down, *overrides], excludes=sorted(self.excludes), **how)

    def _fails(self, wishes: Sequence[Wish], *, overrides: Sequence[str] = (), **how: bool) -> bool:
        """Whether there is no solution."""
        try:
            self._solve(wishes, overrides=overrides, **how)
        except ResolveError:
            return True
        return False

    def _unsolvable(self, wishes: Sequence[Wish], *, bound: bool = True) -> ResolveError:
        """The error that names the fewest of `wishes` for which there is no solution."""
        self.rounds.begin(f"settling: looking for the lines at fault, {len(wishes)} requirements")
        return self._error(minimal(wishes, lambda part: self._fails(part, bound=bound)))

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


def _with_extras(pin: str, extras: Collection[str]) -> str:
    """`name==version` with the extras that somebody asks for: an override would take them away."""
    name = re.split(r"[ =]", pin, maxsplit=1)[0]
    return f"{name}[{','.join(sorted(extras))}]{pin.removeprefix(name)}" if extras else pin


def _placed(error: FetchError, asked: Sequence[Wish]) -> FetchError:
    """The error with the lines that ask for what could not be fetched; without such a line, as it is."""
    said = str(error.details.get("requirement", ""))
    try:
        wanted = Requirement(said)
    except InvalidRequirement:
        return error
    lines = [wish for wish in asked if wish.package == canonicalize_name(wanted.name)]
    lines = [wish for wish in lines if wish.requirement.url and _same(wish.requirement.url, said)] or lines
    if not lines:  # one of the packages from an address asks for it: an index may hold no such dependency
        lines = [wish for wish in asked if wish.requirement.url]
    if not lines:
        return error
    shown = "\n".join(f"    {wish}" for wish in lines)
    head, _, rest = error.what.partition("\n")
    return FetchError(
        f"{head}\n{shown}\n{rest}",
        where=" and ".join(dict.fromkeys(wish.layer for wish in lines)),
        remedy=f"{error.remedy}, write another version under `overrides:` in the recipe, or leave the node out",
        details={**error.details, "wishes": [asdict(wish) for wish in lines]},
    )


def _same(url: str, said: str) -> bool:
    return url.split("#")[0] in said
