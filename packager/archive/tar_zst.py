"""A tree becomes a tar.zst: one stream, compressed by all cores with a long window, the same bytes every time.

The headers are POSIX.1-2001 (pax), which take names of any length. zstd's output depends on the level and its job and
window sizes but not on how many workers share the jobs, as long as there is one (zstd.h, ZSTD_c_nbWorkers).

A large file whose content lies in the stream already is a hard link to it. Small ones are not: they gain next to
nothing, and are what people edit, which would change the other one too.
"""

from __future__ import annotations

import functools
import hashlib
import io
import tarfile
from pathlib import Path
from typing import BinaryIO, cast

import zstandard

from packager.archive.content import Content, Effort
from packager.archive.follower import Follower
from packager.archive.levels import level_number, levels
from packager.archive.manifest import Entry
from packager.archive.publish import ArchiveInfo, published
from packager.archive.tree_files import changed, read_whole, unreadable
from packager.console import Console

_COPY = 1024 * 1024
_LINKED = 64 * 1024  # bytes that a repeated file has at least to become a hard link


def zstd_level(level: str | int) -> int:
    """The zstd level, 1 to 22, that `fast`, `default`, `max` or a number stands for. Raises InputError."""
    return level_number(level, levels().zstd, highest=22)


def write_tar_zst(content: Content, destination: Path, *, effort: Effort, console: Console) -> ArchiveInfo:
    """Write `content` to `destination`; else as write_zip, and a number as level is 1 to 22.

    zstd gets no more of the threads than do with the memory, but one at least.
    """
    entries, small, total = content.entries, content.extra, content.manifest.total_size
    compressor = zstandard.ZstdCompressor(compression_params=_parameters(effort))
    needed = total + 2 * tarfile.BLOCKSIZE * len(entries)
    with published(destination, needed=needed) as stream, Follower(stream) as follower:
        with (
            console.bar("tar.zst", total) as advance,
            compressor.stream_writer(stream, closefd=False) as packed,
            tarfile.TarFile(
                fileobj=cast(BinaryIO, packed), mode="w", format=tarfile.PAX_FORMAT, copybufsize=_COPY, encoding="utf-8"
            ) as archive,
        ):
            first: dict[tuple[str, int], str] = {}  # (sha256, mode) -> the member that has the content
            for entry in entries:
                info = _header(content.prefix + entry.path, entry, content.epoch)
                is_large = entry.kind == "file" and entry.size >= _LINKED and entry.path not in small
                earlier = first.setdefault((entry.sha256, entry.mode), info.name) if is_large else info.name
                if earlier != info.name:
                    info.type, info.linkname, info.size = tarfile.LNKTYPE, earlier, 0
                if entry.kind != "file" or earlier != info.name:
                    archive.addfile(info)
                elif entry.path in small:
                    archive.addfile(info, io.BytesIO(small[entry.path]))
                else:
                    _add_file(archive, info, content.root, entry)
                advance(entry.size)
                follower.settled(stream.tell())
        sha256 = follower.finish()
    return ArchiveInfo(path=destination, size=destination.stat().st_size, sha256=sha256, members=len(entries))


def _parameters(effort: Effort) -> zstandard.ZstdCompressionParameters:
    make = functools.partial(
        zstandard.ZstdCompressionParameters.from_level,
        zstd_level(effort.level),
        window_log=levels().window_log,
        enable_ldm=levels().long_distance_matching,
        job_size=levels().job_size,
        write_checksum=True,
    )
    fixed, each = _needs(make())
    return make(threads=max(min(effort.threads, (effort.memory - fixed) // each), 1))


def _needs(parameters: zstandard.ZstdCompressionParameters) -> tuple[int, int]:
    """Bytes of memory that zstd takes in any case, and for each worker: about, measured with 1.5.7 and noise.

    The window and what is read and written around the jobs; then each worker's input and output, its tables of 4-byte
    places, and that of the long-distance matches, 8 bytes for each 128 of the window.
    """
    job, window = levels().job_size, 1 << levels().window_log
    tables = (4 << parameters.chain_log) + (4 << parameters.hash_log) + window // 128 * 8
    return window + 5 * job, 2 * job + tables


def _header(name: str, entry: Entry, epoch: int) -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.mode = entry.mode
    info.mtime = epoch
    info.size = entry.size
    if entry.kind == "link":
        info.type = tarfile.SYMTYPE
        info.linkname = entry.target
    elif entry.kind == "directory":
        info.type = tarfile.DIRTYPE
    return info


def _add_file(archive: tarfile.TarFile, info: tarfile.TarInfo, root: Path, entry: Entry) -> None:
    if entry.size <= _COPY:
        content = read_whole(root, entry)
        sha256 = hashlib.sha256(content).hexdigest()
        archive.addfile(info, io.BytesIO(content))
    else:
        sha256 = _add_large(archive, info, root / entry.path, entry)
    if sha256 != entry.sha256:
        raise changed(entry)


def _add_large(archive: tarfile.TarFile, info: tarfile.TarInfo, path: Path, entry: Entry) -> str:
    """Its hash in hex, of what was added."""
    try:
        stream = path.open("rb")
    except OSError as error:
        raise unreadable(entry, error) from error
    with stream:
        if path.stat().st_size != entry.size:
            raise changed(entry)
        hashing = _Hashing(stream, entry)
        archive.addfile(info, cast(BinaryIO, hashing))
    return hashing.digest.hexdigest()


class _Hashing:
    """What is read of the file of `entry`, with its hash. Raises InputError where it ends early or cannot be read."""

    def __init__(self, stream: BinaryIO, entry: Entry) -> None:
        self._stream = stream
        self._entry = entry
        self.digest = hashlib.sha256()

    def read(self, size: int) -> bytes:
        try:
            block = self._stream.read(size)
        except OSError as error:
            raise unreadable(self._entry, error) from error
        if len(block) != size:
            raise changed(self._entry)
        self.digest.update(block)
        return block
