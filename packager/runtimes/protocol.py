"""What every way of getting a Python is given, and what it gives back."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import Protocol

from packaging.specifiers import InvalidSpecifier, SpecifierSet
from packaging.version import InvalidVersion, Version

from packager.bundle import BundleTree
from packager.console import Console
from packager.errors import InputError
from packager.fetch.mirrors import Mirrors
from packager.prefix_files import PrefixFile
from packager.targets import Target


@dataclass(frozen=True, kw_only=True)
class RuntimeRequest:
    """`python` is the wanted version: "3.11", "3.11.7", a specifier such as ">=3.11,<3.13", or None for any.

    A runtime that takes packages from elsewhere also heeds the rest: `explicit` is the exact list of a lock (identity
    "explicit"), `renew` asks for a new solution although one is known.
    """

    python: str | None
    target: Target
    conda_packages: tuple[str, ...] = ()
    channels: tuple[str, ...] = ()
    miniforge_version: str | None = None
    explicit: str | None = None
    renew: bool = False
    mirrors: Mirrors = field(default_factory=Mirrors)
    offline: bool = False
    console: Console = field(default_factory=Console)


@dataclass(frozen=True, kw_only=True)
class RuntimeFacts:
    """One Python, known before it is there.

    `python_version` is full, such as "3.11.7". `build_paths` are absolute paths of the original that must not be found
    in the bundle. `glibc_floor` is the oldest glibc it runs with, such as "2.36" (None: not Linux, or not known yet).
    `identity` is what makes two runtimes equal; it holds at least "name" and "python". `certificates` is the CA bundle,
    relative to the prefix. `prefixes` are the files in which something stands for the prefix, known once it is there.
    """

    python_version: str
    build_paths: tuple[str, ...]
    glibc_floor: str | None
    identity: dict[str, str]
    certificates: PurePosixPath | None
    prefixes: tuple[PrefixFile, ...] = ()


# The parts of an identity that a lock holds, where they are there.
LOCKED = ("name", "python", "explicit")


def locked_identity(facts: RuntimeFacts) -> dict[str, str]:
    """What a lock holds of the Python of `facts`."""
    return {name: facts.identity[name] for name in LOCKED if name in facts.identity}


class Runtime(Protocol):
    """A source of Pythons that can be moved."""

    @property
    def name(self) -> str:
        """The word for it in a recipe."""

    def inspect(self, request: RuntimeRequest) -> RuntimeFacts:
        """Which Python `request` will get. Writes to the cache alone. Raises InputError if it cannot be satisfied."""

    def identify(self, request: RuntimeRequest) -> dict[str, str]:
        """What a lock holds of the Python that `request` will get: those of its facts' identity that `LOCKED` names.

        Writes to the cache alone, and looks no closer than it must. Raises InputError if it cannot be satisfied.
        """

    def provision(self, tree: BundleTree, facts: RuntimeFacts, *, console: Console) -> RuntimeFacts:
        """Put the Python of `facts` at `tree.prefix`, which must be empty or absent; return what is now known of it.

        The prefix appears in one step and only when it was seen to run. Equal facts give equal trees.
        """


def check_version(wanted: str | None, version: str) -> None:
    """Raises InputError unless `version` is what `wanted` (see RuntimeRequest) asks for, or if that is no version."""
    if wanted is None:
        return
    try:
        if wanted.strip()[:1].isdigit():
            precise = len(Version(wanted).release) > 2
            specifier = SpecifierSet(f"=={wanted.strip()}" + ("" if precise else ".*"))
        else:
            specifier = SpecifierSet(wanted or "no version")
    except (InvalidVersion, InvalidSpecifier) as error:
        raise InputError(
            f"'{wanted}' is no Python version", where="python", remedy="write 3.11, 3.11.7 or >=3.11,<3.13"
        ) from error
    if not specifier.contains(version, prereleases=True):
        raise InputError(
            f"Python {wanted} is wanted, and the one at hand is {version}",
            where="python",
            remedy="run packager with the Python you want in the bundle, or use runtime miniforge",
        )
