"""Writing an archive: under a temporary name, on the disk before it gets its own, and nothing left when it fails."""

from __future__ import annotations

import errno
import os
import secrets
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from packager.console import format_bytes
from packager.errors import InputError, PackagerError
from packager.filesystem import remove_tree


class NoSpaceError(PackagerError):
    """The file system of the output folder is full."""


@dataclass(frozen=True, kw_only=True)
class ArchiveInfo:
    """A finished archive. `size` in bytes; `sha256` in hex; `members` counts its entries."""

    path: Path
    size: int
    sha256: str
    members: int


@contextmanager
def published(destination: Path, *, needed: int) -> Iterator[BinaryIO]:
    """A stream to write and seek in, whose content becomes `destination` when the block ends without an exception.

    `needed` is how many bytes it may take, for the error. Raises NoSpaceError naming the folder if the disk is full. A
    failed or interrupted block leaves an older `destination` as it was, and nothing else.
    """
    if destination.is_dir():
        raise InputError("it is a folder", where=str(destination), remedy="give the name of the file to write")
    destination.parent.mkdir(parents=True, exist_ok=True)
    with no_space_explained(destination.parent, needed):
        # Named before it is made: between mkstemp's file and a `try` there is room for Ctrl-C.
        temporary = destination.with_name(f".{destination.name[:40]}.{secrets.token_hex(8)}.tmp")
        try:
            with temporary.open("x+b", buffering=1024 * 1024) as stream:
                yield stream
                stream.flush()
                os.fsync(stream.fileno())
            temporary.chmod(0o644)
            temporary.replace(destination)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise


@contextmanager
def published_folder(destination: Path) -> Iterator[Path]:
    """An empty folder to fill, which becomes `destination` when the block ends without an exception.

    Raises InputError unless `destination` is absent or an empty folder. Nothing is left of a failed block.
    """
    if destination.is_symlink() or (destination.exists() and (not destination.is_dir() or any(destination.iterdir()))):
        raise InputError("it exists and is not an empty folder", where=str(destination), remedy="choose another name")
    destination.parent.mkdir(parents=True, exist_ok=True)
    temporary = Path(tempfile.mkdtemp(dir=destination.parent, prefix=f".{destination.name[:40]}.", suffix=".tmp"))
    try:
        yield temporary
        temporary.chmod(0o755)
        if destination.exists():
            destination.rmdir()
        temporary.rename(destination)
    except BaseException:
        remove_tree(temporary)
        raise


@contextmanager
def no_space_explained(folder: Path, needed: int) -> Iterator[None]:
    """Turn a full disk or quota into NoSpaceError."""
    try:
        yield
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
            raise
        raise NoSpaceError(
            f"no space left: up to {format_bytes(needed)} ({needed} bytes) are needed here",
            where=str(folder),
            remedy="free space, or choose another folder with -o",
        ) from error
