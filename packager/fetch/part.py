"""The bytes of a download so far, in the cache, and the answer they belong to."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import TYPE_CHECKING

from packager.fetch.cache import disk_errors
from packager.filesystem import write_atomic

if TYPE_CHECKING:
    from hashlib import _Hash as Hash

_BLOCK = 1024 * 1024


class Part:
    """The part file at `path` for what `location` gives; beside it a .json with the ETag of the answer it came in.

    Whoever uses it holds its lock in the cache.
    """

    def __init__(self, path: Path, location: str) -> None:
        self.path = path
        self._answer = path.with_suffix(".json")
        self._location = hashlib.sha256(location.encode()).hexdigest()

    def size(self) -> int:
        """Bytes so far."""
        return self.path.stat().st_size if self.path.exists() else 0

    def etag(self) -> str | None:
        """The ETag of the answer the bytes came in, if that was from this location and the tag promises equal bytes: a
        weak one doesn't (RFC 9110, 8.8.1)."""
        try:
            value = json.loads(self._answer.read_text(encoding="utf-8"))
            etag = value["etag"] if value["location"] == self._location else None
        except (OSError, ValueError, KeyError, TypeError):
            return None
        return etag if isinstance(etag, str) and etag.startswith('"') else None

    def begin(self, etag: str | None) -> None:
        """Forget the bytes and note the answer that the next ones will belong to."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with disk_errors(self.path.parent, None):
            self.path.write_bytes(b"")
            write_atomic(self._answer, json.dumps({"location": self._location, "etag": etag}).encode())

    def drop(self) -> None:
        """Forget everything."""
        self.path.unlink(missing_ok=True)
        self._answer.unlink(missing_ok=True)

    def digest(self) -> Hash:
        """sha256 of the bytes so far, to go on with."""
        digest = hashlib.sha256()
        if self.path.exists():
            with self.path.open("rb") as stream:
                while block := stream.read(_BLOCK):
                    digest.update(block)
        return digest

    def head(self) -> bytes:
        """The first bytes: enough to see what kind of thing it is."""
        with self.path.open("rb") as stream:
            return stream.read(1024)
