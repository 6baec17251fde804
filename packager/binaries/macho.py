"""What a Mach-O file says of itself: what it is for, the names it goes by and loads, and whether it is signed.

Found by its first bytes, since wheels and conda packages ship libraries with any mode and any suffix; read with lief
from the load commands alone. Source: Apple, <mach-o/loader.h> and <mach-o/fat.h>.
"""

from __future__ import annotations

import shutil
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from packager.errors import InputError, PackagerError

Kind = Literal["program", "library", "bundle", "other"]

_THIN = {b"\xfe\xed\xfa\xce", b"\xce\xfa\xed\xfe", b"\xfe\xed\xfa\xcf", b"\xcf\xfa\xed\xfe"}
_FAT = {b"\xca\xfe\xba\xbe", b"\xca\xfe\xba\xbf"}
_MOST_ARCHITECTURES = 20  # a Java class begins like a fat file; there its version stands, 45 at least
_ARCHITECTURES = {"ARM64": "arm64", "X86_64": "x86_64"}  # as packager.targets spells them
_KINDS: dict[str, Kind] = {"EXECUTE": "program", "DYLIB": "library", "BUNDLE": "bundle"}


@dataclass(frozen=True, kw_only=True)
class MachOFacts:
    """One Mach-O file; a fat one is the sum of its parts.

    `archs` are spelled as in a target's `arch` (others: lief's name); `id` is the install name of a library;
    `needed` and `rpaths` are as written; `signed`: each part has a signature, if only an ad hoc one.
    """

    archs: tuple[str, ...]
    kind: Kind
    id: str | None
    needed: tuple[str, ...]
    rpaths: tuple[str, ...]
    signed: bool


def is_macho(path: Path) -> bool:
    """Whether it is a file and begins as a Mach-O file does. Links are followed."""
    if not path.is_file():  # a named pipe would be waited for
        return False
    try:
        with path.open("rb") as stream:
            head = stream.read(8)
    except OSError:
        return False
    if head[:4] in _THIN:
        return True
    return len(head) == 8 and head[:4] in _FAT and 0 < struct.unpack(">I", head[4:])[0] < _MOST_ARCHITECTURES


def read_macho(path: Path) -> MachOFacts:
    """The facts of the Mach-O file at `path`. Raises InputError if it is none, or a damaged one."""
    import lief  # noqa: PLC0415 - half a second, for a library that builds for Linux and Windows never ask

    lief.logging.disable()  # it tells of damage on stderr
    parsed = lief.MachO.parse(str(path), lief.MachO.ParserConfig.quick) if is_macho(path) else None
    parts = list(parsed) if parsed is not None else []
    if not parts:
        raise InputError("is no Mach-O file, or a damaged one", where=str(path))
    own = parts[0].header.file_type.name
    commands = [part.get(lief.MachO.LoadCommand.TYPE.ID_DYLIB) for part in parts if own == "DYLIB"]
    ids = [str(command.name) if isinstance(command, lief.MachO.DylibCommand) else None for command in commands]
    return MachOFacts(
        archs=tuple(_ARCHITECTURES.get(part.header.cpu_type.name, part.header.cpu_type.name) for part in parts),
        kind=_KINDS.get(own, "other"),
        id=next(filter(None, ids), None),
        needed=_distinct([str(library.name) for part in parts for library in part.libraries], without=ids),
        rpaths=_distinct([str(rpath.path) for part in parts for rpath in part.rpaths]),
        signed=all(part.has_code_signature for part in parts),
    )


def find_install_name_tool() -> str:
    """Apple's `install_name_tool`, or LLVM's under that name or its own. Raises PackagerError if there is none."""
    for name in ("install_name_tool", "llvm-install-name-tool"):
        if found := shutil.which(name):
            return found
    raise PackagerError(
        "install_name_tool is missing", remedy="run `xcode-select --install` on macOS, or install LLVM elsewhere"
    )


def _distinct(names: Sequence[str], *, without: Sequence[str | None] = ()) -> tuple[str, ...]:
    return tuple(dict.fromkeys(name for name in names if name not in without))
