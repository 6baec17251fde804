"""The leak scan: every place below a folder that still names a build path.

Looks at contents (also of the members of zips), file names and link targets. See needles.py for the spellings.
"""

from __future__ import annotations

import fnmatch
import io
import os
import struct
import zipfile
import zlib
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import IO

from packager.errors import InputError
from packager.filesystem import walk_files
from packager.relocation.needles import Search, Spelling, plan_searches
from packager.relocation.rules import load_rules

_BLOCK = 1024 * 1024  # bytes
_SPARE_CPU_FROM = 64 * 1024 * 1024  # bytes of work below which another process costs more than it saves
_MAX_UNPACKED = 64 * 1024**3  # bytes of one archive's members
_ENCRYPTED = 1  # bit of a member's flags
_MAX_DEPTH = 3  # archives in archives


@dataclass(frozen=True, kw_only=True)
class Leak:
    """`path` is from the scanned folder, `archive!/member` for a member; `offset` is in bytes from the start of the
    content, name or link target; `encoding` tells the spelling, and where it is not a content: `name`, `link`."""

    path: str
    offset: int
    needle: str
    encoding: str

    def __str__(self) -> str:
        return f"{self.path}: byte {self.offset}: {self.needle} ({self.encoding})"


def scan_leaks(root: Path, needles: Sequence[str], *, windows: bool, processes: int | None = None) -> list[Leak]:
    """Each spelling of each of `needles` found below `root`, at its first place in each file, sorted by path.

    `needles` are absolute paths of build time; `windows`: ignore case. `processes`: None for one per processor.
    Files are read once, in blocks, whatever their size. Raises InputError for a needle that is too short or too common,
    and for an archive that unpacks to more than 64 GiB.
    """
    searches = plan_searches(list(dict.fromkeys(needles)), fold_case=windows)
    files = [path for path in walk_files(root) if not _allowed(path.relative_to(root).as_posix())]
    jobs = _share_out(files, processes or os.cpu_count() or 1)
    scanner = _Scanner(root=root, searches=tuple(searches), fold_case=windows)
    if len(jobs) == 1:
        found = [leak for path in jobs[0] for leak in scanner.scan(path)]
    else:
        with ProcessPoolExecutor(len(jobs)) as pool:
            found = [leak for leaks in pool.map(scanner.scan_all, jobs) for leak in leaks]
    return sorted(found, key=lambda leak: (leak.path, leak.offset, leak.encoding))


def _allowed(name: str) -> bool:
    return any(fnmatch.fnmatchcase(name, pattern) for pattern in load_rules().leaks.allow)


def _share_out(files: list[Path], processes: int) -> list[list[Path]]:
    """`files` in as many lists as are worth a process each, of about equal size in bytes."""
    sized = sorted(((path.lstat().st_size, path) for path in files), reverse=True)
    if processes == 1 or sum(size for size, _ in sized) < _SPARE_CPU_FROM:
        return [files]
    lists: list[list[Path]] = [[] for _ in range(processes)]
    loads = [0] * processes
    for size, path in sized:
        least = loads.index(min(loads))
        lists[least].append(path)
        loads[least] += size + 50_000  # opening a file costs about as much as reading so many bytes
    return [paths for paths in lists if paths]


@dataclass(frozen=True, kw_only=True)
class _Scanner:
    root: Path
    searches: tuple[Search, ...]
    fold_case: bool

    def scan_all(self, paths: Iterable[Path]) -> list[Leak]:
        return [leak for path in paths for leak in self.scan(path)]

    def scan(self, path: Path) -> Iterator[Leak]:
        name = path.relative_to(self.root).as_posix()
        yield from self._in_bytes(name, os.fsencode(f"/{name}"), place="name")
        if path.is_symlink():
            yield from self._in_bytes(name, os.fsencode(path.readlink()), place="link")
        elif path.is_file():
            with path.open("rb", buffering=0) as stream:
                yield from self._in_stream(name, stream)
                if name.lower().endswith(load_rules().leaks.archives):
                    yield from self._in_archive(name, stream, depth=1)

    def _in_bytes(self, name: str, content: bytes, *, place: str) -> Iterator[Leak]:
        for leak in self._in_stream(name, io.BytesIO(content)):
            yield replace(leak, encoding=f"{place} {leak.encoding}")

    def _in_stream(self, name: str, stream: IO[bytes]) -> Iterator[Leak]:
        """Each spelling once. Blocks overlap by the longest spelling, so that none is missed between two."""
        overlap = max(len(spelling.data) for search in self.searches for _, spelling in search.spellings)
        seen: set[tuple[str, str]] = set()
        start, tail = 0, b""
        while block := stream.read(_BLOCK):
            joined = tail + (block.lower() if self.fold_case else block)
            for position, spelling in self._in_block(joined):
                key = (spelling.needle, spelling.encoding)
                if key not in seen:
                    seen.add(key)
                    offset = start - len(tail) + position
                    yield Leak(path=name, offset=offset, needle=spelling.needle, encoding=spelling.encoding)
            tail, start = joined[-overlap:], start + len(block)

    def _in_block(self, block: bytes) -> Iterator[tuple[int, Spelling]]:
        for search in self.searches:
            position = block.find(search.anchor)
            while position >= 0:
                for offset, spelling in search.spellings:
                    if position >= offset and block.startswith(spelling.data, position - offset):
                        yield position - offset, spelling
                position = block.find(search.anchor, position + 1)

    def _in_archive(self, name: str, stream: IO[bytes], *, depth: int) -> Iterator[Leak]:
        """Leaks in the members' names and contents. What cannot be unpacked was searched as it is."""
        try:
            if zipfile.is_zipfile(stream):
                with zipfile.ZipFile(stream) as archive:
                    for member in archive.infolist():
                        yield from self._in_bytes(
                            f"{name}!/{member.filename}", os.fsencode(f"/{member.filename}"), place="name"
                        )
                    yield from self._in_members(name, archive, depth)
        except (zipfile.BadZipFile, NotImplementedError, EOFError, struct.error, zlib.error):
            return

    def _in_members(self, name: str, archive: zipfile.ZipFile, depth: int) -> Iterator[Leak]:
        members = [m for m in archive.infolist() if not m.is_dir() and not m.flag_bits & _ENCRYPTED]
        if sum(member.file_size for member in members) > _MAX_UNPACKED:
            raise InputError(f"holds more than {_MAX_UNPACKED} bytes", where=name, remedy="remove the archive")
        for member in members:
            inner = f"{name}!/{member.filename}"
            with archive.open(member) as unpacked:
                yield from self._in_stream(inner, unpacked)
            if depth < _MAX_DEPTH and inner.lower().endswith(load_rules().leaks.archives):
                with archive.open(member) as unpacked:
                    yield from self._in_archive(inner, unpacked, depth=depth + 1)
