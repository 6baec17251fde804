"""Hashing an archive, and bringing it to the disk, behind the writer: neither is left to be done alone at the end."""

from __future__ import annotations

import hashlib
import os
import queue
import threading
from io import FileIO
from pathlib import Path
from types import TracebackType
from typing import BinaryIO

_STEP = 16 * 1024 * 1024  # bytes settled between two words to the thread
_SYNC = 128 * 1024 * 1024  # bytes between two syncs
_BLOCK = 1024 * 1024


class Follower:
    """Reads what is settled of the file that `stream` writes, in a thread of its own.

    `settled(end)` says that the bytes before `end` will not change. `finish()` waits for the hash of the whole file.
    What goes wrong in the thread, such as a full disk, is raised by either.
    """

    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream
        self._told = 0
        self.hashed = 0  # bytes
        self._ends: queue.SimpleQueue[int | None] = queue.SimpleQueue()
        self._error: Exception | None = None
        self._digest = hashlib.sha256()
        self._thread = threading.Thread(target=self._follow, args=(Path(stream.name),), name="archive-follower")

    def __enter__(self) -> Follower:
        try:
            self._thread.start()
        except BaseException:  # Ctrl-C while it begins: nobody else would end it, and the exit waits for it
            self._ends.put(None)
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._ends.put(None)
        self._thread.join()

    def settled(self, end: int) -> None:
        """Note progress; cheap to call often."""
        if self._error is not None:
            raise self._error
        if end - self._told >= _STEP:
            self._tell(end)

    def finish(self) -> str:
        """Hex sha256 of all that was written. Nothing may be written afterwards."""
        self._stream.seek(0, os.SEEK_END)
        self._tell(self._stream.tell())
        self._ends.put(None)
        self._thread.join()
        if self._error is not None:
            raise self._error
        return self._digest.hexdigest()

    def _tell(self, end: int) -> None:
        self._stream.flush()
        self._told = end
        self._ends.put(end)

    def _follow(self, path: Path) -> None:
        try:
            synced = 0
            # without a buffer, which would read ahead into bytes that may still change, and keep them as they were
            with path.open("rb", buffering=0) as written:
                for end in iter(self._ends.get, None):
                    self._hash(written, end)
                    if end - synced >= _SYNC:
                        os.fsync(self._stream.fileno())
                        synced = end
        except Exception as error:
            self._error = error

    def _hash(self, written: FileIO, end: int) -> None:
        while self.hashed < end:
            block = written.read(min(_BLOCK, end - self.hashed))
            if not block:
                raise OSError("the archive became shorter while it was written")
            self._digest.update(block)
            self.hashed += len(block)
