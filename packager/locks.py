"""Locks between processes. The operating system holds them, so that one ends with its owner, however that ends."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from packager.errors import PackagerError

_POLL = 0.1  # seconds between two tries

if sys.platform == "win32":
    import msvcrt

    def _lock(descriptor: int) -> None:
        msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)

else:
    import fcntl

    def _lock(descriptor: int) -> None:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)


@contextmanager
def hold(path: Path, *, waiting: Callable[[], None]) -> Iterator[None]:
    """Hold the lock file `path` alone, among processes and threads; it stays there, empty, for the next one.

    `waiting` is called once if somebody else holds it, then again before every new try: it may raise to give up.
    Raises PackagerError where the file system has no locks.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a+b") as stream:
        while True:
            try:
                _lock(stream.fileno())
                break
            except (BlockingIOError, PermissionError):
                waiting()
                time.sleep(_POLL)
            except OSError as error:
                raise PackagerError(
                    f"this file system has no locks: {error.strerror}",
                    where=str(path.parent),
                    remedy="choose a folder on a local disk (--work, PACKAGER_CACHE_DIR)",
                ) from error
        yield  # closing the file lets go
