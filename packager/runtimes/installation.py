"""The Miniforge installation that makes environments: a tool of the build in the cache, never part of a bundle."""

from __future__ import annotations

import os
import re
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from packager.console import Console
from packager.errors import FetchError, InputError
from packager.fetch.cache import Cache
from packager.fetch.download import DownloadRequest, download
from packager.fetch.mirrors import Mirrors
from packager.filesystem import remove_tree, write_atomic
from packager.locks import hold
from packager.process import CommandError, Finished, run
from packager.runtimes.miniforge_table import miniforge_table
from packager.targets import Target

_TIMEOUT = 3600.0  # seconds; a gigabyte over a slow line


@dataclass(frozen=True, kw_only=True)
class Tools:
    """Everything below `folder`: base/ (installations by their installer's hash), pkgs/, envs/, home/; index/
    and solutions/ for other targets.

    `offline` forbids the network.
    """

    folder: Path
    cache: Cache
    mirrors: Mirrors
    console: Console
    offline: bool

    @contextmanager
    def alone(self) -> Iterator[None]:
        """Hold the folder against other builds, which wait."""
        with hold(self.folder / "lock", waiting=lambda: None):
            yield

    def solver(self, target: Target, version: str | None) -> Path:
        """mamba, or conda where that is missing, of an installation that is made if need be.

        Raises FetchError, CommandError, and InputError if the installation holds neither.
        """
        installer, digest = self._installer(target, version)
        prefix = self.folder / "base" / digest[:16]
        done = prefix.with_suffix(".done")  # written last, so an installation cut short is made anew
        if not done.is_file() or _solver_in(prefix, target) is None:
            done.unlink(missing_ok=True)
            remove_tree(prefix)
            prefix.parent.mkdir(parents=True, exist_ok=True)
            self.console.info(f"installing {target.miniforge_installer} into the cache")
            self.run(silent_command(target, installer=installer, prefix=str(prefix)), target)
            write_atomic(done, digest.encode())
        if solver := _solver_in(prefix, target):
            return solver
        raise InputError(
            "the installer left neither mamba nor conda",
            where=str(prefix),
            remedy="name another release as `miniforge:` in the recipe",
        )

    def run(self, command: list[str], target: Target, *, foreign: bool = False) -> Finished:
        """Run a program of the installation in an environment of its own. Raises CommandError.

        `foreign`: it shall take this machine for one of the target's kind, and know of no package that is here.
        """
        env = self._environment(target)
        if foreign:
            env |= miniforge_table().virtual_packages[target.conda_subdir]
            env["CONDA_PKGS_DIRS"] = str(self.folder / "index")
        try:
            return run(command, cwd=self.folder, env=env, timeout=_TIMEOUT)
        except CommandError as error:
            remedy = "run once without --offline" if self.offline else "check conda_packages, channels and the network"
            raise CommandError(error.finished, remedy=remedy) from error

    def _installer(self, target: Target, version: str | None) -> tuple[Path, str]:
        """The installer, checked against its published digest, and the digest. Raises FetchError."""
        try:
            return self._fetch_installer(target, version)
        except FetchError as error:
            ways = [error.remedy, "`miniforge:` in the recipe names another release"]
            if target.os == "linux":
                ways.append("`--runtime host` takes the Python that runs the packager instead")
            raise FetchError(error.what, where=error.where, remedy="; ".join(filter(None, ways))) from error

    def _fetch_installer(self, target: Target, version: str | None) -> tuple[Path, str]:
        url = miniforge_table().installer_url(target, version)
        folder = self.folder / "installers" / (version or "latest")
        installer = folder / target.miniforge_installer
        checksum = installer.with_name(installer.name + miniforge_table().checksum_suffix)
        self._download(DownloadRequest(url=url + miniforge_table().checksum_suffix), checksum)
        text = checksum.read_text(encoding="utf-8", errors="replace")
        found = re.match(r"([0-9a-fA-F]{64})(\s|$)", text)
        if not found:
            remedy = "check the address, or the mirror it is fetched from"
            raise FetchError("holds no sha256", where=url + miniforge_table().checksum_suffix, remedy=remedy)
        self._download(DownloadRequest(url=url, sha256=found[1]), installer)
        return installer, found[1].lower()

    def _download(self, request: DownloadRequest, destination: Path) -> None:
        destination.parent.mkdir(parents=True, exist_ok=True)
        means = {"cache": self.cache, "mirrors": self.mirrors, "console": self.console, "offline": self.offline}
        download(request, destination, **means)  # type: ignore[arg-type]

    def _environment(self, target: Target) -> dict[str, str]:
        """Nothing of the user's conda: neither settings nor caches, and a home folder of its own."""
        home = self.folder / "home"
        home.mkdir(parents=True, exist_ok=True)
        passed = {name: os.environ[name] for name in miniforge_table().passed_on if name in os.environ}
        return {
            **passed,
            "PATH": os.defpath if sys.platform != "win32" else os.environ.get("PATH", os.defpath),
            "LANG": "C.UTF-8",
            **dict.fromkeys(("HOME", "USERPROFILE", "APPDATA", "LOCALAPPDATA", "TMPDIR", "TEMP", "TMP"), str(home)),
            "CONDARC": os.devnull,
            "MAMBA_NO_RC": "1",
            "CONDA_PKGS_DIRS": str(self.folder / "pkgs"),
            "CONDA_ENVS_DIRS": str(self.folder / "envs"),
            "CONDA_SUBDIR": target.conda_subdir,
            "CONDA_REGISTER_ENVS": "false",
            "CONDA_NOTIFY_OUTDATED_CONDA": "false",
            "CONDA_REPORT_ERRORS": "false",
            **({"CONDA_OFFLINE": "true", "MAMBA_OFFLINE": "true"} if self.offline else {}),
        }


def tool_folder(cache_root: Path) -> Path:
    """`miniforge` in the cache, or a private folder for temporary files if the installer would refuse that for a space.

    Raises InputError if neither will do.
    """
    folder = cache_root.absolute() / "miniforge"
    if not re.search(r"\s", str(folder)):
        return folder
    owner = os.getuid() if sys.platform != "win32" else 0
    other = Path(tempfile.gettempdir()).absolute() / f"packager-miniforge-{owner}"
    remedy = "set PACKAGER_CACHE_DIR to a folder without spaces"
    if re.search(r"\s", str(other)):
        raise InputError("Miniforge cannot be installed below a folder with a space", where=str(folder), remedy=remedy)
    other.mkdir(mode=0o700, exist_ok=True)
    status = other.lstat()
    if other.is_symlink() or (sys.platform != "win32" and (status.st_uid != owner or status.st_mode & 0o022)):
        raise InputError("belongs to somebody else, or others may write to it", where=str(other), remedy=remedy)
    return other


def silent_command(target: Target, *, installer: Path, prefix: str) -> list[str]:
    """How `installer` is run without a question; `prefix` is a path of the target without white space."""
    words = {"installer": str(installer), "prefix": prefix}
    return [word.format(**words) for word in miniforge_table().silent[_system(target)]]


def _solver_in(prefix: Path, target: Target) -> Path | None:
    places = (prefix / name for name in miniforge_table().solvers[_system(target)])
    return next((place for place in places if place.is_file()), None)


def _system(target: Target) -> str:
    return "windows" if target.is_windows else "posix"
