"""What patches and native packages come to, for the lock: which candidate can be had, in which version, which bytes.

They are looked for in the order in which they are installed, each on top of what the ones before leave behind.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urldefrag

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name, parse_wheel_filename

from packager import uv
from packager.accelerators import choose_torch, torch_label
from packager.console import Console
from packager.errors import PackagerError, ResolveError
from packager.fetch.download import DownloadRequest, download
from packager.filesystem import remove_tree
from packager.lock import Lock, LockedAddition, LockedPackage, parse_compiled, public_index
from packager.origins import Origins
from packager.patches import PatchStep, plan_patches, wheel_name
from packager.pins import git_environment, place_of
from packager.recipe import Recipe
from packager.targets import Target
from packager.wheel_matrix import Candidate, NativePlan, Surroundings, plan_native

Packages = dict[str, LockedPackage]  # by normalised name


@dataclass(frozen=True, kw_only=True)
class Asked:
    """What one addition asks for. `wheels`: package name -> (address, sha256 or None); `requires` stands for the
    dependencies of a source that cannot tell them without being built."""

    lines: tuple[str, ...] = ()
    wheels: Mapping[str, tuple[str, str | None]] = dataclasses.field(default_factory=dict)
    index: str | None = None
    binary: bool = False
    requires: tuple[str, ...] | None = None


def settle_additions(
    recipe: Recipe,
    lock: Lock,
    *,
    target: Target,
    origins: Origins,
    folder: Path,
    console: Console,
    previous: Lock | None = None,
) -> tuple[LockedAddition, ...]:
    """What `recipe` adds to the packages of `lock`. `folder` is for wheels and uv's files.

    What `previous` has of it is kept where the recipe allows it, and a wheel must be the same bytes as then. Raises
    ResolveError, FetchError or InputError for a patch, and ResolveError for a required native package.
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
class Looking:
    """How to look: for which target and Python, where, and what an older lock has."""

    target: Target
    python: str
    options: tuple[str, ...]  # of uv, for the accelerator's index
    excludes: tuple[str, ...]
    origins: Origins
    folder: Path
    console: Console
    previous: tuple[LockedAddition, ...] = ()

    def patch(self, step: PatchStep, there: Packages) -> LockedAddition:
        """Raises PackagerError of several kinds: a patch that cannot be had is no recipe to build."""
        name = f"patches[{step.number}]"
        self.console.info(str(step))
        if step.skipped:
            return LockedAddition(kind="patch", name=name, chosen=None, tried=(step.skipped,))
        gone = {canonicalize_name(word) for word in step.uninstall}
        kept = {key: package for key, package in there.items() if key not in gone}
        asked = Asked(lines=_plain(step.requirements), wheels=_wheels(step), index=step.index)
        try:
            packages = self._packages(name, asked, kept, bound=True)
        except ResolveError:  # then it has to change what is there
            packages = self._packages(name, asked, kept, bound=False)
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
        for candidate in plan.candidates:
            try:
                packages = self._packages(name, _asked(candidate), there, bound=True)
            except PackagerError as error:
                tried.append(f"{candidate}: {error.what.strip()}")
                continue
            self.console.info(f"{name}: {candidate}")
            return LockedAddition(
                kind="native",
                name=name,
                chosen=str(candidate),
                tried=tuple(tried),
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

    def _packages(self, name: str, asked: Asked, kept: Packages, *, bound: bool) -> tuple[LockedPackage, ...]:
        """What has to be installed on top of `kept`. With `bound` everything in it stays but what is asked for."""
        before = {item.name: item for addition in self.previous if addition.name == name for item in addition.packages}
        files = {key: self._fetch(url, digest, before.get(key)) for key, (url, digest) in asked.wheels.items()}
        lines = [*asked.lines, *(f"{key} @ {path.as_uri()}" for key, (path, _) in files.items())]
        if not lines:
            return ()
        named = {canonicalize_name(Requirement(line).name) for line in lines}
        stays = [package for key, package in kept.items() if key not in named]
        old = {**kept, **before}
        compiled = self._compile(
            lines, asked, named, constraints=stays if bound else [], preferred=[item.pin for item in old.values()]
        )
        index = public_index(asked.index) if asked.index else None
        added = []
        for found in compiled:
            key, package = canonicalize_name(found.name), found
            there = kept.get(key)
            if key in asked.wheels:
                url = asked.wheels[key][0]
                version = str(parse_wheel_filename(wheel_name(url))[1])
                package = dataclasses.replace(found, url=url, version=version, hashes=(f"sha256:{files[key][1]}",))
            elif there and there.pin == found.pin and not (key in named and index and there.index != index):
                continue
            via = tuple(dict.fromkeys(name if word.startswith(_PROJECT) else word for word in package.via))
            added.append(dataclasses.replace(package, via=via))
        return tuple(added)

    def _fetch(self, url: str, digest: str | None, before: LockedPackage | None) -> tuple[Path, str]:
        """A wheel and its sha256. Raises PackagerError if the target cannot use it."""
        if digest is None and before and before.url == url:
            digest = before.hashes[0].removeprefix("sha256:")
        origins, path = self.origins, self.folder / "wheels" / place_of(url)
        found = download(
            DownloadRequest(url=url, sha256=digest),
            path,
            cache=origins.cache,
            mirrors=origins.mirrors,
            console=self.console,
            offline=origins.offline,
        )
        nowhere = ["--target", str(self.folder / "nothing"), "--dry-run", "--no-deps", "--offline"]
        uv.run_uv(["pip", "install", "--quiet", "--no-config", *nowhere, *self._target(), "--", str(path)])
        return path.absolute(), found.sha256

    def _compile(
        self,
        lines: Sequence[str],
        asked: Asked,
        named: Collection[str],
        *,
        constraints: Sequence[LockedPackage],
        preferred: Sequence[str],
    ) -> list[LockedPackage]:
        folder = self.folder / "uv"
        remove_tree(folder)
        folder.mkdir(parents=True)
        _write(folder / "compiled.out", preferred)
        _write(folder / "constraints.in", [package.pin for package in constraints])
        _write(folder / "excludes.in", self.excludes)
        own = [line for line in lines if Requirement(line).url is None] if asked.index else []
        (folder / "pyproject.toml").write_text(_project(lines, own, asked.index), encoding="utf-8")
        (folder / "settings.toml").write_text(_settings(asked), encoding="utf-8")
        command = ["pip", "compile", "--quiet", "--no-header", "--config-file", "settings.toml"]
        command += ["--emit-index-annotation", "--generate-hashes", *self._target(), *self.options]
        command += ["--index-strategy", "unsafe-best-match"] if "--index-strategy" not in self.options else []
        command += ["--constraints", "constraints.in", "--excludes", "excludes.in", "--output-file", "compiled.out"]
        command += ["--only-binary", ":all:"] if asked.binary else []
        command += [word for name in sorted(named) if asked.requires is not None for word in ("--no-binary", name)]
        command += uv.install_options(wheels=self.origins.wheels, offline=self.origins.offline)
        uv.run_uv([*command, "pyproject.toml"], cwd=folder, env=git_environment(self.origins.mirrors))
        return parse_compiled((folder / "compiled.out").read_text(encoding="utf-8"))

    def _target(self) -> list[str]:
        platform = ["--python-platform", self.target.uv_platform, "--no-python-downloads"]
        return ["--python-version", self.python, *platform]


_PROJECT = "packager-additions"


def _project(lines: Sequence[str], own: Sequence[str], index: str | None) -> str:
    """A pyproject.toml that asks for `lines`; those of `own` are to be had from `index` and nowhere else."""
    text = f'[project]\nname = "{_PROJECT}"\nversion = "0"\ndependencies = {json.dumps(list(lines))}\n'
    if index and own:
        text += f'[[tool.uv.index]]\nname = "own"\nurl = {json.dumps(index)}\n[tool.uv.sources]\n'
        text += "".join(
            f'"{name}" = {{ index = "own" }}\n' for name in sorted({Requirement(line).name for line in own})
        )
    return text


def _settings(asked: Asked) -> str:
    """uv's settings: what sources depend on that must not be built to be asked (dependency-metadata)."""
    if asked.requires is None:
        return ""
    rows = []
    for line in asked.lines:
        wanted = Requirement(line)
        exact = next((part.version for part in wanted.specifier if part.operator == "=="), "0")
        version = f', version = "{exact}"' if wanted.url is None else ', version = "0"'
        rows.append(f'{{ name = "{wanted.name}"{version}, requires-dist = {json.dumps(list(asked.requires))} }}')
    return f"dependency-metadata = [{', '.join(rows)}]\n"


def _asked(candidate: Candidate) -> Asked:
    if candidate.kind == "wheel":
        url, digest = _split(candidate.what)
        return Asked(wheels={_wheel_package(url): (url, candidate.sha256 or digest)}, binary=True)
    requires = candidate.requires if candidate.kind == "source" else None
    binary = candidate.kind == "requirement"
    return Asked(lines=(candidate.what,), index=candidate.index, binary=binary, requires=requires)


def _plain(lines: Sequence[str]) -> tuple[str, ...]:
    return tuple(line for line in lines if Requirement(line).url is None)


def _wheels(step: PatchStep) -> dict[str, tuple[str, str | None]]:
    direct = [requirement.url for requirement in map(Requirement, step.requirements) if requirement.url]
    addresses = [_split(url) for url in [*direct, *step.wheels]]
    return {_wheel_package(url): (url, digest) for url, digest in addresses}


def _wheel_package(url: str) -> str:
    return str(parse_wheel_filename(wheel_name(url))[0])


def _split(url: str) -> tuple[str, str | None]:
    """An address and the sha256 that may stand at its end: `#sha256=...`."""
    plain, fragment = urldefrag(url)
    return plain, fragment.removeprefix("sha256=") if fragment.startswith("sha256=") else None


def _move_on(there: Packages, addition: LockedAddition) -> None:
    """`there` as it is after `addition`."""
    for name in addition.uninstall:
        there.pop(canonicalize_name(name), None)
    there.update({canonicalize_name(package.name): package for package in addition.packages})


def _write(path: Path, lines: Sequence[str]) -> None:
    path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
