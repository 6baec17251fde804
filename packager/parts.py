"""The parts a large bundle comes in: their names, how large one may be, and the others of a set found beside one."""

from __future__ import annotations

import re
from pathlib import Path

from packager.errors import InputError

MAX_PART_SIZE = 2 * 1024**3 - 1  # bytes; a file of a GitHub release must be under 2 GiB
MIN_PART_SIZE = 1024**2  # bytes; the manifest and a few members have to fit
_NAME = re.compile(r"(.+)-part([1-9][0-9]{0,3})of([1-9][0-9]{0,3})\.zip")
_RENAMED = re.compile(r"(.+-part[1-9][0-9]{0,3}of[1-9][0-9]{0,3})[^0-9A-Za-z].*\.zip")  # as browsers do: "... (1).zip"
_SIZE = re.compile(r"([0-9]{1,15}) ?(B|KiB|MiB|GiB)?")
_UNITS = {None: 1, "B": 1, "KiB": 1024, "MiB": 1024**2, "GiB": 1024**3}


def parse_size(value: int | str, *, where: str) -> int:
    """Bytes of `value`: a number, or a text such as "1900MiB". Raises InputError if none, or under MIN_PART_SIZE."""
    found = _SIZE.fullmatch(str(value))
    size = int(found[1]) * _UNITS[found[2]] if found else 0
    if size < MIN_PART_SIZE:
        raise InputError(
            f"'{value}' is no size of 1 MiB or more", where=where, remedy="give bytes, or a size such as 1900MiB"
        )
    return size


def part_name(name: str, part: int, count: int) -> str:
    """NAME.zip -> NAME-part1of3.zip; the name itself if there is one part."""
    return name if count == 1 else f"{name.removesuffix('.zip')}-part{part}of{count}.zip"


def manifest_path(archive: Path) -> Path:
    """Where the manifest of `archive` lies: NAME.zip, NAME-part1of3.zip or NAME.tar.zst -> NAME.manifest.json."""
    found = _NAME.fullmatch(archive.name)
    name = found[1] if found else archive.name.removesuffix(".zip").removesuffix(".tar.zst")
    return archive.with_name(f"{name}.manifest.json")


def find_parts(archive: Path) -> tuple[Path, ...]:
    """All parts of the set `archive` belongs to, in order; itself alone if its name is not that of a part.

    Raises InputError that names the parts missing beside it, or a number that cannot be, or a part's name to which
    something was added, since the others of its set cannot be told from it.
    """
    found = _NAME.fullmatch(archive.name)
    if not found:
        if renamed := _RENAMED.fullmatch(archive.name):
            raise InputError(
                "it is one part of an archive, under another name than its own",
                where=str(archive),
                remedy=f"name it {renamed[1]}.zip, as it was, and put all parts into one folder",
            )
        return (archive,)
    stem, number, count = found[1], int(found[2]), int(found[3])
    if number > count:
        raise InputError(f"part {number} of {count} cannot be", where=str(archive), remedy="give it its own name back")
    parts = tuple(archive.with_name(part_name(f"{stem}.zip", part, count)) for part in range(1, count + 1))
    if missing := [part.name for part in parts if not part.is_file()]:
        raise InputError(
            f"{len(missing)} of {count} parts are missing: {', '.join(missing[:10])}",
            where=str(archive.parent),
            remedy="put all parts into one folder",
        )
    return parts
