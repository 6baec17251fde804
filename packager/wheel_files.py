"""Which files of an index a lock means on its target: wheels, and sdists with what building them takes.

uv says it in the form of a pylock.toml (PEP 751), whose wheels are those that the target can use.
"""

from __future__ import annotations

import sys
import tarfile
import zipfile
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any
from urllib.parse import unquote, urlsplit

from packager import uv
from packager.errors import FetchError
from packager.filesystem import remove_tree
from packager.lock import Lock
from packager.origins import Origins
from packager.targets import Target

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

_MOST_PYPROJECT = 1024 * 1024
# What builds a package that does not say (PEP 517).
_DEFAULT_BACKEND = ("setuptools>=40.8.0", "wheel")


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
    """How uv is asked: for which target and Python, from where. `folder` is its own."""

    target: Target
    python: str
    options: tuple[str, ...]  # of uv, for the accelerator's index
    origins: Origins
    folder: Path


def locked_files(lock: Lock, asking: Asking) -> list[IndexFile]:
    """Of each locked package the wheels that fit, or the sdist if there is none.

    Raises FetchError that lists every package of which neither can be had.
    """
    hashes = {package.name: {digest.partition(":")[2] for digest in package.hashes} for package in lock.packages}
    absent = [f"{package.pin}: comes from an address of its own" for package in lock.packages if package.url]
    found = _ask([package.pin for package in lock.packages if not package.url], asking, "--no-deps")
    chosen: list[IndexFile] = []
    for package in lock.packages:
        if package.url:
            continue
        files = [file for file in found if file.package == package.name and file.sha256 in hashes[package.name]]
        wheels = [file for file in files if file.is_wheel]
        if not files:
            absent.append(f"{package.pin}: the index has no file with a locked hash for {asking.target.name}")
        chosen += wheels or files
    if absent:
        raise FetchError(
            "\n".join(["these packages cannot be gathered:", *(f"  {line}" for line in absent)]),
            where="packages",
            remedy="make the lock anew, or name a version under `overrides:` that an index has",
        )
    return chosen


def build_requirement_files(sdists: Iterable[Path], asking: Asking) -> list[IndexFile]:
    """The wheels that building `sdists` takes, by `[build-system] requires` of each (PEP 518)."""
    files: dict[str, IndexFile] = {}
    for sdist in sdists:
        for file in _ask(list(build_requires(sdist)), asking):
            if file.is_wheel:
                files[file.name] = file
    return list(files.values())


def build_requires(sdist: Path) -> Sequence[str]:
    """What the sdist's pyproject.toml says it is built with. Raises FetchError for a file that is no sdist."""
    try:
        text = _read_pyproject(sdist)
        requires = tomllib.loads(text).get("build-system", {}).get("requires")
        return [str(item) for item in requires] if requires else _DEFAULT_BACKEND
    except (OSError, ValueError, AttributeError, TypeError, tarfile.TarError, zipfile.BadZipFile) as error:
        raise FetchError(
            f"cannot be read as an sdist: {error}", where=sdist.name, remedy="fetch it again, or use another version"
        ) from error


def _read_pyproject(sdist: Path) -> str:
    """The pyproject.toml one folder down; empty if there is none."""

    def is_it(name: str) -> bool:
        parts = PurePosixPath(name).parts
        return len(parts) == 2 and parts[1] == "pyproject.toml"

    if sdist.suffix == ".zip":
        with zipfile.ZipFile(sdist) as archive:
            named = next((name for name in archive.namelist() if is_it(name)), None)
            content = archive.open(named).read(_MOST_PYPROJECT) if named else b""
    else:
        with tarfile.open(sdist) as tar:
            member = next((item for item in tar if item.isfile() and is_it(item.name)), None)
            stream = tar.extractfile(member) if member else None
            content = stream.read(_MOST_PYPROJECT) if stream else b""
    return content.decode("utf-8-sig")


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
    command += [*asking.options, *uv.install_options(wheels=origins.wheels, offline=origins.offline)]
    uv.run_uv(command, cwd=asking.folder)
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
