"""Reading an archive back without trusting it: our own, or one made to do harm.

Everything is unpacked into a new folder beside the destination, links last, and renamed when all of it was right.
"""

from __future__ import annotations

import errno
import itertools
import os
import shutil
import stat
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from packager.archive.admission import Admission, Item, Limits
from packager.archive.checksums import are_confirmed
from packager.archive.publish import no_space_explained, published_folder
from packager.archive.tar_reader import read_tar_zst
from packager.archive.zip_reader import read_zip
from packager.console import Console
from packager.errors import InputError
from packager.parts import find_parts

_COPY = 1024 * 1024
_ZSTD_MAGIC = b"\x28\xb5\x2f\xfd"  # RFC 8878, 3.1.1
_ZIP_MAGIC = b"PK"
_NAME_ERRORS = (errno.ENAMETOOLONG, errno.EINVAL, errno.EILSEQ)


@dataclass(frozen=True, kw_only=True)
class Extracted:
    """What came out: `members` entries, `size` bytes of files below `root`."""

    root: Path
    members: int
    size: int


def extract(archive: Path, destination: Path, *, console: Console, limits: Limits | None = None) -> Extracted:
    """Unpack `archive`, a zip or tar.zst, as the folder `destination`, which must not exist, or be empty.

    A zip that is a part of a set is unpacked with all others of it, which must lie beside it.

    Contents, links, modes (permission bits) and times come back, of the folders that have an entry too; a folder stays
    open to its owner, and a link's time comes back where the system can set it. Raises InputError, naming the member,
    for an archive that is damaged or cut short, whose names or links lead out of the folder, are absolute, devices of
    Windows, listed twice or one name where case does not count, that holds anything but files, folders and links, or
    that goes over `limits`; NoSpaceError. Nothing is left of a failed run.

    Where SHA256SUMS beside the archive lists it with its hash, the limits of its total size and ratio do not count.
    """
    _check_is_file(archive)
    with (
        published_folder(destination) as folder,
        _opened(archive, folder, limits) as (items, admission),
        no_space_explained(destination.parent, admission.expected_size or admission.size),
    ):
        _unpack(items, folder, admission, console)
    return Extracted(root=destination, members=admission.members, size=admission.total_size)


def admit(archive: Path, folder: Path, *, limits: Limits | None = None) -> int:
    """Let every entry of `archive` in as `extract` would into the existing `folder`, and unpack nothing.

    Returns how many bytes its files take; those of a zip are not read, so that is what it declares. Raises what extract
    does.
    """
    _check_is_file(archive)
    with _opened(archive, folder, limits) as (items, admission):
        for item in items:
            admission.admit(item)
        admission.check_links()
    return admission.total_size


def _check_is_file(archive: Path) -> None:
    if not archive.is_file():
        raise InputError("there is no such file", where=str(archive), remedy="give the archive to unpack")


@contextmanager
def _opened(archive: Path, folder: Path, limits: Limits | None) -> Iterator[tuple[Iterable[Item], Admission]]:
    """The entries of all parts, none admitted yet, and the account to admit them with."""
    parts = find_parts(archive)
    admission = Admission(
        archive,
        limits or Limits(),
        case_insensitive_folder=_ignores_case(folder),
        size=sum(part.stat().st_size for part in parts),
        free=shutil.disk_usage(folder).free,
        confirmed=lambda: are_confirmed(parts),
    )
    with ExitStack() as opened:
        streams = [opened.enter_context(part.open("rb")) for part in parts]
        yield itertools.chain.from_iterable([_reader(stream, admission) for stream in streams]), admission


def _reader(stream: BinaryIO, admission: Admission) -> Iterable[Item]:
    magic = stream.read(4)
    stream.seek(0)
    if magic.startswith(_ZIP_MAGIC):
        return read_zip(stream, admission)
    if magic == _ZSTD_MAGIC:
        return read_tar_zst(stream, admission)
    raise admission.refusal("it is neither a zip nor a tar.zst")


def _unpack(items: Iterable[Item], root: Path, admission: Admission, console: Console) -> None:
    links: list[Item] = []
    folders: list[Item] = []
    with console.bar("extract", admission.expected_size) as advance:
        for item in items:
            admission.admit(item)
            try:
                if item.kind == "link":
                    links.append(item)
                    continue
                path = root / item.path
                if item.kind == "directory":
                    folders.append(item)
                (path if item.kind == "directory" else path.parent).mkdir(parents=True, exist_ok=True)
                if item.kind == "file":
                    content = _blocks_of(root / item.same_as) if item.same_as else item.blocks(_COPY)
                    _write(item, path, content, admission)
                    advance(item.size)
            except OSError as error:
                raise _named(error, item, admission) from error
    admission.check_links()
    for link in links:
        try:
            (root / link.path).parent.mkdir(parents=True, exist_ok=True)
            (root / link.path).symlink_to(link.target)
            if os.utime in os.supports_follow_symlinks:
                os.utime(root / link.path, (link.mtime, link.mtime), follow_symlinks=False)
        except OSError as error:
            raise _named(error, link, admission) from error
    _settle(folders, root, admission)


def _settle(folders: list[Item], root: Path, admission: Admission) -> None:
    """Modes and times of folders, now that nothing is made in them any more; the deepest first."""
    for folder in sorted(folders, key=lambda item: item.path.count("/"), reverse=True):
        try:
            (root / folder.path).chmod(folder.mode | stat.S_IRWXU)
            os.utime(root / folder.path, (folder.mtime, folder.mtime))
        except OSError as error:
            raise _named(error, folder, admission) from error


def _blocks_of(path: Path) -> Iterator[bytes]:
    """A copy rather than a link: what is edited is one file. Links of the archive are made last, so this is a file."""
    with path.open("rb") as stream:
        while block := stream.read(_COPY):
            yield block


def _write(item: Item, path: Path, content: Iterable[bytes], admission: Admission) -> None:
    written = 0
    # "x": the name must be new, so nothing that lies there already is ever written through
    with path.open("xb") as stream:
        for block in content:
            written += len(block)
            stream.write(block)
    if written != item.size:
        raise admission.refusal(f"it ends after {written} of {item.size} bytes", item.path)
    path.chmod(item.mode)
    os.utime(path, (item.mtime, item.mtime))


def _named(error: OSError, item: Item, admission: Admission) -> OSError | InputError:
    """A name that the file system refuses is the archive's fault; anything else, such as a full disk, is not."""
    if isinstance(error, (FileExistsError, NotADirectoryError)) or error.errno in _NAME_ERRORS:
        return admission.refusal(f"it cannot be made here: {error.strerror}", item.path)
    return error


def _ignores_case(folder: Path) -> bool:
    """Whether the file system that `folder` lies on takes two names that differ by case alone for one."""
    return (folder.parent / folder.name.swapcase()).exists()
