"""Moving, deleting, and whether there is room: what a transaction does to the disk, with errors told to a person."""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
import stat
import time
from collections.abc import Callable
from pathlib import Path

from portable.bundle import WINDOWS
from portable.changes import kind_of
from portable.errors import HelperError

_RESERVE = 32 * 1024 * 1024  # bytes that stay free
_PATIENCE = (0.05, 0.1, 0.2, 0.5, 1.0)  # seconds; virus scanners hold new files for a moment
_HINTS = {
    errno.ENOSPC: "the disk is full; free some space and try again",
    errno.EDQUOT: "your share of the disk is used up; free some space and try again",
    errno.EFBIG: "the file is larger than is allowed here",
    errno.EROFS: "the bundle lies on a read-only medium; copy it to a folder of your own",
    errno.EACCES: "it cannot be written; stop ComfyUI if it runs, or move the bundle to a folder of your own",
    errno.EXDEV: "it lies on another disk than the bundle; put it into the bundle itself",
}


def require_room(root: Path, size: int) -> None:
    """Raise HelperError unless `size` bytes and a little more fit on the disk of the bundle."""
    free = shutil.disk_usage(root).free
    if free < size + _RESERVE:
        raise HelperError(
            f"The disk of {root} has {free / 1e6:.0f} MB free, {(size + _RESERVE) / 1e6:.0f} MB are needed: free some "
            "space (`manage snapshots` shows what old snapshots take) and try again. Nothing was changed."
        )


def move(source: Path, place: Path) -> None:
    """Rename, with patience on Windows. Raises OSError; both must be on one file system."""
    for pause in _PATIENCE if WINDOWS else ():
        try:
            source.rename(place)
        except PermissionError:
            time.sleep(pause)
        else:
            return
    source.rename(place)


def remove_tree(path: Path) -> None:
    """Delete a folder of the helpers' own, also what is read-only in it; nothing if it is not there.

    What cannot be deleted now, because a killed helper's pip still writes into it say, is left for the next time.
    """

    def again(function: Callable[[str], object], name: str, _: object) -> None:
        with contextlib.suppress(OSError):
            os.chmod(os.path.dirname(name), stat.S_IRWXU)  # noqa: PTH101, PTH120 - rmtree gives text
            os.chmod(name, stat.S_IRWXU)  # noqa: PTH101
            function(name)

    for pause in (0, *_PATIENCE):
        time.sleep(pause)
        if kind_of(path) != "directory":
            return
        shutil.rmtree(path, onerror=again)


def explain(error: OSError) -> str:
    """What the system said, with a way out."""
    where = f"{error.filename}: " if error.filename else ""
    return f"{where}{_HINTS.get(error.errno or 0, error.strerror or str(error))}"
