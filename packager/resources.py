"""Where the program's own data lies: a checkout keeps it beside `packager/`, an installed wheel inside it."""

from __future__ import annotations

import functools
import hashlib
import re
from pathlib import Path

_PACKAGE = Path(__file__).resolve().parent


@functools.cache
def data_root() -> Path:
    """The folder that holds version.yml, recipes/, cleanup_rules/, helper_scripts/ and examples/."""
    installed = _PACKAGE / "_data"
    return installed if installed.is_dir() else _PACKAGE.parent


def helper_scripts() -> Path:
    return data_root() / "helper_scripts"


def cleanup_rules() -> Path:
    return data_root() / "cleanup_rules"


def recipes() -> Path:
    return data_root() / "recipes"


def version() -> str:
    """The version in version.yml, the one source of it."""
    found = re.search(r"^version: *(\S+)", (data_root() / "version.yml").read_text(encoding="utf-8"), re.MULTILINE)
    if not found:
        raise ValueError("version.yml holds no 'version: X.Y.Z' line")
    return found[1]


@functools.cache
def program_digests() -> dict[str, str]:
    """Hex sha256 of each module and room of the program, by file name (`proof`, `install.py`, `helper_scripts`)."""
    digests: dict[str, str] = {}
    for folder in (_PACKAGE, helper_scripts()):
        for path in sorted(folder.rglob("*")):
            name = path.relative_to(folder).as_posix()
            room = "helper_scripts" if folder.name == "helper_scripts" else name.split("/")[0]
            if path.is_file() and "__pycache__" not in path.parts and room != "_data":
                seen = f"{digests.get(room, '')} {name} ".encode() + path.read_bytes()
                digests[room] = hashlib.sha256(seen).hexdigest()
    return digests
