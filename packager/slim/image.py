"""What the loader makes of an ELF file, so that two of them can be compared. Source: System V ABI (gABI), chapter 5."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from elftools.elf.constants import SH_FLAGS
from elftools.elf.elffile import ELFFile

from packager.binaries.elf import read_elf
from packager.errors import InputError

_LOADED_KINDS = ("ET_DYN", "ET_EXEC")  # libraries and programs; object files (ET_REL) are nothing without their symbols
_SYMBOLS = (".symtab", ".strtab", ".debug_", ".zdebug_", ".stab")
_NO_CONTENT = "SHT_NOBITS"
_BLOCK = 1024 * 1024


@dataclass(frozen=True, kw_only=True)
class Segment:
    """A program header: place in the file (`offset`, `size`) and in memory, in bytes; `is_load` for a PT_LOAD."""

    kind: str
    flags: int
    offset: int
    address: int
    size: int
    memory: int
    align: int

    @property
    def is_load(self) -> bool:
        return self.kind == "PT_LOAD"

    @property
    def is_aligned(self) -> bool:
        """Whether it can be mapped: offset and address agree modulo the alignment."""
        return not self.is_load or self.align <= 1 or (self.address - self.offset) % self.align == 0

    @property
    def in_memory(self) -> tuple[str | int, ...]:
        """What must be the same in two files that load alike. Padding may go from the end of a PT_LOAD."""
        return (self.kind, self.flags, self.address, self.align, *(() if self.is_load else (self.size, self.memory)))


@dataclass(frozen=True, kw_only=True, order=True)
class Section:
    """A section that is loaded. `has_content` is false for one that begins as zeros."""

    address: int
    size: int
    has_content: bool


@dataclass(frozen=True, kw_only=True)
class Image:
    """An ELF file. `sections`: those loaded, by address; `appended`: data follows that no header names."""

    kind: str
    segments: tuple[Segment, ...]
    sections: tuple[Section, ...]
    has_symbols: bool
    appended: bool

    @property
    def is_loaded(self) -> bool:
        return self.kind in _LOADED_KINDS and any(segment.is_load for segment in self.segments)

    def offset_of(self, section: Section) -> int | None:
        """Where in the file the bytes lie that are mapped to the section's address; None if nothing is mapped there."""
        for segment in self.segments:
            size = segment.size if section.has_content else segment.memory
            if segment.is_load and segment.address <= section.address <= segment.address + size - section.size:
                return segment.offset + section.address - segment.address
        return None


def read_image(path: Path) -> Image:
    """The headers of the ELF file at `path`. Raises InputError for a damaged one."""
    try:
        with path.open("rb") as stream:
            return _image(ELFFile(stream), stream)
    except OSError as error:
        raise InputError(f"cannot be read: {error.strerror}", where=str(path)) from error
    except Exception as error:  # pyelftools meets damage with whatever its parsers happen to raise
        raise InputError(f"is a damaged ELF file: {error or type(error).__name__}", where=str(path)) from error


def _image(elf: Any, stream: BinaryIO) -> Image:
    sections = list(elf.iter_sections())
    header = elf.header
    ends = [header["e_shoff"] + header["e_shnum"] * header["e_shentsize"]]
    ends += [header["e_phoff"] + header["e_phnum"] * header["e_phentsize"]]
    ends += [section["sh_offset"] + section["sh_size"] for section in sections if section["sh_type"] != _NO_CONTENT]
    ends += [segment["p_offset"] + segment["p_filesz"] for segment in elf.iter_segments()]
    return Image(
        kind=str(header["e_type"]),
        segments=tuple(
            Segment(
                kind=str(segment["p_type"]),
                flags=segment["p_flags"],
                offset=segment["p_offset"],
                address=segment["p_vaddr"],
                size=segment["p_filesz"],
                memory=segment["p_memsz"],
                align=segment["p_align"],
            )
            for segment in elf.iter_segments()
        ),
        sections=tuple(sorted(_loaded(sections))),
        has_symbols=any(section.name.startswith(_SYMBOLS) and section["sh_size"] for section in sections),
        appended=_holds_data(stream, max(ends)),
    )


def _loaded(sections: Iterable[Any]) -> Iterator[Section]:
    for section in sections:
        if section["sh_flags"] & SH_FLAGS.SHF_ALLOC and not _is_thread_zeros(section):
            has_content = section["sh_type"] != _NO_CONTENT
            yield Section(address=section["sh_addr"], size=section["sh_size"], has_content=has_content)


def _is_thread_zeros(section: Any) -> bool:
    """.tbss: it has an address but takes no place there; PT_TLS tells its size."""
    return bool(section["sh_flags"] & SH_FLAGS.SHF_TLS) and section["sh_type"] == _NO_CONTENT


def _holds_data(stream: BinaryIO, start: int) -> bool:
    """Whether anything but zeros lies from `start` on; patchelf fills the last page of a file up with those."""
    stream.seek(start)
    while block := stream.read(_BLOCK):
        if block.strip(b"\0"):
            return True
    return False


def difference(before: Path, after: Path) -> str | None:
    """Why `after` is no stand-in for the library or program `before`; None if the loader can't tell one from the other.

    Each PT_LOAD of `after` must be aligned, and every section that is loaded must have its old bytes at its old place
    in memory: code, data, dynamic symbols, versions, needed libraries, build id. What lies between sections belongs to
    nobody: patchelf fills the places it moved sections from, and strip clears them. Soname, needed libraries, search
    paths and loader are compared by name as well.
    """
    old, new = read_image(before), read_image(after)
    if not all(segment.is_aligned for segment in new.segments):
        return "a segment would lie where the loader cannot map it (p_vaddr - p_offset is no multiple of p_align)"
    if old.kind != new.kind or [one.in_memory for one in old.segments] != [one.in_memory for one in new.segments]:
        return "a segment would change its kind, place or size"
    if old.sections != new.sections:
        return "a section that is loaded would change its place or size"
    if read_elf(before) != read_elf(after):
        return "its soname, needed libraries, search path or glibc version would change"
    with before.open("rb") as one, after.open("rb") as other:
        for section in old.sections:
            old_at, new_at = old.offset_of(section), new.offset_of(section)
            if old_at is None or new_at is None:
                return f"the section at {section.address:#x} would not be mapped"
            if section.has_content and not _same(one, old_at, other, new_at, section.size):
                return f"bytes of the section at {section.address:#x} would change"
    return None


def _same(one: BinaryIO, one_at: int, other: BinaryIO, other_at: int, size: int) -> bool:
    one.seek(one_at)
    other.seek(other_at)
    while size > 0:
        block = one.read(min(size, _BLOCK))
        if not block or block != other.read(len(block)):
            return False
        size -= len(block)
    return True
