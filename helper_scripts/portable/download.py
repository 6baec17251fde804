"""Getting files and answers over https, whole and bounded in size; for pieces of a file see remote_file.py."""

from __future__ import annotations

import hashlib
import http.client
import json
import urllib.error
import urllib.request
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import urlsplit

from portable.errors import HelperError
from portable.web import is_plain, opener

_BLOCK = 1024 * 1024
_TIMEOUT = 60  # seconds without a byte


class _Readable(Protocol):
    def read(self, size: int = ..., /) -> bytes: ...


def save(url: str, place: Path, environ: Mapping[str, str], *, limit: int) -> str:
    """Write what `url` serves to `place`; returns its hex sha256. Raises HelperError, also beyond `limit` bytes."""
    digest, size = hashlib.sha256(), 0
    with _open(url, environ) as response, place.open("wb") as stream:
        while block := _read(url, response, _BLOCK):
            size += len(block)
            if size > limit:
                raise HelperError(f"{url} serves more than {limit / 1e6:.0f} MB: nothing was taken.")
            digest.update(block)
            stream.write(block)
    return digest.hexdigest()


def read(url: str, environ: Mapping[str, str], *, limit: int) -> bytes:
    """What `url` serves. Raises HelperError, also beyond `limit` bytes."""
    with _open(url, environ) as response:
        content = _read(url, response, limit + 1)
    if len(content) > limit:
        raise HelperError(f"{url} answers with more than {limit / 1e6:.0f} MB: that is no answer.")
    return content


def read_json(url: str, environ: Mapping[str, str], *, limit: int) -> dict[str, Any]:
    """The JSON object that `url` serves."""
    try:
        value = json.loads(read(url, environ, limit=limit))
    except ValueError as error:
        raise HelperError(f"{url} does not answer with JSON ({error}).") from error
    if not isinstance(value, dict):
        raise HelperError(f"{url} does not answer with a JSON object.")
    return value


def _open(url: str, environ: Mapping[str, str]) -> Any:
    if not is_plain(url):
        raise HelperError(f"{url} is not an https address.")
    request = urllib.request.Request(url, headers={"User-Agent": "portable", "Accept-Encoding": "identity"})  # noqa: S310 - is_plain
    try:
        return opener(urlsplit(url).hostname or "", environ).open(request, timeout=_TIMEOUT)
    except urllib.error.HTTPError as error:
        hint = " Is the name right, and the repository public?" if error.code in (401, 403, 404) else ""
        raise HelperError(f"{url} answers {error.code} {error.reason}.{hint}") from error
    except (OSError, http.client.HTTPException) as error:
        reason = getattr(error, "reason", None) or error
        raise HelperError(f"{url} cannot be reached ({reason}): is there a network?") from error


def _read(url: str, response: _Readable, size: int) -> bytes:
    try:
        return response.read(size)
    except (OSError, http.client.HTTPException) as error:
        raise HelperError(f"{url} broke off ({error}): try again.") from error
