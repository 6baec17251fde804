"""The environment of a program that is asked what it can do: nothing of the user's, nothing of the network."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path

from packager import process

_DEAD_PROXY = "http://127.0.0.1:9"  # RFC 863 "discard": nothing listens, so that a fetch fails at once


def bare_environment(folder: Path, *, path: str, extra: Mapping[str, str]) -> dict[str, str]:
    """What `env -i` leaves and no more than a program needs: PATH, and a home and caches below `folder`.

    A proxy that refuses stands for the network a user may not have. `extra` is the recipe's own environment.
    """
    for name in ("home", "tmp", "cache"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    environment = {
        "PATH": path,
        "HOME": str(folder / "home"),
        "TMPDIR": str(folder / "tmp"),
        "XDG_CACHE_HOME": str(folder / "cache"),
        "no_proxy": "localhost,127.0.0.1",
    }
    for scheme in ("http", "https", "all"):
        environment[f"{scheme}_proxy"] = _DEAD_PROXY
    if sys.platform == "win32":  # sockets and temp files need these three there
        environment |= {"SYSTEMROOT": os.environ["SYSTEMROOT"], "TEMP": str(folder / "tmp"), "TMP": str(folder / "tmp")}
    return environment | dict(extra)


def can_mask() -> bool:
    """Whether bwrap is here and may make namespaces (some kernels and containers forbid it)."""
    if not sys.platform.startswith("linux") or shutil.which("bwrap") is None:
        return False
    return process.run(["bwrap", "--dev-bind", "/", "/", "true"], check=False, timeout=20).returncode == 0


def read_only(folders: Iterable[Path], *, scratch: Path) -> list[str]:
    """The words before a command that cannot write in `folders`, but in `scratch`; none where that cannot be had."""
    if not can_mask():
        return []
    binds = ["--dev-bind", "/", "/"]
    for folder in folders:
        binds += ["--ro-bind", str(folder), str(folder)]
    binds += ["--bind", str(scratch), str(scratch)]
    return [shutil.which("bwrap") or "bwrap", "--die-with-parent", *binds, "--"]
