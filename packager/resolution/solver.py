"""`uv pip compile` for one recipe, Python and target as a function of the wishes, which remembers its answers."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from packaging.utils import canonicalize_name
from packaging.version import Version

from packager import uv
from packager.errors import ResolveError
from packager.filesystem import remove_tree
from packager.lock import LockedPackage
from packager.resolution.compiled import parse_compiled
from packager.resolution.conflicts import Wish


@dataclass(frozen=True, kw_only=True)
class Solution:
    """`extras`: of each package those that somebody asks for, which are no part of its name in `packages`."""

    packages: list[LockedPackage]
    extras: dict[str, frozenset[str]]


@dataclass(frozen=True, kw_only=True)
class Solver:
    """`folder` is for uv's input and output. `options` go to every call (target, Python, torch build, wheels).

    `constraints`, `overrides` and `excludes` are the recipe's lines. `preferred` are `name==version` lines of an older
    lock, which are kept where the wishes allow it. `asked` is called after each call of uv; `env` comes on top of the
    environment.
    """

    folder: Path
    options: tuple[str, ...]
    constraints: tuple[str, ...] = ()
    overrides: tuple[str, ...] = ()
    excludes: tuple[str, ...] = ()
    preferred: tuple[str, ...] = ()
    asked: Callable[[], None] = lambda: None
    env: Mapping[str, str] = field(default_factory=dict)
    _known: dict[object, Solution | ResolveError] = field(default_factory=dict)

    def compile(
        self,
        wishes: Sequence[Wish],
        *,
        overrides: Sequence[str] = (),
        excludes: Sequence[str] = (),
        deps: bool = True,
        hashes: bool = False,
        bound: bool = True,
    ) -> Solution:
        """The packages for `wishes`, one file a layer, so that uv's `# via -r LAYER.txt` tells who asked.

        `overrides` and `excludes` come on top of the recipe's. `deps` False looks at the wishes alone, not at what they
        need in turn; `bound` False forgets the recipe's constraints. Raises ResolveError, FetchError, PackagerError.
        """
        if not wishes:
            return Solution(packages=[], extras={})
        layers: dict[str, list[str]] = {}
        for wish in wishes:
            layers.setdefault(wish.layer, []).append(wish.text)
        laws = (
            ("constraints", self.constraints if bound else ()),
            ("overrides", (*self.overrides, *overrides)),
            ("excludes", (*self.excludes, *excludes)),
        )
        key = (tuple((name, *lines) for name, lines in layers.items()), laws, deps, hashes)
        if key not in self._known:
            try:
                self._known[key] = self._run(layers, laws, deps=deps, hashes=hashes)
            except ResolveError as error:
                self._known[key] = error
            self.asked()
        known = self._known[key]
        if isinstance(known, ResolveError):
            raise known
        return known

    def newest(self, wishes: Sequence[Wish]) -> Version | None:
        """The newest version that admits all `wishes`, which are for one package; None if there is none.

        What comes from an address has no version that could be compared: it counts as 0.
        """
        try:
            found = self.compile(wishes, deps=False).packages
        except ResolveError:
            return None
        return Version(found[0].version) if found and found[0].version else Version("0")

    def _run(
        self,
        layers: Mapping[str, Sequence[str]],
        laws: Sequence[tuple[str, Sequence[str]]],
        *,
        deps: bool,
        hashes: bool,
    ) -> Solution:
        remove_tree(self.folder)
        self.folder.mkdir(parents=True)
        output = self._write("compiled.out", self.preferred)
        command = ["pip", "compile", "--quiet", "--no-header", "--no-config", "--emit-index-annotation"]
        command += ["--no-strip-extras"]
        command += [*self.options, "--output-file", output]
        command += ["--generate-hashes"] if hashes else []
        command += [] if deps else ["--no-deps"]
        for option, lines in laws:
            if lines:
                command += [f"--{option}", self._write(f"{option}.in", lines)]
        command += [self._write(f"{name}.txt", asked) for name, asked in layers.items()]
        uv.run_uv(command, cwd=self.folder, env=self.env)
        return _solution((self.folder / output).read_text(encoding="utf-8"))

    def _write(self, name: str, lines: Sequence[str]) -> str:
        (self.folder / name).write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
        return name


_EXTRAS = re.compile(r"^([A-Za-z0-9._-]+)\[([^\]]*)\]", re.MULTILINE)


def _solution(text: str) -> Solution:
    """What uv printed, extras taken off the names: `httpx[http2, socks]==0.28.1`."""
    extras: dict[str, frozenset[str]] = {
        canonicalize_name(found[1]): frozenset(map(str.strip, found[2].split(","))) for found in _EXTRAS.finditer(text)
    }
    return Solution(packages=parse_compiled(_EXTRAS.sub(r"\1", text)), extras=extras)


def spoken_requirement(said: str, dependent: str, package: str) -> str | None:
    """The requirement on `package` that uv names for `dependent` in its explanation, if it does: 'numpy>=1.0,<2'."""
    plain = " ".join(said.split())
    pattern = rf"\b{re.escape(dependent)}\S* depends? on ({re.escape(package)}(?:\[[^\]]*\])?[<>=!~][\w.,<>=!~*+-]*\w)"
    found = re.search(pattern, plain)
    return found[1] if found else None
