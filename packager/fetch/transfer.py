"""One file over HTTP into a part of the cache, through everything a server can do wrong (RFC 9110)."""

from __future__ import annotations

import hashlib
import random
import re
import threading
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from typing import TYPE_CHECKING

import requests

from packager.errors import MismatchError
from packager.fetch import parallel
from packager.fetch.cache import Remembered, check_room, disk_errors
from packager.fetch.connection import Connection, RetryLater
from packager.fetch.part import Part

if TYPE_CHECKING:
    from hashlib import _Hash as Hash

_PROGRESS = 1024 * 1024  # bytes; a try that brings this much further does not count as failed
_WEB_PAGE = re.compile(rb"\s*(<\?xml[^>]*>\s*)?(<!--.*?-->\s*)*<(!doctype html|html|head|body)\b", re.I | re.S)


@dataclass(frozen=True, kw_only=True)
class Patience:
    """How long to bear with a server. `tries` in a row without progress; the others in seconds: `read` between two
    blocks, `backoff` before the second try, doubled for each further one up to `longest`, which caps Retry-After too.
    """

    tries: int = 5
    connect: float = 20.0
    read: float = 60.0
    backoff: float = 0.5
    longest: float = 120.0

    def delay(self, failed: int, asked: float | None) -> float:
        """Seconds to wait after `failed` tries: what the server asked for, else the backoff with jitter."""
        if asked is not None:
            return min(asked, self.longest)
        return float(min(self.backoff * 2 ** (failed - 1), self.longest)) * random.uniform(0.75, 1.25)  # noqa: S311


PATIENCE = Patience()


@dataclass(frozen=True, kw_only=True)
class Received:
    """The part is whole: its hash and size, and the validators of the answer."""

    sha256: str
    size: int
    etag: str | None
    last_modified: str | None


class _WrongBytes(Exception):  # noqa: N818 - decides, is never shown
    """Not what was wanted: worth one new start from the first byte, not more."""


class Transfer:
    """Fills `part` from `connection`. `sha256` and `size` are what must come, if known; `known` is what the cache holds
    of the same location. `at` is told (bytes so far, bytes in all or None)."""

    def __init__(
        self,
        part: Part,
        connection: Connection,
        *,
        sha256: str | None,
        size: int | None,
        known: Remembered | None,
        patience: Patience,
        at: Callable[[int, int | None], None],
        cancel: threading.Event,
    ) -> None:
        self._part = part
        self._connection = connection
        self._sha256 = sha256
        self._size = size
        self._known = known
        self._patience = patience
        self._at = at
        self._cancel = cancel

    def run(self) -> Received | None:
        """Try until the part is whole. None: the server says that what the cache holds is still right.

        Raises FetchError, and Cancelled if told to stop.
        """
        failed, wrong, furthest = 0, 0, self._part.size()
        while True:
            parallel.check(self._cancel)
            try:
                return self._try()
            except _WrongBytes as error:
                self._part.drop()
                wrong += 1
                if wrong == 2:
                    failure = self._connection.failure(
                        str(error), remedy="correct the address, or sha256 and size if the file was replaced on purpose"
                    )
                    raise MismatchError(failure.what, where=failure.where, remedy=failure.remedy) from error
            except RetryLater as error:
                if self._part.size() >= furthest + _PROGRESS:
                    failed, furthest = 0, self._part.size()
                failed += 1
                if failed >= self._patience.tries:
                    raise self._connection.failure(f"{error} (tried {failed} times)") from error
                self._cancel.wait(self._patience.delay(failed, error.after))

    def _try(self) -> Received | None:
        digest, offset = self._resume()
        if offset and digest.hexdigest() == self._sha256:
            return self._check(digest, offset, None)  # a run was killed between the last byte and the rename
        question = self._question(offset)
        with closing(self._connection.get(question)) as response:
            if response.status_code == 304:
                if question.keys() & {"If-None-Match", "If-Modified-Since"}:
                    return None
                raise self._connection.failure("the server answers 'not modified' to a plain request")
            if response.status_code == 416:
                self._part.drop()
                raise RetryLater("the server can't go on from where the last try stopped (416)", after=0)
            if response.status_code == 206:
                total = self._judge_piece(response, offset)
            else:
                digest, offset = hashlib.sha256(), 0
                total = _length(response)
                self._part.begin(response.headers.get("ETag"))
            self._judge(response, total)
            size = self._receive(response, digest, offset, total)
            return self._check(digest, size, response)

    def _resume(self) -> tuple[Hash, int]:
        """Take up what is there. Without a known hash it must be from this location and have a strong ETag."""
        size = self._part.size()
        if self._sha256 is None and self._part.etag() is None:
            self._part.drop()
            size = 0
        self._at(size, self._size)
        return self._part.digest(), size

    def _question(self, offset: int) -> dict[str, str]:
        headers = {"Accept-Encoding": "identity"}
        if offset:
            headers["Range"] = f"bytes={offset}-"
            if etag := self._part.etag():
                headers["If-Range"] = etag
        elif self._known and self._known.etag:
            headers["If-None-Match"] = self._known.etag
        elif self._known and self._known.last_modified:
            headers["If-Modified-Since"] = self._known.last_modified
        return headers

    def _judge_piece(self, response: requests.Response, offset: int) -> int | None:
        """Size of the whole file by a 206 answer. Raises RetryLater if it is not the piece that was asked for."""
        found = re.fullmatch(r"bytes (\d+)-\d+/(\d+|\*)", response.headers.get("Content-Range", ""), re.ASCII)
        etag, known = response.headers.get("ETag"), self._part.etag()
        if not offset or not found or int(found[1]) != offset or (etag and known and etag != known):
            self._part.drop()
            raise RetryLater("the server sent another piece than the one asked for", after=0)
        length = _length(response)
        return int(found[2]) if found[2] != "*" else length and offset + length

    def _judge(self, response: requests.Response, total: int | None) -> None:
        """Refuse what can't become the wanted file, before its bytes are fetched."""
        if response.headers.get("Content-Encoding", "identity") != "identity" and self._sha256 is None:
            raise self._connection.failure(
                "the server packed the file for the way, and no sha256 is known to judge it by"
            )
        if total is not None and self._size not in (None, total):
            head = next(self._connection.blocks(response), b"")
            raise _WrongBytes(self._describe(head, f"the server offers {total} bytes"))

    def _receive(self, response: requests.Response, digest: Hash, offset: int, total: int | None) -> int:
        """Append the body to the part; returns the bytes the part has then."""
        needed = total if total is not None else self._size
        if needed is not None:
            check_room(self._part.path.parent, needed - offset)
        self._at(offset, needed)
        with disk_errors(self._part.path.parent, needed), self._part.path.open("ab") as stream:
            for block in self._connection.blocks(response):
                parallel.check(self._cancel)
                stream.write(block)
                digest.update(block)
                offset += len(block)
                self._at(offset, needed)
                if self._size is not None and offset > self._size:
                    break
        # A chunked body has an end of its own; without one the end of the connection may be anything.
        promised = total if "Transfer-Encoding" in response.headers else needed
        if promised is not None and offset < promised:
            raise RetryLater(f"the connection ended after {offset} of {promised} bytes")
        return offset

    def _check(self, digest: Hash, size: int, response: requests.Response | None) -> Received:
        found = digest.hexdigest()
        if self._size not in (None, size):
            came = f"{size} bytes came" if size < (self._size or 0) else "more bytes came"
            raise _WrongBytes(self._describe(self._part.head(), came))
        if self._sha256 not in (None, found):
            raise _WrongBytes(self._describe(self._part.head(), f"what came has the sha256 {found}"))
        headers = response.headers if response is not None else {}
        return Received(sha256=found, size=size, etag=headers.get("ETag"), last_modified=headers.get("Last-Modified"))

    def _describe(self, head: bytes, came: str) -> str:
        page = "the server answered a web page: " if _WEB_PAGE.match(head) else ""
        wanted = [f"{self._size} bytes"] if self._size is not None else []
        wanted += [f"the sha256 {self._sha256}"] if self._sha256 is not None else []
        return f"{page}{came}, wanted are {' and '.join(wanted)}"


def _length(response: requests.Response) -> int | None:
    value = response.headers.get("Content-Length", "")
    return int(value) if re.fullmatch(r"\d{1,18}", value, re.ASCII) else None
