"""The uv program: resolver and installer of the build side, and what its failures mean."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

import uv

from packager import process
from packager.errors import FetchError, MismatchError, PackagerError, ResolveError

_UNREACHABLE = re.compile(
    r"error sending request|failed to fetch|dns error|connection (refused|reset)|operation timed out|"
    r"network was disabled|tls handshake|client error \(connect\)",
    re.IGNORECASE,
)
_MISMATCH = re.compile(r"hash mismatch for", re.IGNORECASE)
_UNSOLVABLE = re.compile(
    r"no solution found|requirements are unsatisfiable|were not found in the (package registry|cache)|"
    r"conflicting urls|URL dependencies must be|does not match given name|failed to (download and )?build",
    re.IGNORECASE,
)
# What uv says of one requirement whose bytes it could not get; a build that fails is another matter.
_NAMED = re.compile(r"\berror: Failed to (?:download|fetch|read)(?: and build)? `([^`]+)`")
_NOT_HAD = re.compile(
    r"Git operation failed|failed to fetch|failed to read|HTTP status|error sending request", re.IGNORECASE
)
# The tree must not share files with uv's cache: they are changed in place later.
INTO_TREE = ("--link-mode", "copy", "--no-compile-bytecode")
_WAYS_OUT = "check the network and UV_DEFAULT_INDEX, or build --offline with --wheels-dir"


def run_uv(
    arguments: Sequence[str | os.PathLike[str]], *, cwd: Path | None = None, env: Mapping[str, str] | None = None
) -> process.Finished:
    """Run uv, with `env` on top of our environment. Raises FetchError where an index or address can't be reached (the
    requirement is in its details, if it is one alone), MismatchError where other bytes came than those of a hash,
    ResolveError where no set of versions fits, else PackagerError, each with uv's own words."""
    finished = process.run(
        [uv.find_uv_bin(), *_with_indexes(arguments)], cwd=cwd, env={**environment(), **(env or {})}, check=False
    )
    if finished.returncode == 0:
        return finished
    said = finished.output_tail
    flat = " ".join(said.split())  # it breaks lines wherever they are full
    if _MISMATCH.search(flat):
        raise MismatchError(
            f"a package is not the one that was locked:\n{said}",
            where="uv",
            remedy="look into why it was replaced; `packager lock RECIPE --upgrade PKG` takes the new one",
        )
    if (named := _NAMED.search(flat)) and _NOT_HAD.search(flat):
        raise FetchError(
            f"`{named[1]}` cannot be fetched:\n{said}",
            where="uv",
            remedy="check the address and the network",
            details={"requirement": named[1]},
        )
    if _UNREACHABLE.search(flat):
        raise FetchError(f"the package index cannot be reached:\n{said}", where="uv", remedy=_WAYS_OUT)
    if _UNSOLVABLE.search(flat):
        raise ResolveError(
            f"the packages cannot be had together:\n{said}",
            where="uv",
            remedy="name the version that shall win under `overrides:` in the recipe, or leave a node out",
        )
    raise PackagerError(f"`uv {' '.join(os.fspath(word) for word in arguments[:2])}` failed:\n{said}", where="uv")


def _with_indexes(arguments: Sequence[str | os.PathLike[str]]) -> list[str | os.PathLike[str]]:
    """`arguments` with the indexes of UV_INDEX behind their own, which uv would take in their place."""
    words = list(arguments)
    if "--index" not in words:
        return words
    behind = len(words) - words[::-1].index("--index") + 1
    more = [word for index in os.environ.get("UV_INDEX", "").split() for word in ("--index", index)]
    return [*words[:behind], *more, *words[behind:]]


def install_options(*, wheels: Path | None, offline: bool) -> list[str]:
    """Options that `uv pip compile` and `uv pip install` must be given alike."""
    options = []
    if wheels:
        options += ["--find-links", str(wheels)]
    if offline:
        options.append("--offline")
    return options


def version() -> str:
    """uv's version, part of what makes two resolutions equal."""
    return run_uv(["--version"]).stdout.split()[1]


def environment() -> dict[str, str]:
    """Ours without what would point uv at another Python; indexes, proxies and the cache folder stay the owner's."""
    drop = (
        "VIRTUAL_ENV",
        "CONDA_PREFIX",
        "PYTHONPATH",
        "PYTHONHOME",
        "UV_PYTHON",
        "UV_PROJECT_ENVIRONMENT",
        "UV_SYSTEM_PYTHON",
    )
    return {name: value for name, value in os.environ.items() if name not in drop} | {"NO_COLOR": "1"}
