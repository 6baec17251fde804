"""The few facts of a Windows program that tell a launcher from the rest. Source: Microsoft, "PE Format"."""

from __future__ import annotations

import struct
from dataclasses import dataclass

from packager.errors import InputError

_RESOURCE_TABLE = 2  # index of the data directory
_GUI_SUBSYSTEM = 2
_MAX_NAMES = 4096


@dataclass(frozen=True, kw_only=True)
class PeFacts:
    """`machine` is IMAGE_FILE_HEADER.Machine; `image_end` the offset of what was appended to the program."""

    machine: int
    gui: bool
    image_end: int
    resource_names: frozenset[str]


@dataclass(frozen=True, kw_only=True)
class _Section:
    address: int
    offset: int
    size: int


def read_pe(content: bytes) -> PeFacts | None:
    """The facts of `content`, None if it is no Windows program. Raises InputError for a damaged one."""
    if content[:2] != b"MZ":
        return None
    try:
        (header,) = struct.unpack_from("<I", content, 0x3C)
        if content[header : header + 4] != b"PE\0\0":
            return None
        machine, count = struct.unpack_from("<HH", content, header + 4)
        (optional_size,) = struct.unpack_from("<H", content, header + 20)
        optional = header + 24
        (magic,) = struct.unpack_from("<H", content, optional)
        (subsystem,) = struct.unpack_from("<H", content, optional + 68)
        table = optional + optional_size
        sections = []
        for index in range(count):
            address, size, offset = struct.unpack_from("<III", content, table + 40 * index + 12)
            sections.append(_Section(address=address, offset=offset, size=size))
        directories = optional + (112 if magic == 0x20B else 96)
        (resources,) = struct.unpack_from("<I", content, directories + 8 * _RESOURCE_TABLE)
        names = _resource_names(content, sections, resources)
    except struct.error:
        raise InputError("is a damaged Windows program: its headers point beyond its end") from None
    end = max((section.offset + section.size for section in sections if section.size), default=table)
    if end > len(content):
        raise InputError(f"is a truncated Windows program: {len(content)} bytes of at least {end}")
    return PeFacts(machine=machine, gui=subsystem == _GUI_SUBSYSTEM, image_end=end, resource_names=names)


def _resource_names(content: bytes, sections: list[_Section], address: int) -> frozenset[str]:
    """Names of the second level of the resource tree: what UpdateResource and FindResource call lpName."""
    holder = next((s for s in sections if s.address <= address < s.address + s.size), None)
    if not address or holder is None:
        return frozenset()
    root = holder.offset + address - holder.address
    names = set()
    for _, below in _entries(content, root):
        if not below & 0x80000000:
            continue
        for name, _ in _entries(content, root + (below & 0x7FFFFFFF)):
            if name & 0x80000000:
                start = root + (name & 0x7FFFFFFF)
                (length,) = struct.unpack_from("<H", content, start)
                names.add(content[start + 2 : start + 2 + 2 * length].decode("utf-16-le", "replace"))
    return frozenset(names)


def _entries(content: bytes, directory: int) -> list[tuple[int, int]]:
    named, numbered = struct.unpack_from("<HH", content, directory + 12)
    count = min(named + numbered, _MAX_NAMES)
    return [struct.unpack_from("<II", content, directory + 16 + 8 * index) for index in range(count)]
