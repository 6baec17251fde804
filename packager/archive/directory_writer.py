"""A tree becomes a folder: a plain copy with the manifest's modes and one time, for those who pack it themselves."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path
from typing import IO

from packager.archive.content import Content
from packager.archive.manifest import Entry
from packager.archive.packing import check_content
from packager.archive.publish import ArchiveInfo, no_space_explained, published_folder
from packager.archive.tree_files import unreadable
from packager.console import Console

_COPY = 1024 * 1024  # bytes read at once


def write_directory(content: Content, destination: Path, *, console: Console) -> ArchiveInfo:
    """Copy `content` to a folder of its `root_name` in `destination`, which must not exist, or be empty.

    Folders get mode 0755; they, links (where the system can) and files get the one time. The result's `sha256` is that
    of the manifest's text. Errors as write_zip; nothing is left behind by a failed run.
    """
    manifest, extra = content.manifest, content.extra
    with published_folder(destination) as folder, no_space_explained(destination.parent, manifest.total_size):
        _copy(content, folder / content.root_name, console)
        _settle(folder, content.epoch)
    return ArchiveInfo(
        path=destination,
        size=manifest.total_size + sum(map(len, extra.values())),
        sha256=hashlib.sha256(manifest.to_json().encode()).hexdigest(),
        members=len(manifest.entries) + len(extra),
    )


def _copy(content: Content, copy: Path, console: Console) -> None:
    manifest, epoch = content.manifest, content.epoch
    copy.mkdir(parents=True, exist_ok=True)
    with console.bar("dir", manifest.total_size) as advance:
        for entry in manifest.entries:
            path = copy / entry.path
            path.parent.mkdir(parents=True, exist_ok=True)
            if entry.kind == "directory":
                path.mkdir()
            elif entry.kind == "link":
                path.symlink_to(entry.target)
                if os.utime in os.supports_follow_symlinks:
                    os.utime(path, (epoch, epoch), follow_symlinks=False)
            else:
                check_content(entry, _copy_file(content.root, entry, path))
                path.chmod(entry.mode)
                os.utime(path, (epoch, epoch))
                advance(entry.size)
        for name, data in content.extra.items():
            path = copy / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(data)
            path.chmod(0o644)
            os.utime(path, (epoch, epoch))


def _copy_file(root: Path, entry: Entry, path: Path) -> str:
    """The hash in hex of what was copied."""
    digest = hashlib.sha256()
    try:
        source = (root / entry.path).open("rb")
    except OSError as error:
        raise unreadable(entry, error) from error
    with source, path.open("wb") as copy:
        while block := _read(source, entry):
            digest.update(block)
            copy.write(block)
    return digest.hexdigest()


def _read(source: IO[bytes], entry: Entry) -> bytes:
    try:
        return source.read(_COPY)
    except OSError as error:
        raise unreadable(entry, error) from error


def _settle(folder: Path, epoch: int) -> None:
    """Modes and times of all folders, the deepest first: what changes inside a folder changes its time."""
    for name, _, _ in os.walk(folder, topdown=False):
        Path(name).chmod(0o755)
        os.utime(name, (epoch, epoch))
