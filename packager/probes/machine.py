"""What an answer of a tree depends on besides the tree: the machine it runs on, and which Python of its own it has.

What is remembered of answers (the clean-up's oracle, the proof's baseline) holds only while these facts are the same.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path

from packager import process, targets
from packager.errors import PackagerError
from packager.filesystem import sha256_file

_LOADER = Path("/etc/ld.so.cache")  # what the machine's loader finds; made anew by ldconfig
_LIBRARIES = ("/lib", "/lib64", "/usr/lib", "/usr/lib64", "/usr/local/lib")  # what it searches without asking ldconfig
_SECONDS = 60


def machine_facts(python: Path | None, *, env: Mapping[str, str]) -> list[object]:
    """JSON values that are equal for two machines on which `python` would answer alike, as far as can be told quickly.

    System and processor, version and build of the interpreter, what its loader finds, the folders of PATH. A library or
    a program that is put in, taken out or replaced changes the time of its folder. `env` is what the tree is asked
    with, beside the machine's own PATH. Starts `python` once; None: it does not run here.
    """
    path = env.get("PATH", os.environ.get("PATH", os.defpath))
    multiarch = getattr(sys.implementation, "_multiarch", "")
    libraries = [*_LIBRARIES, *(f"{folder}/{multiarch}" for folder in _LIBRARIES if multiarch)]
    return [
        f"{sys.platform} {targets.current().arch}",
        _interpreter(python),
        sha256_file(_LOADER) if _LOADER.is_file() else "",
        _times([*libraries, *env.get("LD_LIBRARY_PATH", "").split(os.pathsep)]),
        _times(path.split(os.pathsep)),
    ]


def _interpreter(python: Path | None) -> str:
    """`sys.version`, which also holds date and compiler of the build; "" where it does not start."""
    if python is None or not python.exists():
        return ""
    try:
        command: list[str | Path] = [python, "-I", "-S", "-B", "-c", "import sys; print(sys.version)"]
        asked = process.run(command, check=False, timeout=_SECONDS)
    except PackagerError:
        return ""
    return asked.stdout if asked.returncode == 0 else ""


def _times(folders: Iterable[str]) -> list[list[object]]:
    found = (Path(folder) for folder in folders if folder)
    return [[str(folder), folder.stat().st_mtime_ns] for folder in found if folder.is_dir()]
