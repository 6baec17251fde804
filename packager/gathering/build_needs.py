"""What building a source distribution takes: what its pyproject.toml says (PEP 518) and its backend adds (PEP 517).

The backend is asked as a build would ask it: with what pyproject.toml says installed, in an environment of its own.
"""

from __future__ import annotations

import shutil
import sys
import tarfile
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pyproject_hooks import BackendUnavailable, BuildBackendHookCaller, HookMissing

from packager import process, uv
from packager.errors import FetchError, PackagerError
from packager.filesystem import remove_tree

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

_SECONDS = 600
_REMEDY = "fetch it again, or use another version"


@dataclass(frozen=True, kw_only=True)
class BuildSystem:
    """The table [build-system], with what PEP 517 says of one that is not there."""

    requires: tuple[str, ...] = ("setuptools>=40.8.0",)
    backend: str = "setuptools.build_meta:__legacy__"
    backend_path: tuple[str, ...] = ()


def unpack(archive: Path, folder: Path) -> Path:
    """The one folder in an sdist, unpacked below `folder`. Raises FetchError for a file that is no sdist."""
    remove_tree(folder)
    folder.mkdir(parents=True)
    try:
        if zipfile.is_zipfile(archive):
            shutil.unpack_archive(archive, folder, "zip")
        else:
            with tarfile.open(archive) as tar:
                tar.extractall(folder, filter="data")  # nothing leaves the folder (PEP 706)
    except (OSError, ValueError, tarfile.TarError, zipfile.BadZipFile) as error:
        raise FetchError(f"cannot be read as an sdist: {error}", where=archive.name, remedy=_REMEDY) from error
    inside = list(folder.iterdir())
    if len(inside) != 1 or not inside[0].is_dir():
        raise FetchError("is no sdist: it holds more than one folder", where=archive.name, remedy=_REMEDY)
    return inside[0]


def read_build_system(source: Path, *, name: str) -> BuildSystem:
    """Of the source in the folder `source`. Raises FetchError for a pyproject.toml that cannot be read."""
    try:
        text = (source / "pyproject.toml").read_text(encoding="utf-8-sig")
        table: dict[str, Any] = tomllib.loads(text).get("build-system", {})
    except FileNotFoundError:
        return BuildSystem()
    except (OSError, ValueError) as error:
        raise FetchError(f"pyproject.toml cannot be read: {error}", where=name, remedy=_REMEDY) from error
    plain = BuildSystem()
    return BuildSystem(
        requires=tuple(map(str, table.get("requires", plain.requires))),
        backend=str(table.get("build-backend", plain.backend)),
        backend_path=tuple(map(str, table.get("backend-path", ()))),
    )


def dynamic_requires(source: Path, system: BuildSystem, *, scratch: Path, wheels: Path, name: str) -> tuple[str, ...]:
    """What the backend wants besides, by its hook get_requires_for_build_wheel. Runs code of the source.

    `wheels` holds what `system` requires. Raises FetchError if the backend cannot be asked.
    """
    remove_tree(scratch)
    python = scratch / ("Scripts/python.exe" if sys.platform == "win32" else "bin/python")
    try:
        uv.run_uv(["venv", "--quiet", "--no-config", "--python", sys.executable, str(scratch)])
        if system.requires:
            command = ["pip", "install", "--quiet", "--no-config", "--python", str(python), "--find-links", str(wheels)]
            uv.run_uv([*command, "--", *system.requires])
        caller = BuildBackendHookCaller(
            str(source),
            system.backend,
            list(system.backend_path) or None,
            runner=_run,
            python_executable=str(python),
        )
        return tuple(map(str, caller.get_requires_for_build_wheel()))
    except HookMissing:
        return ()
    except (BackendUnavailable, PackagerError) as error:
        raise FetchError(
            f"its build backend cannot be asked what it takes to build it: {error}",
            where=name,
            remedy="put a wheel of it on an index, and name that version under `overrides:`",
        ) from error
    finally:
        remove_tree(scratch)


def _run(
    cmd: Sequence[str], cwd: str | None = None, extra_environ: Mapping[str, str] | None = None
) -> None:  # the names are the library's
    environment = {**uv.environment(), **(extra_environ or {})}
    process.run(cmd, cwd=Path(cwd) if cwd else None, env=environment, timeout=_SECONDS)
