"""The content-addressed cache: downloads by sha256, what a URL gave last time, unfinished downloads, git repositories.

    blobs/sha256/ab/abcdef...   finished downloads, named by their hash
    index/ab/ab12....json       sha256 of a URL -> the blob it gave, and the validators to ask whether it still does
    parts/NAME.part, .json      bytes of a download so far, and the answer they belong to
    git/NAME.git                bare repositories
    oracle/ab/ab12....json.z    what the clean-up's oracle was told
    locks/NAME.lock             who is at work on a part or a repository

Several processes may share it: files appear by rename, parts and repositories are changed under their lock alone.
"""

from __future__ import annotations

import errno
import functools
import hashlib
import json
import os
import re
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

import platformdirs

from packager.console import format_bytes
from packager.errors import FetchError
from packager.filesystem import remove_tree, sha256_file, write_atomic
from packager.locks import hold

_BLOCK = 1024 * 1024
_KINDS = ("blobs", "index", "parts", "git", "oracle")


def default_cache_root() -> Path:
    """PACKAGER_CACHE_DIR, else the user's cache folder (platformdirs)."""
    if named := os.environ.get("PACKAGER_CACHE_DIR"):
        return Path(named).expanduser().absolute()
    return platformdirs.user_cache_path("comfyui-portable-packager", appauthor=False)


def oracle_cache() -> Path:
    """Where the clean-up's oracle remembers what it was told."""
    return default_cache_root() / "oracle"


@dataclass(frozen=True, kw_only=True)
class Remembered:
    """What a URL gave: the blob's hash, and HTTP's validators (RFC 9110, 8.8) as the server wrote them."""

    sha256: str
    etag: str | None
    last_modified: str | None


@dataclass(frozen=True, kw_only=True)
class Usage:
    """Number of entries and their size in bytes."""

    count: int
    size: int


@dataclass(frozen=True, kw_only=True)
class CacheInfo:
    """`kinds` by name: blobs, index, parts, git, oracle; a git repository is one entry."""

    root: Path
    kinds: dict[str, Usage]

    @property
    def size(self) -> int:
        """Bytes of all kinds together."""
        return sum(usage.size for usage in self.kinds.values())


class Cache:
    """The cache below `root`, which is made when something is first put there."""

    def __init__(self, root: Path) -> None:
        self.root = root.absolute()

    def blob_path(self, sha256: str) -> Path:
        return self.root / "blobs" / "sha256" / sha256[:2] / sha256

    def add(self, file: Path, sha256: str) -> None:
        """Move `file`, which is in the cache and has this hash, among the blobs."""
        target = self.blob_path(sha256)
        target.parent.mkdir(parents=True, exist_ok=True)
        file.replace(target)

    def place(self, sha256: str, destination: Path) -> bool:
        """Copy a blob to `destination`, replacing what is there. False if the cache doesn't hold it.

        A copy and never a link: what is placed may be changed in place. The blob is hashed on the way; a damaged one is
        removed and counts as missing. Raises FetchError if there is no room.
        """
        blob = self.blob_path(sha256)
        try:
            needed = blob.stat().st_size
        except FileNotFoundError:
            return False
        temporary = temporary_beside(destination)
        with disk_errors(destination.parent, needed):
            try:
                if copy_file(blob, temporary) == sha256:
                    temporary.replace(destination)
                    return True
            except FileNotFoundError:
                return False  # another process cleared the cache under our hands
            finally:
                temporary.unlink(missing_ok=True)
        blob.unlink(missing_ok=True)
        return False

    def holds(self, sha256: str) -> bool:
        """Whether the blob is there and whole; a damaged one is removed."""
        blob = self.blob_path(sha256)
        try:
            if sha256_file(blob) == sha256:
                return True
        except FileNotFoundError:
            return False
        blob.unlink(missing_ok=True)
        return False

    def remembered(self, url: str) -> Remembered | None:
        """What `url` gave last time, if that is known."""
        try:
            value = json.loads(self._index_path(url).read_text(encoding="utf-8"))
            return Remembered(sha256=value["sha256"], etag=value["etag"], last_modified=value["last_modified"])
        except (OSError, ValueError, KeyError, TypeError):
            return None

    def remember(self, url: str, remembered: Remembered) -> None:
        """Note what `url` gave. The URL itself is not written: it may hold a secret."""
        with disk_errors(self.root, None):
            write_atomic(self._index_path(url), json.dumps(asdict(remembered)).encode())

    def part_path(self, name: str) -> Path:
        """Where the bytes of an unfinished download lie; hold its lock (`"part-" + name`) to use it."""
        return self.root / "parts" / f"{name}.part"

    def repository_path(self, location: str) -> Path:
        """Where the bare repository for `location` lies; hold its lock (`"git-" + its name`) to use it."""
        slug = re.sub(r"[^A-Za-z0-9.]+", "-", location.removesuffix(".git").rsplit("/", 1)[-1])[:40].strip("-.")
        return self.root / "git" / f"{slug}-{hashlib.sha256(location.encode()).hexdigest()[:16]}.git"

    @contextmanager
    def lock(self, name: str, *, waiting: Callable[[], None] = lambda: None) -> Iterator[None]:
        """Be alone with one part or repository, among all threads and processes; see `locks.hold`."""
        with disk_errors(self.root, None), hold(self.root / "locks" / f"{name}.lock", waiting=waiting):
            yield

    def info(self) -> CacheInfo:
        """Count what is there."""
        return CacheInfo(root=self.root, kinds={kind: _usage(self.root / kind, kind) for kind in _KINDS})

    def clear(self) -> None:
        """Remove everything but the locks. Waits for whoever is at work on a part or a repository."""
        for kind, prefix in (("parts", "part-"), ("git", "git-")):
            names = {path.stem for path in (self.root / kind).glob("*")}
            for name in sorted(names):
                with self.lock(prefix + name):
                    for path in (self.root / kind).glob(f"{name}.*"):
                        remove_tree(path)
        for kind in ("blobs", "index", "oracle"):
            for path in sorted((self.root / kind).rglob("*")):
                if path.is_file():
                    path.unlink(missing_ok=True)

    def _index_path(self, url: str) -> Path:
        key = hashlib.sha256(url.encode()).hexdigest()
        return self.root / "index" / key[:2] / f"{key}.json"


def temporary_beside(destination: Path) -> Path:
    """A name for what is to become `destination`, in its folder, which is made. Always the same one: what a killed run
    left there is removed by the next."""
    with disk_errors(destination.parent, None):
        destination.parent.mkdir(parents=True, exist_ok=True)
        temporary = destination.with_name(f".{destination.name}.part")
        temporary.unlink(missing_ok=True)
    return temporary


def copy_file(source: Path, target: Path) -> str:
    """Copy the bytes to the new file `target`; returns their hex sha256. Raises FileExistsError: nothing is written
    through a link that lies in wait."""
    digest = hashlib.sha256()
    with source.open("rb") as reader, target.open("xb") as writer:
        for block in iter(functools.partial(reader.read, _BLOCK), b""):
            digest.update(block)
            writer.write(block)
    return digest.hexdigest()


@contextmanager
def disk_errors(folder: Path, needed: int | None) -> Iterator[None]:
    """Turn a full or closed disk into a FetchError that names `folder` and how much is `needed` (bytes, if known)."""
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise no_room(folder, needed) from error
        if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR):
            raise FetchError(
                f"cannot write: {error.strerror}",
                where=str(folder),
                remedy="make the folder writable; PACKAGER_CACHE_DIR puts the cache elsewhere",
            ) from error
        raise


def check_room(folder: Path, needed: int) -> None:
    """Raise FetchError if `folder` has not `needed` bytes free, before they are fetched in vain."""
    if shutil.disk_usage(folder).free < needed:
        raise no_room(folder, needed)


def no_room(folder: Path, needed: int | None) -> FetchError:
    there = folder
    while not there.exists():
        there = there.parent
    free = f"{format_bytes(shutil.disk_usage(there).free)} free"
    want = f"{format_bytes(needed)} needed, {free}" if needed is not None else free
    return FetchError(
        f"no space left on the disk: {want}",
        where=str(folder),
        remedy="free some space there, or put the cache elsewhere with PACKAGER_CACHE_DIR and the work with --work",
    )


def _usage(folder: Path, kind: str) -> Usage:
    count = size = 0
    for path, folders, files in os.walk(folder):
        count += len(folders) if kind == "git" and Path(path) == folder else 0
        for name in files:
            count += 0 if kind == "git" or (kind == "parts" and not name.endswith(".part")) else 1
            try:
                size += (Path(path) / name).lstat().st_size
            except FileNotFoundError:
                continue
    return Usage(count=count, size=size)
