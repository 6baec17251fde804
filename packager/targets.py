"""The facts of an operating system and architecture. Nothing here looks at the machine it runs on, but `current()`.

Sources: conda-forge/miniforge release names; CPython's `sysconfig` install schemes; conda's layout on Windows
(conda/activate.py); PEP 425/600 platform tags; Microsoft "Maximum Path Length Limitation"; macOS `man execve` and Linux
`BINPRM_BUF_SIZE` for shebang lengths.
"""

from __future__ import annotations

import platform
import sys
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Literal

from packager.errors import InputError

OS = Literal["linux", "macos", "windows"]


@dataclass(frozen=True, kw_only=True)
class Target:
    """One operating system + architecture. Paths are relative to the Python prefix, with forward slashes."""

    name: str
    os: OS
    arch: str
    conda_subdir: str
    uv_platform: str  # for `uv pip compile --python-platform`
    miniforge_installer: str

    @property
    def is_windows(self) -> bool:
        return self.os == "windows"

    @property
    def case_insensitive(self) -> bool:
        """Whether two names that differ by case alone are one file on the target's usual file system."""
        return self.os != "linux"

    @property
    def max_path(self) -> int | None:
        """Characters a full path may have without special settings, final NUL not counted; None: no limit."""
        return 259 if self.is_windows else None

    @property
    def script_suffix(self) -> str:
        """Suffix of the helper scripts a person calls."""
        return ".bat" if self.is_windows else ".sh"

    def python_executable(self) -> PurePosixPath:
        return PurePosixPath("python.exe" if self.is_windows else "bin/python")

    def scripts(self) -> PurePosixPath:
        """Where console scripts lie."""
        return PurePosixPath("Scripts" if self.is_windows else "bin")

    def path_folders(self) -> tuple[PurePosixPath, ...]:
        """What stands first on PATH while the prefix's Python runs: it, conda's DLLs in conda's order, the scripts."""
        libraries = (PurePosixPath("Library") / place for place in ("mingw-w64/bin", "usr/bin", "bin"))
        return (PurePosixPath(), *libraries, self.scripts()) if self.is_windows else (self.scripts(),)

    def stdlib(self, python: str) -> PurePosixPath:
        """The standard library. `python` is a version such as 3.12 or 3.12.4."""
        return PurePosixPath("Lib" if self.is_windows else f"lib/python{minor_version(python)}")

    def site_packages(self, python: str) -> PurePosixPath:
        return self.stdlib(python) / "site-packages"


def minor_version(python: str) -> str:
    """3.12.4 -> 3.12."""
    return ".".join(python.split(".")[:2])


TARGETS: dict[str, Target] = {
    target.name: target
    for target in (
        Target(
            name="linux-x86_64",
            os="linux",
            arch="x86_64",
            conda_subdir="linux-64",
            uv_platform="x86_64-manylinux_2_28",
            miniforge_installer="Miniforge3-Linux-x86_64.sh",
        ),
        Target(
            name="linux-aarch64",
            os="linux",
            arch="aarch64",
            conda_subdir="linux-aarch64",
            uv_platform="aarch64-manylinux_2_28",
            miniforge_installer="Miniforge3-Linux-aarch64.sh",
        ),
        Target(
            name="macos-x86_64",
            os="macos",
            arch="x86_64",
            conda_subdir="osx-64",
            uv_platform="x86_64-apple-darwin",
            miniforge_installer="Miniforge3-MacOSX-x86_64.sh",
        ),
        Target(
            name="macos-arm64",
            os="macos",
            arch="arm64",
            conda_subdir="osx-arm64",
            uv_platform="aarch64-apple-darwin",
            miniforge_installer="Miniforge3-MacOSX-arm64.sh",
        ),
        Target(
            name="windows-x86_64",
            os="windows",
            arch="x86_64",
            conda_subdir="win-64",
            uv_platform="x86_64-pc-windows-msvc",
            miniforge_installer="Miniforge3-Windows-x86_64.exe",
        ),
    )
}


_OS_NAMES: dict[str, OS] = {"linux": "linux", "darwin": "macos", "win32": "windows"}
_ARCH_NAMES = {"x86_64": "x86_64", "amd64": "x86_64", "aarch64": "aarch64", "arm64": "arm64"}


def get(name: str) -> Target:
    """The target called `name`. Raises InputError that lists the known ones."""
    try:
        return TARGETS[name]
    except KeyError:
        raise InputError(
            f"unknown target '{name}'", where="--target", remedy=f"use one of {', '.join(TARGETS)}"
        ) from None


def current() -> Target:
    """The target of the machine this runs on."""
    os_name = _OS_NAMES.get(sys.platform, sys.platform)
    arch = _ARCH_NAMES.get(platform.machine().lower(), platform.machine())
    if os_name == "linux" and arch == "arm64":
        arch = "aarch64"
    name = f"{os_name}-{arch}"
    if name not in TARGETS:
        raise InputError(f"this machine is {name}, for which no bundle can be made", remedy="give --target")
    return TARGETS[name]
