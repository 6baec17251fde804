"""Fetching over http: what is allowed, the user's proxies, the bundle's certificates, and addresses without secrets."""

from __future__ import annotations

import re
import ssl
import urllib.request
from collections.abc import Mapping
from http.client import HTTPMessage
from typing import IO, Any
from urllib.parse import urlsplit

from portable.errors import HelperError

_HOST = re.compile(r"[a-z0-9](?:[a-z0-9.-]*[a-z0-9])?|[0-9a-f:.]+")
_LOOPBACK = ("127.0.0.1", "localhost", "::1")


def is_allowed(url: str) -> bool:
    """https, or http within this machine."""
    try:
        parts = urlsplit(url)
        host, _ = parts.hostname or "", parts.port  # a port that is none raises too
    except ValueError:
        return False
    return bool(host) and (parts.scheme == "https" or (parts.scheme == "http" and host in _LOOPBACK))


def is_plain(url: str) -> bool:
    """Whether `url` is allowed and may also be written down and given to programs: no login, nothing that hides."""
    if not is_allowed(url) or not url.isprintable() or not url.isascii() or " " in url or "\\" in url:
        return False
    parts = urlsplit(url)
    return not (parts.username or parts.password) and bool(_HOST.fullmatch(parts.hostname or ""))


def shown(url: str) -> str:
    """Without login and query, where secrets are."""
    try:
        parts = urlsplit(url)
    except ValueError:
        return f"{url.partition('://')[0]}://..."
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"


def opener(host: str, environ: Mapping[str, str]) -> urllib.request.OpenerDirector:
    """Respects the user's proxies (https_proxy, no_proxy), but for this machine itself, and SSL_CERT_FILE."""
    proxies = [urllib.request.ProxyHandler({})] if host in _LOOPBACK else []
    secure = urllib.request.HTTPSHandler(
        context=ssl.create_default_context(cafile=environ.get("SSL_CERT_FILE") or None)
    )
    return urllib.request.build_opener(_Redirects, secure, *proxies)


class _Redirects(urllib.request.HTTPRedirectHandler):
    """Follows to https alone, or within this machine. The token goes along to its own host and no other."""

    def http_error_302(
        self, req: urllib.request.Request, fp: IO[bytes], code: int, msg: str, headers: HTTPMessage
    ) -> Any:
        try:
            return super().http_error_302(req, fp, code, msg, headers)
        except ValueError as error:
            raise HelperError(f"{req.host} sends us to something that is not an https address ({error}).") from error

    http_error_301 = http_error_303 = http_error_307 = http_error_308 = http_error_302

    def redirect_request(
        self, req: urllib.request.Request, fp: IO[bytes], code: int, msg: str, headers: HTTPMessage, newurl: str
    ) -> urllib.request.Request | None:
        old, new = urlsplit(req.full_url), urlsplit(newurl)
        if not is_allowed(newurl) or (new.scheme == "http" and old.hostname not in _LOOPBACK) or "@" in new.netloc:
            raise HelperError(
                f"{old.hostname} sends us to {shown(newurl)}, which is not an https address without a login."
            )
        request = super().redirect_request(req, fp, code, msg, headers, newurl)
        login = req.unredirected_hdrs.get("Authorization")
        if request and login and (old.scheme, old.netloc) == (new.scheme, new.netloc):
            request.add_unredirected_header("Authorization", login)
        return request
