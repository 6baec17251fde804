"""What a build without a network lacks: looked for everywhere before anything is installed, and told in one list."""

from __future__ import annotations

import io
import platform
import re
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

from packaging.utils import InvalidSdistFilename, InvalidWheelFilename, parse_sdist_filename, parse_wheel_filename
from packaging.version import InvalidVersion, Version

from packager import uv
from packager.accelerators import choose_torch
from packager.console import Console, Rounds
from packager.errors import FetchError, PackagerError, ResolveError
from packager.fetch.mirrors import local_path, redact
from packager.fetch.sources import Pin, SourceRequest, pin
from packager.filesystem import remove_tree
from packager.gathering.gather import MANIFEST
from packager.lock import Lock, LockedPackage, LockedRepository, load_lock
from packager.models import Model, wanted_models
from packager.origins import Origins
from packager.pins import fetch_files, git_environment
from packager.process import CommandError
from packager.recipe import Recipe
from packager.resolve import public_address, read_wishes, settle_wishes
from packager.targets import Target

# How uv says that a package, or the version that is wanted of it, is not there.
_ABSENT = re.compile(
    r"\b(?:because|and) ([\w.-]+) was not found in the (?:cache|package registry|provided package locations)"
    r"|\bonly ([\w.-]+?)(?:==|<|>|!)\S* (?:is|are) available"
    r"|\bno versions? of ([\w.-]+?)(?:==|<|>|!|\s)",
    re.IGNORECASE,
)
_REASON = re.compile(r"\bbecause (.+?), we can conclude|$", re.IGNORECASE)


@dataclass(frozen=True, kw_only=True)
class Stock:
    """What is at hand for one recipe and target. `work` is the build's folder."""

    recipe: Recipe
    target: Target
    origins: Origins
    work: Path
    console: Console = field(default_factory=lambda: Console(quiet=True, stream=io.StringIO()))

    def lacks_for(self, lock: Lock) -> list[str]:
        """A line for each thing that a build of `lock` would have to fetch."""
        lines, _ = self._repositories({repo.name: repo.commit for repo in lock.repositories})
        added = [package for addition in lock.additions for package in addition.packages]
        return [*lines, *self._packages([*lock.packages, *added]), *self._models(lock.python_version)]

    def lacks_to_lock(self, python: str) -> list[str]:
        """A line for each thing that a lock for `python` and its build would have to fetch, as far as it can be told:
        nobody knows what a repository asks for that is missing."""
        lines, pins = self._repositories({})
        return [*lines, *self._requirements(pins, python), *self._models(python)]

    def _repositories(self, commits: Mapping[str, str]) -> tuple[list[str], dict[str, Pin]]:
        lines, pins = [], {}
        for repo in self.recipe.repositories:
            url = self.origins.location(repo.name, repo.url)
            request = SourceRequest(name=repo.name, url=url, ref=repo.ref, commit=commits.get(repo.name) or repo.commit)
            means = {"cache": self.origins.cache, "mirrors": self.origins.mirrors, "console": self.console}
            try:
                pins[repo.name] = pin(request, **means, offline=True)  # type: ignore[arg-type]
            except FetchError as error:
                lines.append(f"repository {repo.name}: {redact(url)}: {_first_line(error)}")
        return lines, pins

    def _models(self, python: str) -> list[str]:
        models = wanted_models(self.recipe.models, self.target, python) if self.recipe.model_mode == "bundle" else ()
        return [f"model {model.path}: {redact(model.url)}" for model in models if not self._has(model)]

    def _has(self, model: Model) -> bool:
        location = self.origins.mirrors.rewrite(model.url)
        if source := local_path(location):
            return source.is_file()
        known = self.origins.cache.remembered(location)
        digest = model.sha256.lower() if model.sha256 else known.sha256 if known else None
        return digest is not None and self.origins.cache.blob_path(digest).is_file()

    def _requirements(self, pins: Mapping[str, Pin], python: str) -> list[str]:
        """Packages that the recipe and the repositories of `pins` ask for, and what those need in turn."""
        recipe = replace(
            self.recipe, custom_nodes=tuple(node for node in self.recipe.custom_nodes if node.name in pins)
        )
        there = [repo for repo in recipe.repositories if repo.name in pins]
        lock = Lock(
            version_id=recipe.version_id,
            recipe_digest=recipe.digest,
            target=self.target.name,
            accelerator=recipe.accelerator,
            runtime={"name": recipe.runtime, "python": python},
            repositories=tuple(
                LockedRepository(
                    name=repo.name,
                    url=public_address(repo.url),
                    ref=repo.ref,
                    commit=pins[repo.name].commit,
                    tree=pins[repo.name].tree,
                )
                for repo in there
            ),
            packages=(),
        )
        folder = self.work / "offline" / "checkouts"
        try:
            asked, _ = read_wishes(
                lock, recipe, target=self.target, origins=self.origins, folder=folder, console=self.console
            )
        except FetchError as error:  # a submodule, say
            return [f"files of a repository: {error.where or ''}: {_first_line(error)}"]

        def settle(without: Collection[str]) -> None:
            settle_wishes(
                replace(recipe, excludes=(*recipe.excludes, *without)),
                asked,
                target=self.target,
                python=python,
                folder=self.work / "offline" / "uv",
                origins=self.origins,
                rounds=Rounds(),
            )

        return _named_by_uv(settle)

    def _packages(self, packages: Sequence[LockedPackage]) -> list[str]:
        """Those of a lock of which no file is at hand. What neither lies in the folder of wheels nor in uv's cache is
        found out by installing it, as links, where nobody looks."""
        held = _files_in(self.origins.wheels)
        direct = [package for package in packages if package.url and not package.url.startswith("git+")]
        rest = [package for package in packages if package not in direct and not _is_held(package, held)]
        lines = []
        try:  # the installation finds them there
            fetch_files(direct, self.work / "direct-files", origins=self.origins, console=self.console, thorough=True)
        except FetchError as error:
            lines = [f"package {line}" for line in str(error).splitlines() if not line.lstrip().startswith("remedy:")]
        if rest and "Would download" not in self._install(rest, "--dry-run", fails=False):
            rest = []

        def install(without: Collection[str]) -> None:
            if wanted := [package for package in rest if package.name not in without]:
                self._install(wanted)

        return [*lines, *_named_by_uv(install)]

    def _install(self, packages: Sequence[LockedPackage], *words: str, fails: bool = True) -> str:
        """What uv says to installing `packages` somewhere, without a network."""
        folder = self.work / "offline" / "trial"
        remove_tree(folder)
        folder.mkdir(parents=True)
        pins = folder / "pins.txt"
        pins.write_text("".join(f"{package.requirement}\n" for package in packages), encoding="utf-8")
        choice = choose_torch(
            self.recipe.accelerator, wish=self.recipe.torch, asked=self.recipe.versions_asked, target=self.target
        )
        indexes = [word for patch in self.recipe.patches if patch.index for word in ("--index", patch.index)]
        command = ["pip", "install", "--no-config", "--no-deps", "--link-mode", "symlink", *words, *choice.options]
        command += ["--index-strategy", "unsafe-best-match"] if "--index-strategy" not in choice.options else []
        command += ["--target", str(folder / "site-packages"), "--requirements", str(pins), *indexes]
        command += uv.install_options(wheels=self.origins.wheels, offline=True)
        try:
            return uv.run_uv(command, env=git_environment(self.origins.mirrors)).output_tail
        except PackagerError:
            if fails:
                raise
            return "Would download"
        finally:
            remove_tree(folder)


@contextmanager
def told_at_once(stock: Stock, identify: Callable[[], Mapping[str, str]], lock: Path | None) -> Iterator[None]:
    """Turn the first thing that cannot be had without a network into a FetchError that lists all. `identify` asks for
    the Python (see Runtime), `lock` is the one to build from, if there is one."""
    try:
        yield
    except (FetchError, ResolveError, CommandError) as error:
        if not stock.origins.offline:
            raise
        lines, python = [], stock.recipe.python or ""
        try:
            python = identify()["python"]
        except (FetchError, CommandError) as missing:
            lines.append(f"Python by runtime {stock.recipe.runtime}: {missing.where or ''}: {_first_line(missing)}")
        python = python if python[:1].isdigit() else platform.python_version()
        lines += stock.lacks_for(load_lock(lock)) if lock else stock.lacks_to_lock(python)
        if not lines:
            raise
        raise _error(stock, lines, known=lock is not None) from error


def check(stock: Stock, lock: Lock) -> None:
    """Raise FetchError that lists all that a build of `lock` would have to fetch. A gathered folder is complete."""
    wheels = stock.origins.wheels
    if stock.origins.offline and not (wheels and (wheels / MANIFEST).is_file()) and (lines := stock.lacks_for(lock)):
        raise _error(stock, lines, known=True)


def _error(stock: Stock, lines: Sequence[str], *, known: bool) -> FetchError:
    """`known`: a lock says what there has to be; else nobody knows what a missing package needs in turn."""
    more = "" if known else " (without a lock it is not known what missing packages need in turn)"
    return FetchError(
        "\n".join([f"these are not at hand, and nothing may be fetched{more}:", *(f"  {line}" for line in lines)]),
        where=str(stock.origins.wheels or "--offline"),
        remedy="`packager download RECIPE -o DIR` gathers all of it where there is a network; "
        "--wheels-dir, --source and --mirror say what lies where",
        details={"missing": list(lines)},
    )


def _named_by_uv(attempt: Callable[[Collection[str]], None]) -> list[str]:
    """A line for each package for lack of which `attempt` fails. uv names one at a time, and is asked again without it.
    What else it fails of is for the installation to say."""
    found: dict[str, str] = {}
    while True:
        try:
            attempt(found.keys())
        except PackagerError as error:
            flat = " ".join(error.what.split())
            named = _ABSENT.search(flat)
            name = next(filter(None, named.groups()), "") if named else ""
            asked = str(error.details.get("requirement", ""))
            name = name or re.split(r"[^\w.-]", asked, maxsplit=1)[0]
            if not name or name in found:
                break
            found[name] = asked or _REASON.search(flat)[1] or name  # type: ignore[index]
        else:
            break
    return [f"package {name}: {why}" for name, why in found.items()]


def _files_in(wheels: Path | None) -> set[tuple[str, Version]]:
    """Name and version of each wheel and sdist in the folder."""
    found: set[tuple[str, Version]] = set()
    for path in wheels.iterdir() if wheels else ():
        try:
            name, version = (parse_wheel_filename if path.suffix == ".whl" else parse_sdist_filename)(path.name)[:2]
            found.add((str(name), version))
        except (InvalidWheelFilename, InvalidSdistFilename, InvalidVersion):
            continue
    return found


def _is_held(package: LockedPackage, held: Collection[tuple[str, Version]]) -> bool:
    return not package.url and (package.name, Version(package.version)) in held


def _first_line(error: PackagerError) -> str:
    return error.what.strip().partition("\n")[0]
