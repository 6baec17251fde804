"""Unpacking a stranger's archive: into one folder, with a bound on size and number, and nothing but plain files.

Names that lead out of the folder, that Windows takes for devices or other names, that differ in case alone, encrypted
and special files are refused with the whole archive. Links are left out and told.
"""

from __future__ import annotations

import stat
import tarfile
import zipfile
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import IO

from portable.disk import require_room
from portable.errors import HelperError
from portable.node_source import is_device

_BLOCK = 1024 * 1024
_FORBIDDEN = set('<>:"|?*\\')
_LONGEST = 200  # characters of a path in the archive; Windows allows 259 with the bundle's own


@dataclass(frozen=True, kw_only=True)
class _Member:
    name: str
    size: int
    is_folder: bool
    is_link: bool
    is_program: bool
    handle: zipfile.ZipInfo | tarfile.TarInfo


@dataclass(frozen=True, kw_only=True)
class Unpacked:
    """`tree` is the folder of the content, `links` what was left out, `comment` the zip's (git: its commit)."""

    tree: Path
    links: tuple[str, ...]
    comment: str


def unpack(archive: Path, folder: Path, limits: Mapping[str, int]) -> Unpacked:
    """Unpack a zip or a gzipped tar into `folder`, which is empty. A single folder that holds all is the tree.

    Raises HelperError for an archive that is broken or hostile; what was written by then is in `folder`.
    """
    try:
        with _opened(archive) as (members, read, comment):
            plan = _plan(archive, members, limits)
            require_room(folder, sum(member.size for member in plan.values()))
            for path, member in plan.items():
                if not member.is_link:
                    _write(archive, member, folder / path, read)
    except (zipfile.BadZipFile, tarfile.TarError, zlib.error, EOFError, NotImplementedError, RuntimeError) as error:
        raise HelperError(f"{archive.name} is broken or no zip or tar.gz archive ({error}).") from error
    except (ValueError, UnicodeError) as error:
        raise HelperError(f"{archive.name} cannot be read ({error}).") from error
    links = tuple(str(path) for path, member in plan.items() if member.is_link)
    inside = list(folder.iterdir())
    tree = inside[0] if len(inside) == 1 and inside[0].is_dir() else folder
    return Unpacked(tree=tree, links=links, comment=comment)


def check_name(name: str) -> PurePosixPath:
    """The path of a member, if it may be one. Raises HelperError that tells why not."""
    path = PurePosixPath(name)
    fault = ""
    if not name.isprintable() or path.is_absolute() or ".." in path.parts or not path.parts:
        fault = "leads out of the folder, or holds characters that cannot be shown"
    elif _FORBIDDEN.intersection(name):
        fault = "holds characters that Windows does not allow"
    elif any(is_device(part) or part.endswith((".", " ")) for part in path.parts):
        fault = "is a name that Windows takes for something else"
    elif any(part.casefold() == ".git" for part in path.parts):
        fault = "would pass for a git repository"
    elif len(name) > _LONGEST:
        fault = f"is longer than {_LONGEST} characters"
    if fault:
        raise HelperError(f"{name[:_LONGEST]!r} in the archive {fault}: nothing of it was taken.")
    return path


def _plan(archive: Path, members: Iterator[_Member], limits: Mapping[str, int]) -> dict[PurePosixPath, _Member]:
    plan: dict[PurePosixPath, _Member] = {}
    spelled: dict[str, tuple[str, bool]] = {}
    size = 0
    for number, member in enumerate(members, 1):
        size += member.size
        if number > limits["files"] or size > limits["unpacked_bytes"]:
            most = f"{limits['unpacked_bytes'] / 1e9:.0f} GB or {limits['files']} files"
            raise HelperError(f"{archive.name} unpacks to more than {most}: it is refused.")
        path = check_name(member.name)
        for each, is_folder in [(path, member.is_folder), *((parent, True) for parent in path.parents if parent.parts)]:
            before = spelled.setdefault(str(each).casefold(), (str(each), is_folder))
            if before != (str(each), is_folder) or (each == path and not is_folder and path in plan):
                raise HelperError(
                    f"{archive.name} holds {str(each)!r} twice, in another spelling or kind: it is refused."
                )
        if not member.is_folder:
            plan[path] = member
    if not plan:
        raise HelperError(f"{archive.name} holds no files.")
    return plan


def _write(archive: Path, member: _Member, place: Path, read: object) -> None:
    place.parent.mkdir(parents=True, exist_ok=True)
    left = member.size
    source: IO[bytes] = read(member.handle)  # type: ignore[operator]
    with source, place.open("xb") as stream:
        while block := source.read(_BLOCK):
            left -= len(block)
            if left < 0:
                raise HelperError(f"{archive.name}: {member.name!r} is larger than it says: it is refused.")
            stream.write(block)
    place.chmod(0o755 if member.is_program else 0o644)


@contextmanager
def _opened(archive: Path) -> Iterator[tuple[Iterator[_Member], object, str]]:
    """The members, what opens one of them, and the comment."""
    if zipfile.is_zipfile(archive):
        with zipfile.ZipFile(archive) as packed:
            yield _in_zip(packed), packed.open, packed.comment.decode("ascii", "replace").strip()
    else:
        with tarfile.open(archive, "r:gz") as tar:
            yield _in_tar(tar), tar.extractfile, ""


def _in_zip(packed: zipfile.ZipFile) -> Iterator[_Member]:
    for info in packed.infolist():
        mode = info.external_attr >> 16
        kind = stat.S_IFMT(mode)
        if info.flag_bits & 1:
            raise HelperError(f"{info.filename!r} in the archive is encrypted.")
        if kind not in (0, stat.S_IFREG, stat.S_IFDIR, stat.S_IFLNK):
            raise HelperError(f"{info.filename!r} in the archive is a special file: nothing of it was taken.")
        yield _Member(
            name=info.orig_filename,
            size=info.file_size,
            is_folder=info.is_dir() or kind == stat.S_IFDIR,
            is_link=kind == stat.S_IFLNK,
            is_program=bool(mode & stat.S_IXUSR),
            handle=info,
        )


def _in_tar(tar: tarfile.TarFile) -> Iterator[_Member]:
    for info in tar:
        if not (info.isfile() or info.isdir() or info.issym() or info.islnk()):
            raise HelperError(f"{info.name!r} in the archive is a special file: nothing of it was taken.")
        if info.name in (".", "./"):
            continue
        yield _Member(
            name=info.name.removeprefix("./"),
            size=info.size if info.isfile() else 0,
            is_folder=info.isdir(),
            is_link=info.issym() or info.islnk(),
            is_program=bool(info.mode & stat.S_IXUSR),
            handle=info,
        )
