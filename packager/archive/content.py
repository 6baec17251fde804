"""What goes into an archive, and with what effort: the same for every format."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from packager.archive.manifest import Entry, Manifest, sort_key

MEMORY = 512 * 1024 * 1024  # bytes


@dataclass(frozen=True, kw_only=True)
class Content:
    """The entries of `manifest`, whose files lie below `root`, and `extra`, small files as bytes by path that do not.

    Each member is called `root_name/path` (`path` alone if `root_name` is empty) and has the time `epoch`, in seconds
    (UTC).
    """

    root: Path
    root_name: str
    manifest: Manifest
    epoch: int
    extra: Mapping[str, bytes] = field(default_factory=dict)

    @property
    def prefix(self) -> str:
        """What every member's name starts with."""
        return f"{self.root_name}/" if self.root_name else ""

    @property
    def entries(self) -> list[Entry]:
        """All of them in the order of the archive; those of `extra` without a hash."""
        added = [Entry(path=path, kind="file", mode=0o644, size=len(it)) for path, it in self.extra.items()]
        return sorted([*self.manifest.entries, *added], key=lambda entry: sort_key(entry.path))


@dataclass(frozen=True, kw_only=True)
class Effort:
    """`level`: fast, default, max or a number of the format's own. `memory`: bytes that are read and packed ahead."""

    level: str | int
    threads: int
    memory: int = MEMORY
