"""version.yml, the one source of the version: read, raised, and held against a tag."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Literal

from packager.errors import InputError
from packager.filesystem import write_atomic
from packager.recipe import checked_version

Part = Literal["major", "minor", "patch"]
PARTS: tuple[Part, ...] = ("major", "minor", "patch")
_LINE = re.compile(r"^(version: *)(\S+)", re.MULTILINE)
_SEMANTIC = re.compile(r"(\d+)\.(\d+)\.(\d+)(.*)")


def bumped(version: str, part: Part) -> str:
    """The version after `version` (semver.org): 1.4.2 -> 1.5.0 for `minor`. A pre-release ends: 1.5.0-rc1 -> 1.5.0
    for `patch`. Raises InputError if it is not three numbers."""
    found = _SEMANTIC.fullmatch(version)
    if not found:
        raise InputError(
            f"'{version}' is not MAJOR.MINOR.PATCH, so that it can't be raised by one",
            where="version.yml",
            remedy="say which it shall be: packager version --set V",
        )
    numbers = [int(number) for number in found.groups()[:3]]
    if part == "patch" and found[4]:
        return ".".join(map(str, numbers))
    place = PARTS.index(part)
    return ".".join(map(str, [*numbers[:place], numbers[place] + 1, *[0] * (2 - place)]))


def write_version(path: Path, version: str) -> None:
    """Put `version` into the file at `path`; its comments stay. Raises InputError if it is no version."""
    checked_version(version)
    text, count = _LINE.subn(lambda found: found[1] + version, path.read_text(encoding="utf-8"))
    if count != 1:
        raise InputError("holds not one 'version: X.Y.Z' line", where=str(path), remedy="write it anew")
    write_atomic(path, text.encode())


def check_tag(version: str, tag: str) -> None:
    """Raises InputError unless `tag` is the one of `version`: v1.4.0, or 1.4.0; refs/tags/ before it is allowed."""
    name = tag.removeprefix("refs/tags/")
    if name.removeprefix("v") != version:
        raise InputError(
            f"is the tag of another version: version.yml says {version}",
            where=name,
            remedy=f"tag v{version}, or write the version first: packager version --set {name.removeprefix('v')}",
        )
