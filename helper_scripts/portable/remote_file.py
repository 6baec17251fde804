"""A file on a web server, read in pieces (HTTP Range, RFC 9110 section 14), so that of a zip only what is wanted comes.

`zipfile` reads it like any other file: its end, its directory, the members asked for. Nothing here is trusted: what
comes is judged by the caller, by hash.
"""

from __future__ import annotations

import contextlib
import io
import re
import time
import urllib.error
import urllib.request
from collections.abc import Iterable, Mapping
from http.client import HTTPException, HTTPResponse
from pathlib import Path
from urllib.parse import urlsplit

from portable.errors import HelperError
from portable.web import is_allowed, opener, shown

_TAIL = 64 * 1024  # bytes; holds the end records of a zip, and a small directory
_GAP = 64 * 1024  # bytes that are read and dropped rather than asked anew
_TRIES = 4
_TIMEOUT = 60.0  # seconds without a sign of life
_PAUSE = 0.5  # seconds before the second try, doubled for each further one
_RANGE = re.compile(r"bytes (\d+)-(\d+)/(\d+)")


class NoRangesError(HelperError):
    """The server gives the whole file or nothing; `size` is its length in bytes, None if it does not say."""

    def __init__(self, url: str, size: int | None) -> None:
        super().__init__(f"{urlsplit(url).hostname} cannot send parts of {shown(url)}.")
        self.size = size


class RemoteFile(io.RawIOBase):
    """The file at `url`, seekable. `fetched` counts the bytes that came, `requests` the requests.

    Raises NoRangesError if the server does not know ranges, HelperError if it cannot be reached or does not keep to
    them.
    """

    def __init__(self, url: str, environ: Mapping[str, str]) -> None:
        super().__init__()
        if not is_allowed(url):
            raise HelperError(f"{shown(url)} is not an https address.")
        self.url = url
        self.fetched = self.requests = 0
        self._opener = opener((urlsplit(url).hostname or "").lower(), environ)
        self._spans: list[tuple[int, int]] = []
        self._stream: HTTPResponse | None = None
        self._at = self._end = self._position = 0
        self._etag: str | None = None
        self.size = -1
        try:
            self._open(f"bytes=-{_TAIL}", None)
            self._tail_start = self._at
            self._tail = self._read_stream(self._end - self._at)
        except (HTTPException, OSError) as error:
            raise HelperError(f"{urlsplit(url).hostname} does not answer as it should ({error}): try later.") from error

    def expect(self, spans: Iterable[tuple[int, int]]) -> None:
        """What will be read: [start, end) each. Those near each other come with one request."""
        merged: list[tuple[int, int]] = []
        for start, end in sorted(spans):
            if merged and start - merged[-1][1] <= _GAP:
                merged[-1] = (merged[-1][0], max(end, merged[-1][1]))
            else:
                merged.append((start, end))
        self._spans = merged

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._position

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._position, io.SEEK_END: self.size}[whence]
        self._position = max(0, base + offset)
        return self._position

    def readinto(self, buffer: bytearray | memoryview) -> int:  # type: ignore[override]
        data = self.read(len(buffer))
        buffer[: len(data)] = data
        return len(data)

    def read(self, size: int | None = -1) -> bytes:
        """Up to `size` bytes, all that are left for -1; fewer only at the end of the file."""
        left = max(0, self.size - self._position)
        wanted = left if size is None or size < 0 else min(size, left)
        if self._position >= self._tail_start:
            start = self._position - self._tail_start
            data = self._tail[start : start + wanted]
        else:
            data = self._read_at(self._position, wanted)
        self._position += len(data)
        return data

    def close(self) -> None:
        self._drop()
        super().close()

    def _read_at(self, start: int, size: int) -> bytes:
        got = bytearray()
        for attempt in range(_TRIES):
            if attempt:
                time.sleep(_PAUSE * 2 ** (attempt - 1))
            try:
                self._go_to(start + len(got), start + size)
                while len(got) < size:
                    got += self._read_stream(min(size - len(got), self._end - self._at))
                    if len(got) < size:
                        self._go_to(start + len(got), start + size)
                return bytes(got)
            except (HTTPException, OSError) as error:
                self._drop()
                reason = error
        raise HelperError(f"The connection to {urlsplit(self.url).hostname} broke off ({reason}): try again later.")

    def _go_to(self, start: int, end: int) -> None:
        """Have a stream open that goes on at `start`, best the one that is."""
        if self._stream is not None and 0 <= start - self._at <= _GAP and start < self._end:
            self._read_stream(start - self._at)
            return
        end = next((last for first, last in self._spans if first <= start < last), end)
        self._open(f"bytes={start}-{max(end, start + 1) - 1}", start)

    def _open(self, wanted: str, start: int | None) -> None:
        """Ask for a range and look whether that is what comes. `start` None: the end of the file, the first time."""
        self._drop()
        request = urllib.request.Request(self.url, headers={"Range": wanted, "Accept-Encoding": "identity"})  # noqa: S310
        host = urlsplit(self.url).hostname
        try:
            response: HTTPResponse = self._opener.open(request, timeout=_TIMEOUT)
        except urllib.error.HTTPError as error:
            if error.code in (408, 425, 429) or error.code >= 500:
                raise
            raise HelperError(f"{host} answers {error.code} for {shown(self.url)}: look at the address.") from error
        except urllib.error.URLError as error:
            if start is not None:
                raise
            raise HelperError(f"There is no connection to {host} ({error.reason}).") from error
        self.requests += 1
        if response.status != 206:
            length = response.headers.get("Content-Length") or ""
            response.close()
            if start is not None:
                raise HelperError(f"{host} stopped sending parts of {shown(self.url)}: try again, or another source.")
            raise NoRangesError(self.url, int(length) if length.isdigit() else None)
        found = _RANGE.fullmatch((response.headers.get("Content-Range") or "").strip())
        first, last, size = (int(found[1]), int(found[2]), int(found[3])) if found else (-1, -1, -1)
        etag = response.headers.get("ETag")
        changed = start is not None and (size != self.size or etag != self._etag)
        if not found or not first <= last < size or start not in (None, first) or changed:
            response.close()
            what = "has changed it meanwhile" if changed else f"sends other bytes than asked for ({wanted})"
            raise HelperError(
                f"{host} {what}: {shown(self.url)} cannot be used in parts. Try again, or another source."
            )
        self.size, self._etag, self._stream, self._at, self._end = size, etag, response, first, last + 1

    def _read_stream(self, size: int) -> bytes:
        """Exactly `size` bytes of the open stream. Raises ConnectionError if it ends before."""
        if size <= 0:
            return b""
        data = self._stream.read(size) if self._stream else b""
        self._at += len(data)
        self.fetched += len(data)
        if len(data) < size:
            raise ConnectionError("it ended too early")
        return data

    def _drop(self) -> None:
        if self._stream is not None:
            with contextlib.suppress(OSError):
                self._stream.close()
        self._stream, self._at, self._end = None, 0, 0


def fetch_whole(url: str, environ: Mapping[str, str], place: Path) -> None:
    """The whole file at `url` to `place`, for servers that know no ranges. Raises HelperError; OSError of the disk."""
    host = urlsplit(url).hostname or ""
    request = urllib.request.Request(url, headers={"Accept-Encoding": "identity"})  # noqa: S310 - checked by RemoteFile
    with place.open("wb") as stream:
        try:
            with opener(host.lower(), environ).open(request, timeout=_TIMEOUT) as response:
                length, done = response.headers.get("Content-Length"), 0
                while block := response.read(1024 * 1024):
                    stream.write(block)
                    done += len(block)
        except (urllib.error.URLError, HTTPException, ConnectionError, TimeoutError) as error:
            raise HelperError(f"{shown(url)} cannot be fetched: {error}") from error
    if length is not None and int(length) != done:
        raise HelperError(f"The connection to {host} ended after {done} of {length} bytes: try again.")
