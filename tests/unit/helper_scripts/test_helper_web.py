"""Which addresses helpers go to, and where a server may send them on."""

from __future__ import annotations

from pathlib import Path

import pytest
from fake_forge import Forge
from portable import download
from portable.errors import HelperError
from portable.remote_file import RemoteFile
from portable.web import is_allowed, is_plain, shown

_NO_ADDRESSES = (
    "",
    "https://",
    "https://[::1",
    "https://a:99999/x",
    "https://a:x/",
    "http://example.org/",
    "ftp://a/b",
)


@pytest.mark.parametrize("url", _NO_ADDRESSES)
def test_what_is_no_https_address_is_not_allowed(url: str) -> None:
    assert not is_allowed(url)
    assert not is_plain(url)
    shown(url)  # an error text is made of it
    with pytest.raises(HelperError, match="not an https address"):
        RemoteFile(url, {})


@pytest.mark.parametrize(
    "url", ["https://a:b@example.org/x", "https://a@b/", "https://a/b c", "https://a/\\b", "https://ä/"]
)
def test_an_address_that_is_written_down_is_plain(url: str) -> None:
    assert not is_plain(url)


def test_https_and_this_machine_are_allowed() -> None:
    for url in ("https://example.org:8443/a?b=c", "http://127.0.0.1:1/", "http://localhost/a", "http://[::1]:80/"):
        assert is_allowed(url)
        assert is_plain(url)
    assert shown("https://me:secret@example.org/a?token=secret") == "https://example.org/a"


@pytest.mark.parametrize(
    "address", ["https://[x", "https://a:99999/", "http://example.org/x", "https://a:b@example.org/x"]
)
def test_nobody_is_sent_astray(tmp_path: Path, address: str) -> None:
    forge = Forge(tmp_path)
    forge.redirects["/x"] = address
    with forge.serving() as env:
        with pytest.raises(HelperError, match="not an https address"):
            download.read(f"{forge.url}/x", env, limit=9)
        with pytest.raises(HelperError, match="not an https address"):
            RemoteFile(f"{forge.url}/x", env)
