"""What the proof needs of this room, in one value that is handed to it: reading an archive, and the manifest in it."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from packager.archive.admission import Limits
from packager.archive.extract import admit, extract
from packager.archive.manifest import from_json
from packager.archive.scan import scan
from packager.bundle import MANIFEST_NAME, PORTABLE_DIR
from packager.console import Console

_MANIFEST = f"{PORTABLE_DIR}/{MANIFEST_NAME}"


@dataclass(frozen=True, kw_only=True)
class ArchiveReader:
    """Reads archives without trusting them, all with the same limits."""

    console: Console
    limits: Limits

    def admit(self, archive: Path, folder: Path) -> int:
        """Bytes that all parts of `archive` say they take in `folder`. Raises as extract; unpacks nothing."""
        return admit(archive, folder, limits=self.limits)

    def extract(self, archive: Path, folder: Path) -> None:
        """Unpack `archive` and its other parts into the empty `folder`."""
        extract(archive, folder, console=self.console, limits=self.limits)

    def differences(self, root: Path) -> tuple[str, ...] | None:
        """What of the bundle at `root` is not as the manifest in it says, a line a path; None if it has no manifest.

        Raises InputError for what is no manifest.
        """
        path = root / _MANIFEST
        if path.is_symlink() or not path.is_file():
            return None
        manifest = from_json(path.read_text(encoding="utf-8", errors="replace"), where=str(path))
        found = manifest.compare(scan(root, threads=os.cpu_count() or 1, exclude=(_MANIFEST,)))
        kinds = {"changed": found.changed, "missing": found.removed, "not in the manifest": found.added}
        return tuple(f"{kind}: {name}" for kind, names in kinds.items() for name in names)
