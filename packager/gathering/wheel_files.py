"""Which files of an index a lock means on its target: wheels, and sdists where there are none.

uv says it in the form of a pylock.toml (PEP 751), whose wheels are those that the target can use.
"""

from __future__ import annotations

import sys
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any
from urllib.parse import unquote, urlsplit

from packager import uv
from packager.errors import FetchError
from packager.filesystem import remove_tree
from packager.lock import LockedPackage
from packager.origins import Origins
from packager.pins import git_environment
from packager.targets import Target

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib


@dataclass(frozen=True, kw_only=True)
class IndexFile:
    """A wheel or sdist. `url` may be an absolute path; `sha256` is hex; `size` in bytes where the index says it."""

    package: str
    name: str
    url: str
    sha256: str
    size: int | None

    @property
    def is_wheel(self) -> bool:
        return self.name.endswith(".whl")


@dataclass(frozen=True, kw_only=True)
class Asking:
    """How uv is asked: for which target and Python, from where; `indexes` are those of patches. `folder` is
    its own.
    """

    target: Target
    python: str
    options: tuple[str, ...]  # of uv, for the accelerator's index
    origins: Origins
    folder: Path
    indexes: tuple[str, ...] = ()


def locked_files(
    packages: Sequence[LockedPackage], asking: Asking, *, from_source: Collection[str] = ()
) -> list[IndexFile]:
    """Of each package of an index the wheels that fit, or the sdist if there is none or `from_source` names it.

    Raises FetchError that lists every package of which neither can be had.
    """
    chosen: list[IndexFile] = []
    absent = []
    for group in _rounds(packages):
        found = _ask([package.pin for package in group], asking, "--no-deps")
        for package in group:
            hashes = {digest.partition(":")[2] for digest in package.hashes}
            files = [file for file in found if file.package == package.name and file.sha256 in hashes]
            wheels = [file for file in files if file.is_wheel and package.name not in from_source]
            wanted = wheels or [file for file in files if not file.is_wheel]
            if not wanted:
                absent.append(f"{package.pin}: the index has no file with a locked hash for {asking.target.name}")
            chosen += wanted
    if absent:
        raise FetchError(
            "\n".join(["these packages cannot be gathered:", *(f"  {line}" for line in absent)]),
            where="packages",
            remedy="make the lock anew, or name a version under `overrides:` that an index has",
        )
    return list({file.name: file for file in chosen}.values())


def _rounds(packages: Sequence[LockedPackage]) -> list[list[LockedPackage]]:
    """Those with an index, each name once a round: a patch may bring another version of a locked package."""
    rounds: list[dict[str, LockedPackage]] = []
    for package in packages:
        if package.url:
            continue
        place = next((one for one in rounds if one.setdefault(package.name, package).pin == package.pin), None)
        if place is None:
            rounds.append({package.name: package})
    return [list(one.values()) for one in rounds]


def requirement_files(lines: Sequence[str], asking: Asking) -> list[IndexFile]:
    """The wheels of `lines` and all they need. Raises FetchError that lists what has no wheel."""
    files = _ask(lines, asking)
    wheels = [file for file in files if file.is_wheel]
    if absent := sorted({file.package for file in files} - {file.package for file in wheels}):
        raise FetchError(
            f"no wheels of {', '.join(absent)}",
            where=", ".join(lines),
            remedy="build it, and put the wheel on an index",
        )
    return wheels


def _ask(lines: Sequence[str], asking: Asking, *more: str) -> list[IndexFile]:
    if not lines:
        return []
    remove_tree(asking.folder)
    asking.folder.mkdir(parents=True)
    (asking.folder / "wanted.txt").write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    command = ["pip", "compile", "--quiet", "--no-config", "--no-header", "--format", "pylock.toml", *more]
    command += ["--python-version", asking.python, "--python-platform", asking.target.uv_platform]
    command += ["--no-python-downloads", "--output-file", "pylock.toml", "wanted.txt"]
    origins = asking.origins
    command += [word for index in asking.indexes for word in ("--index", index)]
    command += ["--index-strategy", "unsafe-best-match"] if "--index-strategy" not in asking.options else []
    command += [*asking.options, *uv.install_options(wheels=origins.wheels, offline=origins.offline)]
    uv.run_uv(command, cwd=asking.folder, env=git_environment(origins.mirrors))
    table = tomllib.loads((asking.folder / "pylock.toml").read_text(encoding="utf-8"))
    files = []
    for package in table.get("packages", ()):
        entries: list[dict[str, Any]] = [*package.get("wheels", ()), *filter(None, [package.get("sdist")])]
        files += [_index_file(package["name"], entry, asking.folder) for entry in entries]
    return [file for file in files if file.sha256]


def _index_file(package: str, entry: dict[str, Any], folder: Path) -> IndexFile:
    place = entry.get("url") or str((folder / entry["path"]).resolve())
    name = entry.get("name") or PurePosixPath(unquote(urlsplit(place).path)).name
    return IndexFile(
        package=package,
        name=PurePosixPath(name).name,
        url=place,
        sha256=entry.get("hashes", {}).get("sha256", ""),
        size=entry.get("size"),
    )
