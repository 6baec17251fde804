"""The entries of any tar.zst, streamed: the standard tarfile, behind a reader that bounds what it may ask for."""

from __future__ import annotations

import tarfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import BinaryIO, cast

import zstandard

from packager.archive.admission import Admission, Item
from packager.archive.manifest import Kind
from packager.archive.zstd_frames import is_whole

_MAX_WINDOW = 128 * 1024 * 1024  # bytes; what `zstd -d` takes without an option
_MOST = 1024 * 1024  # bytes one read may ask for: a header that claims more wants to fill the memory
_MAX_HEADERS = 1024 * 1024  # bytes of all headers of one entry
_MAX_READS = 32  # of headers and their contents; tarfile goes a level deeper for each
_MAX_GLOBAL = 64 * 1024  # characters of global headers, which tarfile keeps
_KINDS: dict[bytes, Kind] = {
    tarfile.REGTYPE: "file",
    tarfile.AREGTYPE: "file",
    tarfile.LNKTYPE: "file",
    tarfile.SYMTYPE: "link",
    tarfile.DIRTYPE: "directory",
}


_DAMAGED = (tarfile.TarError, zstandard.ZstdError, EOFError, ValueError, OverflowError, RecursionError)


class _Forward:
    """The unpacked stream, with the position and forward seeks that tarfile wants; an entry's headers are bounded."""

    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream
        self._position = 0
        self.last = b""
        self._reads: int | None = None  # of the headers of this entry
        self._headers_end = 0

    @contextmanager
    def headers(self) -> Iterator[None]:
        """What is read meanwhile, not skipped, belongs to one entry's headers."""
        self._reads = 0
        try:
            yield
        finally:
            self._reads = None

    def read(self, size: int) -> bytes:
        if size > _MOST:
            raise tarfile.ReadError(f"a header claims {size} bytes")
        if self._reads is not None:
            if not self._reads:
                self._headers_end = self._position + _MAX_HEADERS
            self._reads += 1
            if self._reads > _MAX_READS or self._position + size > self._headers_end:
                raise tarfile.ReadError("an entry has too many or too large headers")
        return self._read(size)

    def _read(self, size: int) -> bytes:
        pieces = []
        while size and (piece := self._stream.read(size)):
            pieces.append(piece)
            size -= len(piece)
        self.last = b"".join(pieces)
        self._position += len(self.last)
        return self.last

    def tell(self) -> int:
        return self._position

    def seek(self, position: int) -> None:
        if position < self._position:
            raise tarfile.ReadError("it asks to go back")
        while position > self._position:
            if not self._read(min(_MOST, position - self._position)):
                raise tarfile.ReadError("it is cut short")

    def drain(self) -> None:
        """Read what follows the end of the tar, which is padding; zstd compares its checksum only at its own end."""
        if self.read(_MOST).strip(b"\0") or self.read(1):
            raise tarfile.ReadError("it goes on after its end")


def read_tar_zst(stream: BinaryIO, admission: Admission) -> Iterator[Item]:
    """Every entry, in order. A hard link is a file with the content of an earlier one.

    Raises InputError for a damaged file, or entries other than files, folders and links.
    """
    decoder = zstandard.ZstdDecompressor(max_window_size=_MAX_WINDOW)
    forward = _Forward(cast(BinaryIO, decoder.stream_reader(stream, read_across_frames=True, closefd=False)))
    sizes: dict[str, int] = {}
    try:
        with forward.headers():  # tarfile reads the first entry at once
            archive = tarfile.TarFile(fileobj=cast(BinaryIO, forward), mode="r", encoding="utf-8")
        with archive:
            while (member := _next(archive, forward)) is not None:
                yield _item(archive, member, admission, sizes)
                archive.members.clear()  # type: ignore[attr-defined]  # or it remembers every one
        if forward.last != bytes(tarfile.BLOCKSIZE):
            raise tarfile.ReadError("its end is missing")
        forward.drain()
        if not is_whole(stream):
            raise tarfile.ReadError("its last frame is cut short")
    except _DAMAGED as error:
        raise admission.refusal(f"it is damaged: {error}") from error


def _next(archive: tarfile.TarFile, forward: _Forward) -> tarfile.TarInfo | None:
    with forward.headers():
        member = archive.next()
    kept = archive.pax_headers
    if kept and sum(len(key) + len(value) for key, value in kept.items()) > _MAX_GLOBAL:
        raise tarfile.ReadError(f"its global headers are larger than {_MAX_GLOBAL} characters")
    return member


def _item(archive: tarfile.TarFile, member: tarfile.TarInfo, admission: Admission, sizes: dict[str, int]) -> Item:
    """`sizes`: of the files so far, by name."""
    kind = _KINDS.get(member.type)
    if kind is None or member.sparse is not None:
        raise admission.refusal("it is neither a plain file, a folder nor a symbolic link", member.name)
    same_as = member.linkname if member.islnk() else ""
    if same_as and same_as not in sizes:
        raise admission.refusal("it is a hard link to what is no file before it in the archive", member.name)
    if kind == "file":
        sizes[member.name] = sizes[same_as] if same_as else member.size
    item = Item(
        path=member.name,
        kind=kind,
        mode=member.mode & 0o777,
        mtime=member.mtime,
        size=sizes[member.name] if kind == "file" else 0,
        target=member.linkname if kind == "link" else "",
        same_as=same_as,
    )
    # links and folders are remembered until the end, and would keep all headers of their entry with `member`
    return replace(item, blocks=lambda size: _blocks(archive, member, size, admission)) if kind == "file" else item


def _blocks(archive: tarfile.TarFile, member: tarfile.TarInfo, size: int, admission: Admission) -> Iterator[bytes]:
    content = archive.extractfile(member)
    try:
        while content is not None and (block := content.read(size)):
            yield block
    except _DAMAGED as error:
        raise admission.refusal(f"it is damaged: {error}", member.name) from error
