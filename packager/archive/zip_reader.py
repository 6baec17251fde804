"""The entries of any zip, read with the standard zipfile after checks of our own on what it takes on trust."""

from __future__ import annotations

import stat
import struct
import time
import zipfile
import zlib
from collections.abc import Iterator
from typing import BinaryIO, cast

from packager.archive.admission import Admission, Item
from packager.archive.manifest import Kind
from packager.archive.names import MAX_PATH
from packager.archive.zip_format import DEFLATED, LOCAL_HEADER_SIZE, STORED

_ENCRYPTED = 0x1
_ENTRY = b"PK\x01\x02"  # APPNOTE 4.3.12
_MAX_DIRECTORY = 512 * 1024**2  # bytes, which zipfile reads at one go
_KINDS: dict[int, Kind] = {0: "file", stat.S_IFREG: "file", stat.S_IFLNK: "link", stat.S_IFDIR: "directory"}
_DAMAGED = (
    zipfile.BadZipFile,
    zlib.error,
    struct.error,
    EOFError,
    MemoryError,
    NotImplementedError,
    OverflowError,
    ValueError,
)


class _Opening:
    """The stream as zipfile reads it. While it opens the zip, a directory of too many entries is stopped.

    zipfile goes by the directory's size, not by the count that the end record declares, and makes an object of half a
    kilobyte of every entry: they are counted in the bytes it reads before it does.
    """

    def __init__(self, stream: BinaryIO, admission: Admission) -> None:
        self._stream = stream
        self._admission: Admission | None = admission
        self.seek, self.tell, self.seekable = stream.seek, stream.tell, stream.seekable

    def read(self, size: int = -1) -> bytes:
        if self._admission is None:
            return self._stream.read(size)
        if size > _MAX_DIRECTORY:
            raise zipfile.BadZipFile(f"its directory claims {size} bytes")
        data = self._stream.read(size)
        if data.count(_ENTRY) > self._admission.max_members:
            raise self._admission.refusal(f"more than {self._admission.max_members} members")
        return data

    def opened(self) -> None:
        """What follows are the contents."""
        self._admission = None


def read_zip(stream: BinaryIO, admission: Admission) -> Iterator[Item]:
    """Every entry, in the order of the central directory. Raises InputError for a damaged or deceitful file.

    `stream` stays open, and must while entries are read.
    """
    opening = _Opening(stream, admission)
    try:
        archive = zipfile.ZipFile(cast(BinaryIO, opening))
        opening.opened()
    except _DAMAGED as error:
        raise admission.refusal(f"it is not a whole zip: {error}") from error
    members = archive.infolist()
    admission.expect(members=len(members), total_size=sum(member.file_size for member in members))
    _check_places(stream, archive, members, admission)
    return (_item(archive, member, admission) for member in members)


def _check_places(
    stream: BinaryIO, archive: zipfile.ZipFile, members: list[zipfile.ZipInfo], admission: Admission
) -> None:
    """Refuse entries whose bytes overlap: a few kilobytes used by many entries unpack to terabytes."""
    end = 0
    for member in sorted(members, key=lambda member: member.header_offset):
        if not end <= member.header_offset < archive.start_dir:
            raise admission.refusal("its bytes overlap those of another entry or the directory", member.orig_filename)
        stream.seek(member.header_offset)
        header = stream.read(LOCAL_HEADER_SIZE)
        if len(header) != LOCAL_HEADER_SIZE or header[:4] != b"PK\x03\x04":
            raise admission.refusal("its local header is missing", member.orig_filename)
        name_size, extra_size = struct.unpack("<HH", header[26:])
        end = member.header_offset + LOCAL_HEADER_SIZE + name_size + extra_size + member.compress_size
        if end > archive.start_dir:
            raise admission.refusal("its bytes run into the central directory", member.orig_filename)


def _item(archive: zipfile.ZipFile, member: zipfile.ZipInfo, admission: Admission) -> Item:
    # zipfile cuts a name at NUL and turns the local separator into a slash; the name as stored is what counts
    name = member.orig_filename
    if member.flag_bits & _ENCRYPTED:
        raise admission.refusal("it is encrypted", name)
    if member.compress_type not in (STORED, DEFLATED):
        raise admission.refusal(f"it is packed by method {member.compress_type}; only 0 and 8 are known", name)
    unix_mode = member.external_attr >> 16
    kind = _KINDS.get(stat.S_IFMT(unix_mode))
    if kind is None:
        raise admission.refusal("it is neither a file, a folder nor a link", name)
    if name.endswith("/"):
        kind, name = "directory", name[:-1]
    if kind != "file" and member.file_size > MAX_PATH:
        raise admission.refusal("it is a link or folder with a content", name)
    target = ""
    if kind == "link":
        target = b"".join(_blocks(archive, member, MAX_PATH, admission)).decode("utf-8", "surrogateescape")
    return Item(
        path=name,
        kind=kind,
        mode=stat.S_IMODE(unix_mode) & 0o777 or (0o755 if kind == "directory" else 0o644),
        mtime=_mtime(member, admission),
        size=member.file_size if kind == "file" else 0,
        target=target,
        blocks=lambda size: _blocks(archive, member, size, admission),
    )


def _blocks(archive: zipfile.ZipFile, member: zipfile.ZipInfo, size: int, admission: Admission) -> Iterator[bytes]:
    try:
        with archive.open(member) as content:
            while block := content.read(size):
                yield block
    except _DAMAGED as error:
        raise admission.refusal(f"it is damaged: {error}", member.orig_filename) from error


def _mtime(member: zipfile.ZipInfo, admission: Admission) -> float:
    """DOS times are local ones and know no zone, as Info-ZIP takes them."""
    try:
        return time.mktime((*member.date_time, 0, 0, -1))
    except (ValueError, OverflowError) as error:
        raise admission.refusal("its time is not one", member.orig_filename) from error
