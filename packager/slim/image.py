"""What the loader makes of an ELF file, so that two of them can be compared. Source: System V ABI (gABI), chapter 5."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from elftools.elf.elffile import ELFFile

from packager.elf import read_elf
from packager.errors import InputError

_LOADED_KINDS = ("ET_DYN", "ET_EXEC")  # libraries and programs; object files (ET_REL) are nothing without their symbols
_SYMBOLS = (".symtab", ".strtab", ".debug_", ".zdebug_", ".stab")
_NO_CONTENT = "SHT_NOBITS"
_BLOCK = 1024 * 1024


@dataclass(frozen=True, kw_only=True)
class Segment:
    """A PT_LOAD: where in the file (`offset`, `size`) and in memory it lies, in bytes; `rest`: size there and flags."""

    offset: int
    address: int
    size: int
    align: int
    rest: tuple[int, ...]

    @property
    def is_aligned(self) -> bool:
        """Whether it can be mapped: offset and address agree modulo the alignment."""
        return self.align <= 1 or (self.address - self.offset) % self.align == 0


@dataclass(frozen=True, kw_only=True)
class Image:
    """An ELF file. `headers`: where its ELF and program headers end; `appended`: data follows that no header names."""

    kind: str
    segments: tuple[Segment, ...]
    headers: int
    has_symbols: bool
    appended: bool

    @property
    def is_loaded(self) -> bool:
        return self.kind in _LOADED_KINDS and bool(self.segments)


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
    headers = header["e_phoff"] + header["e_phnum"] * header["e_phentsize"]
    ends = [header["e_shoff"] + header["e_shnum"] * header["e_shentsize"], headers]
    ends += [section["sh_offset"] + section["sh_size"] for section in sections if section["sh_type"] != _NO_CONTENT]
    ends += [segment["p_offset"] + segment["p_filesz"] for segment in elf.iter_segments()]
    return Image(
        kind=str(header["e_type"]),
        segments=tuple(
            Segment(
                offset=segment["p_offset"],
                address=segment["p_vaddr"],
                size=segment["p_filesz"],
                align=segment["p_align"],
                rest=(segment["p_memsz"], segment["p_flags"]),
            )
            for segment in elf.iter_segments(type="PT_LOAD")
        ),
        headers=headers,
        has_symbols=any(section.name.startswith(_SYMBOLS) and section["sh_size"] for section in sections),
        appended=_holds_data(stream, max(ends)),
    )


def _holds_data(stream: BinaryIO, start: int) -> bool:
    """Whether anything but zeros lies from `start` on; patchelf fills the last page of a file up with those."""
    stream.seek(start)
    while block := stream.read(_BLOCK):
        if block.strip(b"\0"):
            return True
    return False


def difference(before: Path, after: Path) -> str | None:
    """Why `after` is no stand-in for the library or program `before`; None if the loader can't tell one from the other.

    Each PT_LOAD of `after` must be aligned, and hold at the same address the same bytes, but for the ELF header and the
    program headers themselves. Soname, needed libraries, search paths and loader are compared by name as well, and so
    are dynamic symbols and build id, since they lie in what is loaded.
    """
    old, new = read_image(before), read_image(after)
    if not all(segment.is_aligned for segment in new.segments):
        return "a segment would lie where the loader cannot map it (p_vaddr - p_offset is no multiple of p_align)"
    if (old.kind, len(old.segments)) != (new.kind, len(new.segments)):
        return "its kind or the number of its segments would change"
    if read_elf(before) != read_elf(after):
        return "its soname, needed libraries, search path or glibc version would change"
    with before.open("rb") as one, after.open("rb") as other:
        for was, now in zip(old.segments, new.segments, strict=True):
            if (was.address, was.size, was.align, was.rest) != (now.address, now.size, now.align, now.rest):
                return f"the segment at {was.address:#x} would change its place or size"
            skip = _headers_in(was, now, old, new)
            one.seek(was.offset + skip)
            other.seek(now.offset + skip)
            if not _same(one, other, was.size - skip):
                return f"bytes of the segment at {was.address:#x} would change"
    return None


def _headers_in(was: Segment, now: Segment, old: Image, new: Image) -> int:
    """How many bytes at the start of a segment are headers, which say where in the file things lie."""
    if was.offset or now.offset:
        return 0
    return min(max(old.headers, new.headers), was.size)


def _same(one: BinaryIO, other: BinaryIO, size: int) -> bool:
    while size > 0:
        block = one.read(min(size, _BLOCK))
        if not block or block != other.read(len(block)):
            return False
        size -= len(block)
    return True
