"""What the oracle found out before, so that a second build of the same lock does not ask again.

Below the packager's cache: `oracle/ab/ab12....json.z`, deflated JSON named by the sha256 of what it was asked. An entry
that cannot be read counts as missing.
"""

from __future__ import annotations

import hashlib
import json
import zlib
from pathlib import Path
from typing import Any

from packager.filesystem import write_atomic

_FORMAT = 2


class Memory:
    """`folder` None remembers nothing. `hits` counts answers of earlier runs."""

    def __init__(self, folder: Path | None) -> None:
        self._folder = folder
        self._own: set[Path] = set()
        self.hits = 0

    def recall(self, *key: object) -> Any:
        """What was remembered under `key` (JSON values), or None."""
        path = self._path(key)
        if path is None:
            return None
        try:
            return json.loads(zlib.decompress(path.read_bytes()))
        except (OSError, ValueError, zlib.error):
            return None

    def remember(self, value: Any, *key: object) -> None:
        path = self._path(key)
        if path is not None:
            self._own.add(path)
            write_atomic(path, zlib.compress(json.dumps(value, ensure_ascii=True).encode(), 6))

    def count(self, *key: object) -> None:
        """An answer under `key` was taken; it counts if it was there before this run."""
        self.hits += self._path(key) not in self._own

    def _path(self, key: tuple[object, ...]) -> Path | None:
        if self._folder is None:
            return None
        name = hashlib.sha256(json.dumps([_FORMAT, *key], sort_keys=True).encode()).hexdigest()
        return self._folder / name[:2] / f"{name}.json.z"
