"""What patches and native packages come to, for the lock: which candidate can be had, in which version, which bytes.

They are looked for in the order in which they are installed, each on top of what the ones before leave behind.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from packager.accelerators import choose_torch, torch_label
from packager.console import Console
from packager.errors import PackagerError, ResolveError
from packager.lock import Lock, LockedAddition
from packager.origins import Origins
from packager.recipe import Recipe
from packager.resolution.addition_solver import AdditionSolver, Asked, Packages, Wheel
from packager.resolution.markers import applies, marker_environment
from packager.resolution.patches import PatchStep, plan_patches
from packager.resolution.wheel_matrix import Candidate, NativePlan, Surroundings, plan_native
from packager.targets import Target


def settle_additions(
    recipe: Recipe,
    lock: Lock,
    *,
    target: Target,
    origins: Origins,
    folder: Path,
    console: Console,
    previous: Lock | None = None,
    upgrade: Collection[str] = (),
) -> tuple[LockedAddition, ...]:
    """What `recipe` adds to the packages of `lock`. `folder` is for wheels and uv's files.

    What `previous` has of it is kept where the recipe allows it, and a wheel must be the same bytes as then. That does
    not go for the packages and additions (a native package, or patches[0]) that `upgrade` names. Raises ResolveError,
    FetchError or InputError for a patch, and ResolveError for a required native package.
    """
    if not recipe.patches and not recipe.native_packages:
        return ()
    choice = choose_torch(recipe.accelerator, wish=recipe.torch, asked=recipe.versions_asked, target=target)
    looking = Looking(
        target=target,
        python=lock.python_version,
        options=tuple(choice.options),
        excludes=recipe.excludes,
        origins=origins,
        folder=folder,
        console=console,
        previous=previous.additions if previous else (),
        upgrade=frozenset(map(canonicalize_name, upgrade)),
    )
    there: Packages = {canonicalize_name(package.name): package for package in lock.packages}
    settled = []
    for step in plan_patches(recipe, target, lock.python_version).steps:
        addition = looking.patch(step, there)
        _move_on(there, addition)
        settled.append(addition)
    around = surroundings(there, lock.accelerator, index=choice.index, python=lock.python_version, target=target)
    for plan in plan_native(recipe.native_packages, around):
        addition = looking.native(plan, there)
        _move_on(there, addition)
        settled.append(addition)
    return tuple(settled)


def surroundings(
    there: Packages, accelerator: str | None, *, index: str | None, python: str, target: Target
) -> Surroundings:
    """What the wheel matrix is asked with."""
    torch = there.get("torch")
    label = torch_label(torch.version, {name: item.version for name, item in there.items()}) if torch else None
    return Surroundings(
        torch=torch.version if torch else None,
        label=(label or accelerator) if torch else None,
        index=index,
        python=python,
        target=target,
    )


@dataclass(frozen=True, kw_only=True)
class Looking(AdditionSolver):
    """What each patch and native package comes to."""

    def patch(self, step: PatchStep, there: Packages) -> LockedAddition:
        """Raises PackagerError of several kinds: a patch that cannot be had is no recipe to build."""
        name = f"patches[{step.number}]"
        self.console.info(str(step))
        if step.skipped:
            return LockedAddition(kind="patch", name=name, chosen=None, tried=(step.skipped,))
        gone = {canonicalize_name(word) for word in step.uninstall}
        kept = {key: package for key, package in there.items() if key not in gone}
        asked = Asked(
            lines=tuple(line for line in step.requirements if Requirement(line).url is None),
            wheels=self._wheels(step),
            index=step.index,
        )
        try:
            packages = self.packages(name, asked, kept, bound=True)
        except ResolveError:  # then it has to change what is there
            packages = self.packages(name, asked, kept, bound=False)
        return LockedAddition(
            kind="patch",
            name=name,
            chosen=str(step).partition(": ")[2],
            uninstall=step.uninstall,
            packages=packages,
        )

    def native(self, plan: NativePlan, there: Packages) -> LockedAddition:
        """The first candidate that can be had. Raises ResolveError for a required package without any."""
        name, tried = plan.package.name, list[str]()
        held, before = self._held(plan)
        for candidate in sorted(plan.candidates, key=lambda one: one is not held):
            try:
                packages = self.packages(name, _asked(candidate), there, bound=True)
            except PackagerError as error:
                tried.append(f"{candidate}: {error.what.strip()}")
                continue
            self.console.info(f"{name}: {candidate}")
            return LockedAddition(
                kind="native",
                name=name,
                chosen=str(candidate),
                tried=before if candidate is held else tuple(tried),
                required=plan.package.required,
                source=candidate.kind == "source",
                packages=packages,
            )
        reasons = tuple(tried) or ("the wheel matrix has nothing for this torch, Python and target",)
        if plan.package.required:
            raise ResolveError(
                "\n".join(["is required and cannot be had:", *reasons]),
                where=f"native_packages {name}",
                remedy="choose another accelerator or Python, allow `source: true`, or leave `required` out",
            )
        self.console.warn("\n".join([f"{name} is left out:", *reasons]))
        return LockedAddition(kind="native", name=name, chosen=None, tried=reasons, required=False)

    def _held(self, plan: NativePlan) -> tuple[Candidate | None, tuple[str, ...]]:
        """The candidate an older lock chose, where the same ones had failed before it, and why they had."""
        before = self.before(plan.package.name)
        for number, candidate in enumerate(plan.candidates):
            if before and before.chosen == str(candidate) and number == len(before.tried):
                failed = zip(plan.candidates, before.tried, strict=False)
                if all(reason.startswith(f"{other}: ") for other, reason in failed):
                    return candidate, before.tried
        return None, ()

    def _wheels(self, step: PatchStep) -> tuple[Wheel, ...]:
        environment = marker_environment(self.target, self.python)
        direct = [line for line in map(Requirement, step.requirements) if line.url and applies(line, environment)]
        named = [Wheel.at(line.url or "", extras=line.extras) for line in direct]
        return (*named, *map(Wheel.at, step.wheels))


def _asked(candidate: Candidate) -> Asked:
    if candidate.kind == "wheel":
        return Asked(wheels=(Wheel.at(candidate.what, sha256=candidate.sha256),), binary=True)
    requires = candidate.requires if candidate.kind == "source" else None
    binary = candidate.kind == "requirement"
    return Asked(lines=(candidate.what,), index=candidate.index, binary=binary, requires=requires)


def _move_on(there: Packages, addition: LockedAddition) -> None:
    """`there` as it is after `addition`."""
    for name in addition.uninstall:
        there.pop(canonicalize_name(name), None)
    there.update({canonicalize_name(package.name): package for package in addition.packages})
