"""A tree becomes a folder: a plain copy with the manifest's modes and one time, for those who pack it themselves."""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Mapping
from pathlib import Path

from packager.archive.manifest import Manifest
from packager.archive.publish import ArchiveInfo, no_space_explained, published_folder
from packager.console import Console


def write_directory(
    root: Path,
    root_name: str,
    manifest: Manifest,
    destination: Path,
    *,
    epoch: int,
    console: Console,
    extra: Mapping[str, bytes] | None = None,
) -> ArchiveInfo:
    """Copy the entries of `manifest` to `destination/root_name`; `destination` must not exist, or be empty.

    The result's `sha256` is that of the manifest's text. Errors as write_zip; nothing is left behind by a failed run.
    """
    with published_folder(destination) as folder, no_space_explained(destination.parent, manifest.total_size):
        _copy(root, folder / root_name, manifest, extra or {}, epoch=epoch, console=console)
    return ArchiveInfo(
        path=destination,
        size=manifest.total_size + sum(map(len, (extra or {}).values())),
        sha256=hashlib.sha256(manifest.to_json().encode()).hexdigest(),
        members=len(manifest.entries) + len(extra or {}),
    )


def _copy(
    root: Path, copy: Path, manifest: Manifest, extra: Mapping[str, bytes], *, epoch: int, console: Console
) -> None:
    copy.mkdir(parents=True, exist_ok=True)
    with console.bar("dir", manifest.total_size) as advance:
        for entry in manifest.entries:
            path = copy / entry.path
            path.parent.mkdir(parents=True, exist_ok=True)
            if entry.kind == "directory":
                path.mkdir()
            elif entry.kind == "link":
                path.symlink_to(entry.target)
            else:
                shutil.copyfile(root / entry.path, path, follow_symlinks=False)
                path.chmod(entry.mode)
                os.utime(path, (epoch, epoch))
                advance(entry.size)
        for name, content in extra.items():
            path = copy / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
            path.chmod(0o644)
            os.utime(path, (epoch, epoch))
