from __future__ import annotations

from pathlib import Path

import pytest

from packager.errors import InputError
from packager.fetch.mirrors import Mirrors, as_location, check_follow, check_url, local_path, redact


@pytest.mark.parametrize(
    "url",
    [
        "https://github.com/a/b.git",
        "https://example.org:8443/x?token=1#f",
        "HTTPS://EXAMPLE.ORG/x",
        "file:///srv/a%20b",
        "file://localhost/srv/a",
        "http://127.0.0.1:8000/x",
        "http://localhost/x",
        "http://[::1]:8000/x",
    ],
)
def test_urls_that_are_allowed(url: str) -> None:
    check_url(url)


@pytest.mark.parametrize(
    ("url", "why"),
    [
        ("", "not a URL"),
        ("--upload-pack=touch /tmp/x", "not a URL"),
        ("-oProxyCommand=x", "not a URL"),
        ("ssh://git@example.org/a", "login"),
        ("ssh://-oProxyCommand=x/a", "neither"),
        ("git@github.com:a/b.git", "neither"),
        ("git://example.org/a", "neither"),
        ("git+https://example.org/a", "neither"),
        ("ext::sh", "neither"),
        ("ext::sh%20-c%20true", "neither"),
        ("ext::sh -c true", "character"),
        ("data:text/plain,x", "neither"),
        ("ftp://example.org/a", "neither"),
        ("javascript:alert(1)", "neither"),
        ("http://example.org/a", "plain http"),
        ("http://127.0.0.1.example.org/a", "plain http"),
        ("http://localhost.example.org/a", "plain http"),
        ("http://0x7f000001/a", "plain http"),
        ("https://user:geheim@example.org/a", "login"),
        ("https://token@example.org/a", "login"),
        ("https://example.org\\@evil.example/a", "character"),
        ("https://example.org/a\nHost: evil", "character"),
        ("https://example.org/a\x00b", "character"),
        ("https://example.org/\u202egnp", "character"),
        ("https://example.org/a b", "character"),
        ("https://example.org/a/../../b", "climbs"),
        ("https://example.org/a/%2e%2e/b", "climbs"),
        ("https://", "no host"),
        ("https:///path", "no host"),
        ("https://-x.example.org/a", "no host"),
        ("https://example.org:99999/a", "not a URL"),
        ("https://[::1/a", "not a URL"),
        ("https:example.org/a", "neither"),
        ("file://server/share", "no file of this machine"),
        ("file:///", "no file of this machine"),
        ("file:relative", "neither"),
        ("file:///srv/../etc/passwd", "climbs"),
    ],
)
def test_urls_that_are_refused(url: str, why: str) -> None:
    with pytest.raises(InputError, match=why) as caught:
        check_url(url)
    assert caught.value.exit_code == 2
    assert caught.value.remedy
    assert "geheim" not in str(caught.value)
    assert not set(str(caught.value)) & {"\x00", "\u202e"}, "control characters must be shown escaped"


def test_a_message_holds_no_secret() -> None:
    assert redact("https://user:geheim@example.org/a?sig=geheim#geheim") == "https://***@example.org/a?..."
    assert redact("https://example.org/a@b") == "https://example.org/a@b"
    assert redact("ssh://geheim@host") == "ssh://***@host"


def test_the_longest_prefix_wins_whatever_the_order() -> None:
    words = ["https://github.com/=https://one.example.org/", "https://github.com/a/=https://two.example.org/x"]
    for ordered in (words, words[::-1]):
        mirrors = Mirrors.parse(ordered)
        assert mirrors.rewrite("https://github.com/a/b.git") == "https://two.example.org/x/b.git"
        assert mirrors.rewrite("https://github.com/c/b") == "https://one.example.org/c/b"
        assert mirrors.rewrite("https://example.org/c") == "https://example.org/c"


def test_of_two_equal_prefixes_the_first_wins() -> None:
    mirrors = Mirrors.parse(
        ["https://a.example.org=https://b.example.org", "https://a.example.org/=https://c.example.org"]
    )
    assert mirrors.rewrite("https://a.example.org/x") == "https://b.example.org/x"


def test_a_prefix_ends_where_a_name_ends() -> None:
    mirrors = Mirrors.parse(["https://github.com/o/ComfyUI=/srv/comfy"])
    assert mirrors.rewrite("https://github.com/o/ComfyUI") == "/srv/comfy"
    assert mirrors.rewrite("https://github.com/o/ComfyUI.git") == "/srv/comfy"
    assert mirrors.rewrite("https://GitHub.com/o/ComfyUI/raw/x%20y") == "/srv/comfy/raw/x y"
    for other in ("https://github.com/o/ComfyUI-Manager", "https://github.com/O/comfyui"):
        assert mirrors.rewrite(other) == other


def test_a_mirror_may_give_a_refused_address_an_allowed_one() -> None:
    mirrors = Mirrors.parse(["git@github.com:=https://github.com/"])
    assert mirrors.rewrite("git@github.com:a/b.git") == "https://github.com/a/b.git"
    with pytest.raises(InputError):
        mirrors.rewrite("git@gitlab.com:a/b.git")


def test_a_url_may_not_climb_out_of_a_mirrored_folder() -> None:
    mirrors = Mirrors.parse(["https://github.com/=/srv/mirror"])
    for url in ("https://github.com/../../etc", "https://github.com/%2e%2e/etc", "https://github.com/a/..%2f..%2fetc"):
        with pytest.raises(InputError, match="climbs"):
            mirrors.rewrite(url)


@pytest.mark.parametrize(
    "word",
    [
        "",
        "nothing",
        "=x",
        "https://a.example.org=",
        "not a url=/srv",
        "https://a.example.org=http://b.example.org",
        "https://a.example.org=ssh://b.example.org",
        "https://a.example.org=ext::sh",
        "https://a.example.org=git@github.com:x",
        "https://a.example.org=--upload-pack=x",
        "https://a.example.org=https://user:geheim@b.example.org",
    ],
)
def test_mirror_words_that_are_refused(word: str) -> None:
    with pytest.raises(InputError) as caught:
        Mirrors.parse([word])
    assert "geheim" not in str(caught.value)


def test_paths_become_absolute(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    assert as_location("a/b") == str(tmp_path / "a/b")
    assert as_location("~/b") == str(tmp_path / "b")
    assert Mirrors.from_pairs({"https://github.com/": "mirror"}).rewrite("https://github.com/x") == str(
        tmp_path / "mirror/x"
    )
    assert local_path("file:///srv/a%20b") == Path("/srv/a b")
    assert local_path("https://example.org/srv") is None


def test_what_comes_from_afar_may_not_send_us_into_this_machine() -> None:
    afar = "https://example.org/a"
    check_follow(afar, "https://cdn.example.org/b")
    check_follow("http://127.0.0.1:1/a", "http://127.0.0.1:2/b")
    check_follow("/srv/a", "file:///srv/b")
    for child in (
        "file:///etc/passwd",
        "/etc/passwd",
        "http://127.0.0.1/x",
        "https://localhost/x",
        "http://example.org/",
    ):
        with pytest.raises(InputError):
            check_follow(afar, child)
    with pytest.raises(InputError):
        check_follow("http://127.0.0.1:1/a", "file:///etc/passwd")
