"""Writing without losing: atomic replacement, hashes, and removal that stays inside its root."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import re
import shutil
import stat
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, BinaryIO

_BLOCK = 1024 * 1024
_PATIENCE = 20.0  # seconds that a folder may go on being written to while it is removed
# Names Windows keeps for devices, whatever their suffix (Microsoft, "Naming Files, Paths, and Namespaces").
_DEVICE = re.compile(r"(con|prn|aux|nul|conin\$|conout\$|(com|lpt)[0-9\u00b9\u00b2\u00b3])\s*(\.|$)", re.IGNORECASE)


def is_device_name(name: str) -> bool:
    """Whether Windows takes a file of this name for a device."""
    return _DEVICE.match(name) is not None


def sha256_file(path: Path) -> str:
    """Hex sha256 of a file's content, read in blocks."""
    with path.open("rb") as stream:
        return sha256_stream(stream)


def sha256_stream(stream: BinaryIO) -> str:
    """Hex sha256 of what is left to read in `stream`."""
    digest = hashlib.sha256()
    while block := stream.read(_BLOCK):
        digest.update(block)
    return digest.hexdigest()


def write_atomic(path: Path, content: bytes, *, mode: int | None = None) -> None:
    """Put `content` at `path` in one step: a reader sees the old file or the new one, also after a power cut.

    `mode` defaults to that of the file replaced, else 0o644. A hard-linked or linked original is never written through.
    """
    if mode is None:
        mode = stat.S_IMODE(path.stat().st_mode) if path.exists() else 0o644
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name[:40]}.", suffix=".tmp")
    temporary = Path(name)
    try:
        with os.fdopen(descriptor, "wb") as stream:
            stream.write(content)
            stream.flush()
            os.fsync(stream.fileno())
        temporary.chmod(mode)
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def write_json(path: Path, value: Any) -> None:
    """`value` as readable JSON with a final newline, keys in the order given, written atomically."""
    write_atomic(path, (json.dumps(value, indent=2, ensure_ascii=False) + "\n").encode())


def remove_tree(path: Path) -> None:
    """Delete a folder or file if it is there; links are removed, not followed; read-only folders are opened first."""
    if not path.exists() and not path.is_symlink():
        return
    if path.is_symlink() or not path.is_dir():
        path.unlink()
        return
    deadline = time.monotonic() + _PATIENCE
    while path.exists():
        try:
            _remove_folder(path)
        except OSError as error:
            # What a killed run started may live a moment longer and write meanwhile.
            if error.errno not in (errno.ENOTEMPTY, errno.ENOENT) or time.monotonic() > deadline:
                raise
            time.sleep(0.1)


def _remove_folder(path: Path) -> None:
    for folder, _, _ in os.walk(path):
        mode = Path(folder).stat().st_mode
        if mode & stat.S_IRWXU != stat.S_IRWXU:
            Path(folder).chmod(mode | stat.S_IRWXU)
    shutil.rmtree(path)


def walk_files(root: Path, *, skip: Callable[[Path], bool] = lambda _: False) -> Iterator[Path]:
    """Every file and link below `root` (links not followed, to folders or files), sorted by name, depth first.

    What `skip` says yes to is passed over, a folder with all that is in it.
    """
    with os.scandir(root) as entries:
        ordered = sorted(entries, key=lambda entry: entry.name)
    for entry in ordered:
        path = Path(entry.path)
        if skip(path):
            continue
        if entry.is_dir(follow_symlinks=False):
            yield from walk_files(path, skip=skip)
        else:
            yield path


def tree_digest(root: Path, *, skip: Callable[[Path], bool] = lambda _: False) -> str:
    """Hex sha256 over names, kinds, execute bits and contents below `root`: equal trees, equal digests.

    What `skip` says yes to does not count.
    """
    digest = hashlib.sha256()
    for path in walk_files(root, skip=skip):
        name = path.relative_to(root).as_posix()
        if path.is_symlink():
            digest.update(f"link {name}\0{path.readlink()}\n".encode())
        else:
            kind = "exec" if path.stat().st_mode & stat.S_IXUSR else "file"
            digest.update(f"{kind} {name}\0{sha256_file(path)}\n".encode())
    return digest.hexdigest()
