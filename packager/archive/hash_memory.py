"""Hashes of files as they were when last read, so that what has not changed since need not be read again.

As git's index does it: a file counts as unchanged if its device, inode, size, time of modification and time of change
are those that went with the hash. The time of change is the kernel's own: every write moves it, and no program sets it
back. Not believed are files changed so shortly before they were looked at that a second change could bear the same
time ("racy git"), and nothing at all where there is no such time (Windows).
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import time
from pathlib import Path
from typing import Any

from packager.filesystem import sha256_file, write_atomic
from packager.targets import HAS_CHANGE_TIME

_FORMAT = 1
_TICK = 50_000_000  # ns; kernels stamp files with a clock of 10 ms at worst
_COARSE = 2_000_000_000  # ns; file systems that keep whole seconds, FAT even ones
_SECOND = 1_000_000_000  # ns
_Mark = list[int]


class HashMemory:
    """What is remembered in the file `place`; None: nothing, beyond one run. Any thread may ask it.

    A key is a path below the tree it is kept for, or the absolute path of an archive.
    """

    def __init__(self, place: Path | None) -> None:
        self._place = place
        self._begun = time.time_ns()
        self._known = _read(place) if place and HAS_CHANGE_TIME else {}
        self._kept: dict[str, tuple[_Mark, str]] = {}
        self._is_new = False

    def recall(self, key: str, status: os.stat_result) -> str | None:
        """Hex sha256 of the file that is as `status` says, if it was so when it was hashed."""
        found = self._known.get(key)
        if found is None or found[0] != _mark(status):
            return None
        self._kept[key] = found
        return found[1]

    def note(self, key: str, status: os.stat_result, sha256: str, *, at: int | None = None) -> None:
        """Remember it for the next run. `at`: when `status` was taken, in ns; None: after this memory was made."""
        mark = _mark(status)
        changed = max(mark[-2:])
        is_coarse = all(stamp % _SECOND == 0 for stamp in mark[-2:])
        if (at or self._begun) - changed > (_COARSE if is_coarse else _TICK):
            self._kept[key] = (mark, sha256)
            self._is_new = True

    def sha256_of(self, path: Path) -> str:
        """Hex sha256 of the file at `path`, read if need be."""
        key, at, status = str(path.absolute()), time.time_ns(), path.stat()
        found = self.recall(key, status)
        if found is None:
            found = sha256_file(path)
            self.note(key, status, found, at=at)
        return found

    def save(self) -> None:
        """Write down what this run was told or asked for, and forget the rest. A disk that refuses costs only time."""
        if self._place is None or not (self._is_new or len(self._kept) < len(self._known)):
            return
        files = {key: [*mark, sha256] for key, (mark, sha256) in self._kept.items()}
        text = json.dumps({"format": _FORMAT, "files": files}, separators=(",", ":"))
        with contextlib.suppress(OSError):
            write_atomic(self._place, text.encode(), mode=0o600)


def memory_for(folder: Path, root: Path) -> HashMemory:
    """The memory kept in `folder` for the tree `root`."""
    return HashMemory(folder / f"{hashlib.sha256(os.fsencode(root.resolve())).hexdigest()[:32]}.json")


def _mark(status: os.stat_result) -> _Mark:
    return [status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns]


def _read(place: Path) -> dict[str, tuple[_Mark, str]]:
    """Empty for a file that is not there, or is none of ours: all it costs is time."""
    try:
        value: Any = json.loads(place.read_bytes())
        if value["format"] != _FORMAT:
            return {}
        return {key: (row[:-1], row[-1]) for key, row in value["files"].items()}
    except (OSError, ValueError, LookupError, TypeError, AttributeError, RecursionError):
        return {}
