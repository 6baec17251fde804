"""The licence texts of libraries that come from the system, found through its package manager."""

from __future__ import annotations

import shutil
from collections.abc import Iterable
from pathlib import Path

from packager.process import run

_DOCS = Path("/usr/share/doc")


def debian_licences(libraries: Iterable[Path]) -> dict[Path, Path]:
    """Each library that a Debian package brought, with the package's copyright file (Debian policy 12.5).

    Others are left out, so on a system without dpkg the result is empty.
    """
    wanted = {str(name): path for path in libraries for name in _names(path)}
    if not wanted or shutil.which("dpkg-query") is None:
        return {}
    found: dict[Path, Path] = {}
    for line in run(["dpkg-query", "--search", *sorted(wanted)], check=False).stdout.splitlines():
        package, _, name = line.partition(": ")
        text = _DOCS / package.split(":")[0] / "copyright"
        if name in wanted and text.is_file():
            found.setdefault(wanted[name], text)
    return found


def _names(path: Path) -> Iterable[Path]:
    """The names dpkg may know `path` by: it calls a file as its package does, /lib/x or /usr/lib/x (usrmerge)."""
    yield path
    if path.is_relative_to("/usr"):
        yield Path("/") / path.relative_to("/usr")
