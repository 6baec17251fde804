"""`uv pip compile` for one addition to a lock, a patch or a native package, on top of what is there by then."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urldefrag

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name, parse_wheel_filename

from packager import uv
from packager.console import Console
from packager.fetch.download import DownloadRequest, download
from packager.filesystem import remove_tree
from packager.lock import LockedAddition, LockedPackage
from packager.origins import Origins
from packager.pins import git_environment, place_of
from packager.resolution.compiled import parse_compiled, public_index
from packager.resolution.patches import wheel_name
from packager.targets import Target

Packages = dict[str, LockedPackage]  # by normalised name


@dataclass(frozen=True, kw_only=True)
class Wheel:
    """A wheel from an address of its own. `sha256` in hex, where it is known; `extras` are asked for with it."""

    url: str
    sha256: str | None = None
    extras: tuple[str, ...] = ()

    @classmethod
    def at(cls, address: str, *, sha256: str | None = None, extras: Collection[str] = ()) -> Wheel:
        """Of an address at whose end its hash may stand: `#sha256=...`."""
        url, fragment = urldefrag(address)
        told = fragment.removeprefix("sha256=") if fragment.startswith("sha256=") else None
        return cls(url=url, sha256=sha256 or told, extras=tuple(sorted(extras)))

    @property
    def package(self) -> str:
        """Its normalised name, of which the file name tells (PEP 427)."""
        return str(parse_wheel_filename(wheel_name(self.url))[0])


@dataclass(frozen=True, kw_only=True)
class Asked:
    """What one addition asks for. `requires` stands for the dependencies of a source that cannot tell them without
    being built."""

    lines: tuple[str, ...] = ()
    wheels: tuple[Wheel, ...] = ()
    index: str | None = None
    binary: bool = False
    requires: tuple[str, ...] | None = None


@dataclass(frozen=True, kw_only=True)
class AdditionSolver:
    """How to look: for which target and Python, where, and what an older lock has (`previous`), of which the names in
    `upgrade` (normalised; of packages or of additions) count for nothing."""

    target: Target
    python: str
    options: tuple[str, ...]  # of uv, for the accelerator's index
    excludes: tuple[str, ...]
    origins: Origins
    folder: Path
    console: Console
    previous: tuple[LockedAddition, ...] = ()
    upgrade: frozenset[str] = frozenset()

    def before(self, name: str) -> LockedAddition | None:
        """What an older lock has of addition `name` and may be kept."""
        found = next((addition for addition in self.previous if addition.name == name), None)
        if found is None or canonicalize_name(name) in self.upgrade:
            return None
        kept = (package for package in found.packages if canonicalize_name(package.name) not in self.upgrade)
        return dataclasses.replace(found, packages=tuple(kept))

    def packages(self, name: str, asked: Asked, kept: Packages, *, bound: bool) -> tuple[LockedPackage, ...]:
        """What has to be installed on top of `kept`. With `bound` everything in it stays but what is asked for.

        Raises ResolveError, FetchError, PackagerError.
        """
        earlier = self.before(name)
        before: Packages = {canonicalize_name(item.name): item for item in earlier.packages} if earlier else {}
        wheels = {wheel.package: wheel for wheel in asked.wheels}
        files = {key: self._fetch(wheel, before.get(key)) for key, wheel in wheels.items()}
        lines = [*asked.lines, *(_line(key, wheels[key], path) for key, (path, _) in files.items())]
        if not lines:
            return ()
        named = {canonicalize_name(Requirement(line).name) for line in lines}
        stays = [package for key, package in kept.items() if key not in named]
        preferred = [item.pin for key, item in (kept | before).items() if key not in self.upgrade]
        compiled = self._compile(lines, asked, named, constraints=stays if bound else [], preferred=preferred)
        index = public_index(asked.index) if asked.index else None
        added = []
        for found in compiled:
            key, package = canonicalize_name(found.name), found
            there = kept.get(key)
            if key in wheels:
                url = wheels[key].url
                version = str(parse_wheel_filename(wheel_name(url))[1])
                package = dataclasses.replace(found, url=url, version=version, hashes=(f"sha256:{files[key][1]}",))
            elif there and there.pin == found.pin and not (key in named and index and there.index != index):
                continue
            via = tuple(dict.fromkeys(name if word.startswith(_PROJECT) else word for word in package.via))
            added.append(dataclasses.replace(package, via=via))
        return tuple(added)

    def _fetch(self, wheel: Wheel, before: LockedPackage | None) -> tuple[Path, str]:
        """A wheel and its sha256. Raises PackagerError if the target cannot use it."""
        digest = wheel.sha256
        if digest is None and before and before.url == wheel.url:
            digest = before.hashes[0].removeprefix("sha256:")
        origins, path = self.origins, self.folder / "wheels" / place_of(wheel.url)
        found = download(
            DownloadRequest(url=wheel.url, sha256=digest),
            path,
            cache=origins.cache,
            mirrors=origins.mirrors,
            console=self.console,
            offline=origins.offline,
        )
        nowhere = ["--target", str(self.folder / "nothing"), "--dry-run", "--no-deps", "--offline"]
        uv.run_uv(["pip", "install", "--quiet", "--no-config", *nowhere, *self._platform(), "--", str(path)])
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
        command += ["--emit-index-annotation", "--generate-hashes", *self._platform(), *self.options]
        command += ["--index-strategy", "unsafe-best-match"] if "--index-strategy" not in self.options else []
        command += ["--constraints", "constraints.in", "--excludes", "excludes.in", "--output-file", "compiled.out"]
        command += ["--only-binary", ":all:"] if asked.binary else []
        command += [word for name in sorted(named) if asked.requires is not None for word in ("--no-binary", name)]
        command += uv.install_options(wheels=self.origins.wheels, offline=self.origins.offline)
        uv.run_uv([*command, "pyproject.toml"], cwd=folder, env=git_environment(self.origins.mirrors))
        return parse_compiled((folder / "compiled.out").read_text(encoding="utf-8"))

    def _platform(self) -> list[str]:
        platform = ["--python-platform", self.target.uv_platform, "--no-python-downloads"]
        return ["--python-version", self.python, *platform]


_PROJECT = "packager-additions"


def _line(package: str, wheel: Wheel, path: Path) -> str:
    extras = f"[{','.join(wheel.extras)}]" if wheel.extras else ""
    return f"{package}{extras} @ {path.as_uri()}"


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


def _write(path: Path, lines: Sequence[str]) -> None:
    path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
