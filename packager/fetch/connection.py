"""One HTTP request: redirects to allowed places alone, a verdict on each failure, and no secret in any message."""

from __future__ import annotations

import email.utils
import re
import time
from collections.abc import Iterator, Mapping
from urllib.parse import urljoin, urlsplit

import requests
import urllib3

from packager.errors import FetchError, InputError
from packager.fetch.mirrors import check_follow, is_loopback, redact, ways_out

_BLOCK = 16 * 1024  # what a stall may cost: a block is handed over when it is full
_MAX_REDIRECTS = 10
_REASONS = {401: "a login is needed", 403: "access is forbidden", 404: "no such file", 410: "the file is gone"}
_WORTH_RETRYING = {408, 425, 429}  # and every 5xx


class RetryLater(Exception):  # noqa: N818 - decides, is never shown
    """Another try may help. `after`: seconds the server asked for, None if it did not."""

    def __init__(self, reason: str, *, after: float | None = None) -> None:
        super().__init__(reason)
        self.after = after


class _Session(requests.Session):
    """Follows no redirect, nor reads its body: requests does that to prepare the next request even if told not to."""

    def get_redirect_target(self, resp: requests.Response) -> None:  # noqa: ARG002 - requests calls it by name
        return None


class Connection:
    """Talks to the host of `location`. `connect` and `read` are seconds without a sign of life."""

    def __init__(self, location: str, *, headers: Mapping[str, str], connect: float, read: float) -> None:
        self._location = location
        self._headers = dict(headers)
        self._timeout = (connect, read)
        self._session = _Session()

    def close(self) -> None:
        self._session.close()

    def get(self, headers: Mapping[str, str]) -> requests.Response:
        """Ask with `headers` beside the ones given at the start; the body is still to be read.

        Returns answers 200, 206, 304 and 416. Raises RetryLater, or FetchError where another try is of no use.
        """
        url, own = self._location, self._headers
        for _ in range(_MAX_REDIRECTS):
            response = self._send(url, {**own, **headers})
            target = requests.Session.get_redirect_target(self._session, response)
            if target is None:
                return self._check_status(response)
            response.close()
            try:
                target = urljoin(url, target)
                check_follow(url, target)
            except InputError as error:
                raise self.failure(f"the server redirects to {redact(target)}; {error.what}") from error
            except ValueError as error:
                raise self.failure(f"the server redirects to {redact(target)}, which is no URL") from error
            if urlsplit(target)[:2] != urlsplit(url)[:2]:
                own = {}  # what lets us in at one host is no other host's business
            url = target
        raise self.failure(f"more than {_MAX_REDIRECTS} redirects")

    def blocks(self, response: requests.Response) -> Iterator[bytes]:
        """The body as it came over the wire. Raises RetryLater if it breaks off."""
        try:
            yield from response.raw.stream(_BLOCK, decode_content=False)
        except urllib3.exceptions.ReadTimeoutError as error:
            raise RetryLater(f"the server sent nothing for {self._timeout[1]:g} seconds") from error
        except urllib3.exceptions.HTTPError as error:
            raise RetryLater("the connection broke before the end of the file") from error

    def failure(self, why: str, *, remedy: str | None = None) -> FetchError:
        """The error that says so of this location."""
        return FetchError(why, where=redact(self._location), remedy=remedy or ways_out(self._location))

    def _send(self, url: str, headers: Mapping[str, str]) -> requests.Response:
        has_login = any(name.lower() == "authorization" for name in headers)
        try:
            return self._session.get(
                url,
                headers=dict(headers),
                stream=True,
                allow_redirects=False,
                timeout=self._timeout,
                auth=(lambda prepared: prepared) if has_login else None,  # else ~/.netrc would replace the header
                proxies={"http": "", "https": ""} if is_loopback(url) else None,
            )
        except requests.exceptions.SSLError as error:
            raise self.failure(f"no secure connection: {_reason(error)}") from error
        except requests.Timeout as error:
            raise RetryLater("the server does not answer in time") from error
        except requests.ConnectionError as error:
            raise RetryLater(f"no connection: {_reason(error)}") from error
        except (requests.RequestException, UnicodeError) as error:
            raise self.failure(f"no such request can be made ({type(error).__name__})") from error

    def _check_status(self, response: requests.Response) -> requests.Response:
        status = response.status_code
        if status in (200, 206, 304, 416):
            return response
        response.close()
        said = f"the server answers {status}"
        if status in _WORTH_RETRYING or status >= 500:
            raise RetryLater(said, after=_retry_after(response.headers.get("Retry-After", "")))
        raise self.failure(f"{said}: {_REASONS[status]}" if status in _REASONS else said)


def _retry_after(value: str) -> float | None:
    """Retry-After in seconds from now: a number or a date (RFC 9110, 10.2.3)."""
    if re.fullmatch(r"\d{1,9}", value, re.ASCII):
        return float(value)
    try:
        return max(0.0, email.utils.parsedate_to_datetime(value).timestamp() - time.time())
    except ValueError:
        return None


def _reason(error: BaseException) -> str:
    """What the operating system said; the library's own text would repeat the URL, query and all."""
    pending: list[object] = [error]
    seen: set[int] = set()
    while pending:
        item = pending.pop()
        if not isinstance(item, BaseException) or id(item) in seen:
            continue
        seen.add(id(item))
        if isinstance(item, OSError) and item.strerror:
            return str(item.strerror)
        pending += [item.__cause__, item.__context__, getattr(item, "reason", None), *item.args]
    return type(error).__name__
