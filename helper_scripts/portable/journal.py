"""Writing that outlasts a kill and a power cut: files replaced in one step, and a journal that only grows.

Everything here is on disk when the call returns: data first, then the name by which it is found (fsync of the folder,
where the system has that).
"""

from __future__ import annotations

import contextlib
import json
import os
import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any

_MANY = 400  # from here on one flush of all disks is cheaper than one per file


def sync_file(path: Path) -> None:
    """Force the content of `path` to disk; of a folder (POSIX only) the names in it."""
    flags = os.O_RDONLY if os.name != "nt" else os.O_RDWR | getattr(os, "O_BINARY", 0)
    try:
        descriptor = os.open(path, flags)
    except OSError:  # a folder on Windows, a file that may not be opened: the system's own flush must do
        return
    try:
        with contextlib.suppress(OSError):  # some file systems of network drives know no fsync
            os.fsync(descriptor)
    finally:
        os.close(descriptor)


def sync_all(paths: Iterable[Path]) -> None:
    """Force all of `paths` to disk, files and folders, before this returns."""
    wanted = list(dict.fromkeys(paths))
    if len(wanted) > _MANY and hasattr(os, "sync"):
        os.sync()
        return
    for path in wanted:
        if not path.is_symlink():
            sync_file(path)


def write_durably(path: Path, content: bytes) -> None:
    """Put `content` at `path` in one step; afterwards it is there in full, also after a power cut."""
    descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=".portable.")
    temporary = Path(name)
    try:
        with os.fdopen(descriptor, "wb") as stream:
            stream.write(content)
            stream.flush()
            os.fsync(stream.fileno())
        temporary.chmod(0o644)
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    sync_file(path.parent)


def write_json_durably(path: Path, value: Any) -> None:
    """`value` as JSON at `path`, as `write_durably` does."""
    write_durably(path, (json.dumps(value, indent=1) + "\n").encode())


class Journal:
    """What a transaction has come to, one JSON object a line: `{"state": ..., ...}`. Lines are added, never changed."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def add(self, state: str, **details: Any) -> None:
        """Append a line; it is on disk when this returns. Raises OSError if it cannot be written."""
        is_new = not self.path.exists()
        line = (json.dumps({"state": state, **details}) + "\n").encode()
        if not is_new and not self.path.read_bytes().endswith(b"\n"):
            line = b"\n" + line  # the last writer was cut off
        with self.path.open("ab") as stream:
            stream.write(line)
            stream.flush()
            os.fsync(stream.fileno())
        if is_new:
            sync_file(self.path.parent)

    def entries(self) -> list[dict[str, Any]]:
        """Every whole line; one that was cut off in the middle is left out. None for a journal that is not there."""
        try:
            lines = self.path.read_bytes().splitlines()
        except FileNotFoundError:
            return []
        found = []
        for line in lines:
            with contextlib.suppress(ValueError):
                entry = json.loads(line)
                if isinstance(entry, dict) and isinstance(entry.get("state"), str):
                    found.append(entry)
        return found

    @property
    def state(self) -> str:
        """The last state that was written, an empty text if there is none."""
        entries = self.entries()
        return str(entries[-1]["state"]) if entries else ""
