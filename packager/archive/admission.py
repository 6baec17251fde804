"""Which entries of a strange archive are let in: one check for every kind of archive, entry by entry."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from packager.archive.manifest import Kind
from packager.archive.names import MAX_DEPTH, MAX_PATH, folded, link_faults, name_fault, parents
from packager.archive.publish import NoSpaceError
from packager.console import format_bytes
from packager.errors import InputError

_LATEST = 253_402_300_800  # seconds; the year 10000, which no file system's or program's time reaches
_PUBLISHER = "do not unpack it; get the archive again from its publisher"
_IF_TRUSTED = (
    "do not unpack it unless you trust its publisher; then put SHA256SUMS, as it came with the archive, beside it, "
    "or use `packager extract` with --max-size or --max-ratio"
)


@dataclass(frozen=True, kw_only=True)
class Limits:
    """What an archive may claim. Sizes in bytes.

    `ratio` is bytes unpacked to bytes of the archive, and counts from `ratio_from` bytes unpacked. `windows_names`:
    names must do for Windows. `case_insensitive`: names may not differ by case alone (None: as the file system
    unpacked to has it). `names` is bytes of all paths, those of their folders and links' targets included, since
    they are kept in memory.
    """

    total_size: int = 64 * 1024**3
    members: int = 1_000_000
    names: int = 256 * 1024**2
    ratio: int = 100
    ratio_from: int = 256 * 1024**2
    windows_names: bool = True
    case_insensitive: bool | None = None


@dataclass(frozen=True, kw_only=True)
class Item:
    """One entry as the archive declares it. `blocks(size)` gives a file's content in blocks of at most `size` bytes.

    `same_as`: the path of a file before it, whose content it has and which is already unpacked.
    """

    path: str
    kind: Kind
    mode: int
    mtime: float
    size: int = 0
    target: str = ""
    same_as: str = ""
    blocks: Callable[[int], Iterator[bytes]] = lambda _: iter(())


class Admission:
    """Keeps account of what was let in from one archive of `size` bytes, or from all parts of one together.

    `free` is how many bytes the disk can take (None: not to be checked). `confirmed` tells whether the archive is the
    very one its publisher made, and is asked at most once: its total size and ratio are limited by `free` alone then.
    """

    def __init__(
        self,
        archive: Path,
        limits: Limits,
        *,
        case_insensitive_folder: bool,
        size: int,
        free: int | None = None,
        confirmed: Callable[[], bool] = lambda: False,
    ) -> None:
        self._free = free
        self._confirmed = functools.cache(confirmed)
        self._archive = archive
        self._limits = limits
        self._ignore_case = case_insensitive_folder if limits.case_insensitive is None else limits.case_insensitive
        self.size = size
        self._kinds: dict[str, Kind | None] = {}  # None: a folder that follows from its entries
        self._spellings: dict[str, str] = {}
        self._links: dict[str, str] = {}
        self._names_size = 0
        self.members = 0
        self.total_size = 0
        self.expected_size: int | None = None
        self._expected_members = 0

    @property
    def max_members(self) -> int:
        return self._limits.members

    def refusal(self, what: str, path: str | None = None, *, remedy: str = _PUBLISHER) -> InputError:
        """The error for this archive, or its entry `path`."""
        where = str(self._archive) if path is None else f"{self._archive}: {_printable(path)}"
        return InputError(what, where=where, remedy=remedy)

    def expect(self, *, members: int, total_size: int) -> None:
        """What an archive's directory declares, checked before anything is unpacked; parts add up."""
        self._expected_members += members
        self.expected_size = (self.expected_size or 0) + total_size
        self._check_limits(self._expected_members, self.expected_size)

    def admit(self, item: Item) -> None:
        """Let `item` in, or raise InputError."""
        if fault := name_fault(item.path, windows=self._limits.windows_names):
            raise self.refusal(fault, item.path)
        if len(item.path.encode()) > MAX_PATH or len(item.target.encode(errors="replace")) > MAX_PATH:
            raise self.refusal(f"its path or target is longer than {MAX_PATH} bytes", item.path)
        if item.path.count("/") >= MAX_DEPTH:
            raise self.refusal(f"its path has more than {MAX_DEPTH} components", item.path)
        if not (math.isfinite(item.mtime) and abs(item.mtime) < _LATEST):
            raise self.refusal("its time is not one", item.path)
        if item.size < 0:
            raise self.refusal("its size is negative", item.path)
        self.members += 1
        self.total_size += item.size
        self._check_limits(self.members, self.total_size)
        for parent in parents(item.path):
            if parent not in self._kinds:
                self._keep(parent, None)
            elif self._kinds[parent] in ("file", "link"):
                raise self.refusal(f"it lies below {parent}, which is a {self._kinds[parent]}", item.path)
        self._check_new(item)
        if self._ignore_case:
            self._check_case(item.path)
        if item.kind == "link":
            self._count_name(item.target)
            self._links[item.path] = item.target

    def check_links(self) -> None:
        """Raise InputError if a link leads out of the folder, now that all of them are known."""
        for path, fault in link_faults(self._links, ignore_case=self._ignore_case, windows=self._limits.windows_names):
            raise self.refusal(fault, path)

    def _check_new(self, item: Item) -> None:
        if item.path in self._kinds:
            implied = self._kinds[item.path] is None
            if not (implied and item.kind == "directory"):
                raise self.refusal("the name is there twice", item.path)
        self._keep(item.path, item.kind)

    def _keep(self, path: str, kind: Kind | None) -> None:
        if path not in self._kinds:
            self._count_name(path)
        self._kinds[path] = kind

    def _count_name(self, name: str) -> None:
        self._names_size += len(name)
        if self._names_size > self._limits.names:
            raise self.refusal(f"more than {format_bytes(self._limits.names)} of names")

    def _check_case(self, path: str) -> None:
        for name in (path, *parents(path)):
            other = self._spellings.setdefault(folded(name), name)
            if other != name:
                raise self.refusal(f"it is the same name as {other} where case does not count", path)

    def _check_limits(self, members: int, total_size: int) -> None:
        limits = self._limits
        if members > limits.members:
            raise self.refusal(f"more than {limits.members} members")
        fault = ""
        if total_size > limits.total_size:
            fault = f"more than {limits.total_size} bytes when unpacked"
        elif total_size > limits.ratio_from and total_size > limits.ratio * self.size:
            fault = f"more than {limits.ratio} times its own size when unpacked"
        if fault and not self._confirmed():
            raise self.refusal(fault, remedy=_IF_TRUSTED)
        if self._free is not None and total_size > self._free:
            raise NoSpaceError(
                f"needs {format_bytes(total_size)} or more unpacked, and {format_bytes(self._free)} are free",
                where=str(self._archive),
                remedy="free space, or unpack to a folder on a larger disk",
            )


def _printable(path: str) -> str:
    return path.encode("unicode_escape").decode()[:200]
