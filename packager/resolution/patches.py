"""The recipe's patches: what is taken out and put in after the locked packages, and which of it a target gets.

A patch is for what no resolution can express: a wheel per CPython version from somebody's release page, another build
of a package from an index of its own. Whatever it changes is recorded and becomes a constraint of the bundle.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote, urlsplit

from packaging.markers import InvalidMarker, Marker
from packaging.requirements import InvalidRequirement, Requirement
from packaging.utils import InvalidWheelFilename, canonicalize_name, parse_wheel_filename

from packager.document import Document, Pointer, check_address
from packager.errors import Fault, InputError
from packager.resolution.markers import marker_environment
from packager.targets import Target, minor_version

if TYPE_CHECKING:
    from packager.recipe import Recipe


@dataclass(frozen=True, kw_only=True)
class Patch:
    """`install` holds requirements and wheel addresses; `index` is where what is named comes from; `when` is a PEP 508
    marker; `wheels` maps a Python tag (cp312) to the address of its wheel."""

    uninstall: tuple[str, ...] = ()
    install: tuple[str, ...] = ()
    index: str | None = None
    when: str | None = None
    wheels: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class PatchStep:
    """What one patch does. `number` counts from 0, as in `patches[0]`; `skipped` is why it does nothing."""

    number: int
    uninstall: tuple[str, ...] = ()
    requirements: tuple[str, ...] = ()
    wheels: tuple[str, ...] = ()
    index: str | None = None
    skipped: str | None = None

    def __str__(self) -> str:
        if self.skipped:
            return f"patches[{self.number}]: skipped, {self.skipped}"
        words = [f"uninstall {' '.join(self.uninstall)}"] if self.uninstall else []
        if self.requirements:
            words.append(f"install {' '.join(self.requirements)}" + (f" from {self.index}" if self.index else ""))
        words += [f"install {url}" for url in self.wheels]
        return f"patches[{self.number}]: {'; '.join(words)}"


@dataclass(frozen=True, kw_only=True)
class PatchPlan:
    steps: tuple[PatchStep, ...]

    def __str__(self) -> str:
        return "\n".join(str(step) for step in self.steps)


def read_patches(value: list[dict[str, Any]]) -> tuple[Patch, ...]:
    """The patches of a recipe that has been checked."""
    return tuple(
        Patch(
            uninstall=tuple(item.get("uninstall", ())),
            install=tuple(item.get("install", ())),
            index=item.get("index"),
            when=item.get("when"),
            wheels=dict(item.get("wheels", {})),
        )
        for item in value
    )


def plan_patches(recipe: Recipe, target: Target, python: str) -> PatchPlan:
    """What the patches do on `target` with CPython `python` (full version).

    Raises InputError where a patch has wheels, but none for that Python.
    """
    tag = f"cp{minor_version(python).replace('.', '')}"
    environment = marker_environment(target, python)
    steps = []
    for number, patch in enumerate(recipe.patches):
        if patch.when and not Marker(patch.when).evaluate(environment):
            steps.append(PatchStep(number=number, skipped=f"not true here: {patch.when}"))
            continue
        if patch.wheels and tag not in patch.wheels:
            raise InputError(
                f"has no wheel for {tag}, only for {', '.join(sorted(patch.wheels))}",
                where=f"{recipe.path}: patches[{number}].wheels",
                remedy=f"add one, or leave that Python out: `when: python_version != '{minor_version(python)}'`",
            )
        steps.append(
            PatchStep(
                number=number,
                uninstall=patch.uninstall,
                requirements=tuple(line for line in patch.install if not _is_address(line)),
                wheels=(
                    *(line for line in patch.install if _is_address(line)),
                    *([patch.wheels[tag]] if patch.wheels else ()),
                ),
                index=patch.index,
            )
        )
    return PatchPlan(steps=tuple(steps))


def check_patches(document: Document) -> Iterator[Fault]:
    """What the schema cannot say: lines that are options or paths, markers that do not parse, addresses of no wheel."""
    for number, patch in enumerate(document.value.get("patches", ())):
        pointer: Pointer = ("patches", number)
        if not any(patch.get(name) for name in ("uninstall", "install", "wheels")):
            yield document.fault(pointer, "does nothing", "give uninstall, install or wheels")
        if "when" in patch:
            try:
                Marker(patch["when"])
            except InvalidMarker as error:
                reason = str(error).splitlines()[0]
                example = "python_version >= '3.11' and sys_platform == 'win32'"
                yield document.fault((*pointer, "when"), f"is no marker: {reason}", f'write it as in "{example}"')
        if "index" in patch:
            yield from check_address(document, (*pointer, "index"), patch["index"])
        for position, line in enumerate(patch.get("install", ())):
            place: Pointer = (*pointer, "install", position)
            yield from _check_wheel(document, place, line) if _is_address(line) else _check_line(document, place, line)
        for tag, url in patch.get("wheels", {}).items():
            yield from _check_wheel(document, (*pointer, "wheels", tag), url, tag=tag)


def wheel_name(url: str) -> str:
    """The file name of the wheel at `url`. Raises InvalidWheelFilename."""
    name = PurePosixPath(unquote(urlsplit(url).path)).name
    parse_wheel_filename(name)
    return name


def _is_address(line: str) -> bool:
    return "://" in line.split("@", maxsplit=1)[0]


def _check_line(document: Document, pointer: Pointer, line: str) -> Iterator[Fault]:
    try:
        requirement = Requirement(line)
    except InvalidRequirement as error:
        reason = str(error).splitlines()[0]
        remedy = "write `package>=1.0` or the https address of a wheel; options have fields of their own"
        yield document.fault(pointer, f"'{line}' is not a requirement: {reason}", remedy)
        return
    if requirement.url:
        faults = list(_check_wheel(document, pointer, requirement.url))
        yield from faults
        if not faults and parse_wheel_filename(wheel_name(requirement.url))[0] != canonicalize_name(requirement.name):
            yield document.fault(pointer, f"'{line}' is the wheel of another package", "give the name it has")


def _check_wheel(document: Document, pointer: Pointer, url: str, *, tag: str | None = None) -> Iterator[Fault]:
    faults = list(check_address(document, pointer, url))
    yield from faults
    if faults:
        return
    try:
        tags = parse_wheel_filename(wheel_name(url))[3]
    except InvalidWheelFilename:
        yield document.fault(pointer, f"'{url}' is not the address of a wheel", "give one that ends in .whl")
        return
    if tag and not any(item.interpreter in (tag, "py3") or item.abi == "abi3" for item in tags):
        yield document.fault(pointer, f"'{url}' is not a wheel for {tag}", f"give one whose name holds {tag}")
