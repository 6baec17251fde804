"""Downloads: whole and right at their place, or not there at all."""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass, field
from functools import partial
from hashlib import sha256
from pathlib import Path, PurePosixPath
from typing import Literal
from urllib.parse import unquote, urlsplit

from packager.console import Advance, Console
from packager.errors import FetchError, InputError, MismatchError
from packager.fetch import parallel
from packager.fetch.cache import Cache, Remembered, copy_file, disk_errors, temporary_beside
from packager.fetch.connection import Connection
from packager.fetch.mirrors import Mirrors, local_path, redact, ways_out
from packager.fetch.part import Part
from packager.fetch.transfer import PATIENCE, Patience, Transfer
from packager.filesystem import sha256_file

WORKERS = 4


@dataclass(frozen=True, kw_only=True)
class DownloadRequest:
    """`url` may be an absolute path. `size` in bytes. `headers` go to the URL's own host alone (a token, say).

    Raises InputError for a hash, size or header that can't be one.
    """

    url: str
    sha256: str | None = None
    size: int | None = None
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)

    def __post_init__(self) -> None:
        if self.sha256 is not None and not re.fullmatch(r"[0-9A-Fa-f]{64}", self.sha256):
            raise InputError(
                f"'{self.sha256}' is not a sha256", where=redact(self.url), remedy="give its 64 hexadecimal digits"
            )
        if self.size is not None and self.size < 0:
            raise InputError(f"{self.size} is not a size", where=redact(self.url), remedy="give it in bytes")
        for name, value in self.headers.items():
            if not re.fullmatch(r"[A-Za-z0-9-]+", name) or not value.isprintable():
                raise InputError("holds a header that can't be sent", where=redact(self.url), remedy="check its name")

    @property
    def name(self) -> str:
        """What to call it in a message: the last part of its path."""
        path = unquote(urlsplit(self.url).path)
        return (PurePosixPath(path).name or redact(self.url)).encode("unicode_escape").decode("ascii")


@dataclass(frozen=True, kw_only=True)
class Downloaded:
    """A file at its place. `origin`: it was there and right, or came from the cache, a local file, or the network."""

    path: Path
    sha256: str
    size: int
    origin: Literal["present", "cache", "local", "network"]


class _Meter:
    """Turns 'so many bytes so far' of one download into steps of a bar that is opened at the first word of a total."""

    def __init__(self, open_bar: Callable[[int | None], Advance]) -> None:
        self._open_bar = open_bar
        self._advance: Advance | None = None
        self._shown = 0

    def at(self, count: int, total: int | None) -> None:
        if self._advance is None:
            if count == 0 and total is None:
                return
            self._advance = self._open_bar(total)
        self._advance(count - self._shown)
        self._shown = count


@dataclass(frozen=True, kw_only=True)
class _Means:
    cache: Cache
    mirrors: Mirrors
    console: Console
    offline: bool
    patience: Patience


def download(
    request: DownloadRequest,
    destination: Path,
    *,
    cache: Cache,
    mirrors: Mirrors,
    console: Console,
    offline: bool = False,
    patience: Patience = PATIENCE,
) -> Downloaded:
    """Bring one file to `destination`, from the nearest place that has it: there, the cache, the network.

    Without a known hash the server is asked whether the cached copy is current. Raises InputError for a bad request,
    FetchError if the right bytes can't be had.
    """
    means = _Means(cache=cache, mirrors=mirrors, console=console, offline=offline, patience=patience)
    with ExitStack() as stack:
        meter = _Meter(lambda total: stack.enter_context(console.bar(request.name, total)))
        return _bring(request, destination, means, meter, threading.Event())


def download_all(
    requests: Sequence[tuple[DownloadRequest, Path]],
    *,
    cache: Cache,
    mirrors: Mirrors,
    console: Console,
    offline: bool = False,
    patience: Patience = PATIENCE,
    workers: int = WORKERS,
    thorough: bool = False,
) -> list[Downloaded]:
    """Several at once under one bar; the results in order. The first error stops the rest, but not with `thorough`.

    Raises as `download` does; several errors are told in one.
    """
    means = _Means(cache=cache, mirrors=mirrors, console=console, offline=offline, patience=patience)
    sizes = [request.size for request, _ in requests if request.size is not None]
    turn = threading.Lock()
    with console.bar("downloads", sum(sizes) if len(sizes) == len(requests) else None) as advance:

        def step(count: int) -> None:
            with turn:
                advance(count)

        def job(request: DownloadRequest, destination: Path, cancel: threading.Event) -> Downloaded:
            meter = _Meter(lambda _: step)
            downloaded = _bring(request, destination, means, meter, cancel)
            meter.at(downloaded.size, downloaded.size)
            return downloaded

        return parallel.run_all(
            [partial(job, request, path) for request, path in requests], workers=workers, thorough=thorough
        )


def _bring(
    request: DownloadRequest, destination: Path, means: _Means, meter: _Meter, cancel: threading.Event
) -> Downloaded:
    location = means.mirrors.rewrite(request.url)
    if destination.is_dir() and not destination.is_symlink():
        raise InputError("is a folder, and a file should be put there", where=str(destination), remedy="move it away")
    wanted = request.sha256.lower() if request.sha256 else None
    if wanted and destination.is_file() and not destination.is_symlink() and sha256_file(destination) == wanted:
        return _right(request, destination, wanted, "present")
    if wanted and _place(request, wanted, destination, means.cache):
        return _right(request, destination, wanted, "cache")
    source = local_path(location)
    if source is not None:
        return _right(request, destination, _copy(request, source, destination, wanted), "local")
    known = None if wanted else means.cache.remembered(location)
    if not means.offline:
        return _fetch(request, location, destination, means, meter, cancel)
    if known and _place(request, known.sha256, destination, means.cache):
        return _right(request, destination, known.sha256, "cache")
    raise FetchError(
        "is not in the cache, and --offline forbids to fetch it",
        where=redact(location),
        remedy=f"run once without --offline, or {ways_out(location)}",
    )


def _fetch(
    request: DownloadRequest, location: str, destination: Path, means: _Means, meter: _Meter, cancel: threading.Event
) -> Downloaded:
    """Over the network, alone with the part: whoever wants the same file meanwhile waits and finds it in the cache."""
    cache, patience = means.cache, means.patience
    wanted = request.sha256.lower() if request.sha256 else None
    key = wanted or sha256(location.encode()).hexdigest()
    with cache.lock(f"part-{key}", waiting=partial(parallel.check, cancel)):
        if wanted and _place(request, wanted, destination, cache):
            return _right(request, destination, wanted, "cache")
        known = None if wanted else cache.remembered(location)
        part = Part(cache.part_path(key), location)
        connection = Connection(location, headers=request.headers, connect=patience.connect, read=patience.read)
        with closing(connection):
            received = Transfer(
                part,
                connection,
                sha256=wanted,
                size=request.size,
                known=known if known and cache.holds(known.sha256) else None,
                patience=patience,
                at=meter.at,
                cancel=cancel,
            ).run()
        if received is not None:
            cache.add(part.path, received.sha256)
            part.drop()
            known = Remembered(sha256=received.sha256, etag=received.etag, last_modified=received.last_modified)
            cache.remember(location, known)
    if known is None or not _place(request, known.sha256, destination, cache):
        raise FetchError(
            "the cache was cleared while in use", where=str(cache.root), remedy="run the same command again"
        )
    return _right(request, destination, known.sha256, "cache" if received is None else "network")


def _copy(request: DownloadRequest, source: Path, destination: Path, wanted: str | None) -> str:
    """A local file needs no cache. Returns its sha256."""
    remedy = f"check the path, or {ways_out(str(source))}"
    if not source.is_file():
        what = "is not a regular file" if source.exists() else "no such file"
        raise FetchError(what, where=str(source), remedy=remedy)
    _check_size(request, source)
    temporary = temporary_beside(destination)
    try:
        with disk_errors(destination.parent, source.stat().st_size):
            found = copy_file(source, temporary)
            if wanted not in (None, found):
                raise MismatchError(f"has the sha256 {found}, wanted is {wanted}", where=str(source), remedy=remedy)
            temporary.replace(destination)
    finally:
        temporary.unlink(missing_ok=True)
    return found


def _place(request: DownloadRequest, digest: str, destination: Path, cache: Cache) -> bool:
    blob = cache.blob_path(digest)
    if blob.is_file() and request.sha256:
        _check_size(request, blob)
    return cache.place(digest, destination)


def _check_size(request: DownloadRequest, file: Path) -> None:
    size = file.stat().st_size
    if request.size not in (None, size):
        raise FetchError(
            f"has {size} bytes, wanted are {request.size}",
            where=redact(request.url),
            remedy="correct the size, or the sha256 and the address",
        )


def _right(
    request: DownloadRequest,
    path: Path,
    digest: str,
    origin: Literal["present", "cache", "local", "network"],
) -> Downloaded:
    _check_size(request, path)
    return Downloaded(path=path, sha256=digest, size=path.stat().st_size, origin=origin)
