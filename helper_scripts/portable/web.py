"""Fetching over http: what is allowed, the user's proxies, the bundle's certificates, and addresses without secrets."""

from __future__ import annotations

import ssl
import urllib.request
from collections.abc import Mapping
from http.client import HTTPMessage
from typing import IO
from urllib.parse import urlsplit

from portable.errors import HelperError

_LOOPBACK = ("127.0.0.1", "localhost", "::1")


def is_allowed(url: str) -> bool:
    """https, or http within this machine."""
    parts = urlsplit(url)
    return bool(parts.hostname) and (
        parts.scheme == "https" or (parts.scheme == "http" and (parts.hostname or "").lower() in _LOOPBACK)
    )


def shown(url: str) -> str:
    """Without login and query, where secrets are."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"


def opener(host: str, environ: Mapping[str, str]) -> urllib.request.OpenerDirector:
    """Respects the user's proxies (https_proxy, no_proxy), but for this machine itself, and SSL_CERT_FILE."""
    proxies = [urllib.request.ProxyHandler({})] if host in _LOOPBACK else []
    secure = urllib.request.HTTPSHandler(context=ssl.create_default_context(cafile=environ.get("SSL_CERT_FILE")))
    return urllib.request.build_opener(_Redirects, secure, *proxies)


class _Redirects(urllib.request.HTTPRedirectHandler):
    """Follows to https alone, or within this machine. The token goes along to its own host and no other."""

    def redirect_request(
        self, req: urllib.request.Request, fp: IO[bytes], code: int, msg: str, headers: HTTPMessage, newurl: str
    ) -> urllib.request.Request | None:
        old, new = urlsplit(req.full_url), urlsplit(newurl)
        if new.scheme != "https" and not (
            new.scheme == "http" and old.hostname in _LOOPBACK and new.hostname in _LOOPBACK
        ):
            raise HelperError(f"{old.hostname} sends us to {shown(newurl)}, which is not https.")
        request = super().redirect_request(req, fp, code, msg, headers, newurl)
        login = req.unredirected_hdrs.get("Authorization")
        if request and login and (old.scheme, old.netloc) == (new.scheme, new.netloc):
            request.add_unredirected_header("Authorization", login)
        return request
