from __future__ import annotations

import hashlib
import io
import os
import random
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest
from fetch_servers import Server, breaking, chunked, ranged, reply, stalling, whole

from packager.console import Console
from packager.errors import FetchError, InputError
from packager.fetch.cache import Cache
from packager.fetch.download import Downloaded, DownloadRequest, download, download_all
from packager.fetch.mirrors import Mirrors
from packager.fetch.transfer import Patience

BODY = random.Random(0).randbytes(300_000)
SHA = hashlib.sha256(BODY).hexdigest()
PAGE = b"\n<!-- x --><!DOCTYPE html><html><title>Sign in</title></html>"


class Fetcher:
    def __init__(self, cache: Cache, console: Console, patience: Patience, folder: Path) -> None:
        self.cache, self.console, self.patience, self.folder = cache, console, patience, folder
        self.path = folder / "file.bin"

    def __call__(
        self, url: str, *, mirrors: Mirrors | None = None, offline: bool = False, to: Path | None = None, **wanted: Any
    ) -> Downloaded:
        return download(
            DownloadRequest(url=url, **wanted),
            to or self.path,
            cache=self.cache,
            mirrors=mirrors or Mirrors(),
            console=self.console,
            offline=offline,
            patience=self.patience,
        )

    def left(self) -> list[str]:
        """What lies in the destination's folder."""
        return sorted(path.name for path in self.folder.iterdir()) if self.folder.exists() else []


@pytest.fixture
def fetch(cache: Cache, console: Console, hasty: Patience, tmp_path: Path) -> Fetcher:
    return Fetcher(cache, console, hasty, tmp_path / "out")


def test_a_download_lands_whole_and_is_not_fetched_again(server: Server, fetch: Fetcher, tmp_path: Path) -> None:
    url = server.on("/file.bin", whole(BODY))
    done = fetch(url, sha256=SHA.upper(), size=len(BODY))
    assert (done.path, done.sha256, done.size, done.origin) == (fetch.path, SHA, len(BODY), "network")
    assert fetch.path.read_bytes() == BODY
    assert fetch.left() == ["file.bin"]
    assert fetch(url, sha256=SHA).origin == "present"
    assert fetch(url, sha256=SHA, to=tmp_path / "other").origin == "cache"
    fetch.path.write_bytes(b"changed")
    assert fetch(url, sha256=SHA).origin == "cache"
    assert fetch.path.read_bytes() == BODY
    assert len(server.asked) == 1
    assert fetch.cache.info().kinds["parts"].count == 0


def test_a_damaged_blob_is_fetched_anew(server: Server, fetch: Fetcher, tmp_path: Path) -> None:
    url = server.on("/file.bin", whole(BODY, ETag='"1"'))
    fetch(url, sha256=SHA)
    fetch.cache.blob_path(SHA).write_bytes(BODY[:-1] + b"?")
    assert fetch(url, sha256=SHA, to=tmp_path / "a").origin == "network"
    fetch.cache.blob_path(SHA).write_bytes(b"")
    assert fetch(url, to=tmp_path / "b").origin == "network"  # the hash is only remembered
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes() == BODY


def test_without_a_hash_the_server_is_asked_whether_it_is_current(server: Server, fetch: Fetcher) -> None:
    url = server.on(
        "/x",
        whole(BODY, ETag='"1"'),
        reply(304),
        whole(b"new", Last_Modified="Tue, 14 Nov 2023 22:13:20 GMT"),
        reply(304),
    )
    assert fetch(url).sha256 == SHA
    assert fetch(url).origin == "cache"
    assert fetch(url).sha256 == hashlib.sha256(b"new").hexdigest()
    assert fetch(url).origin == "cache"
    headers = [headers for _, headers in server.asked]
    assert headers[1]["if-none-match"] == headers[2]["if-none-match"] == '"1"'
    assert headers[3]["if-modified-since"] == "Tue, 14 Nov 2023 22:13:20 GMT"
    assert fetch.path.read_bytes() == b"new"


def test_a_304_to_a_plain_question_is_an_error(server: Server, fetch: Fetcher) -> None:
    with pytest.raises(FetchError, match="not modified"):
        fetch(server.on("/x", reply(304)))


def test_offline_takes_what_is_known_and_asks_nobody(server: Server, fetch: Fetcher, tmp_path: Path) -> None:
    url = server.on("/x", whole(BODY))
    with pytest.raises(FetchError, match="--offline"):
        fetch(url, offline=True)
    fetch(url)
    assert fetch(url, offline=True, to=tmp_path / "a").origin == "cache"
    assert fetch("https://example.invalid/any", sha256=SHA, offline=True, to=tmp_path / "b").origin == "cache"
    assert len(server.asked) == 1


# Resuming


def test_a_broken_download_goes_on_where_it_stopped(server: Server, fetch: Fetcher) -> None:
    url = server.on("/x", breaking(BODY, 100_000, ETag='"1"'), ranged(BODY, etag='"1"'))
    assert fetch(url).sha256 == SHA
    assert server.ranges() == [None, "bytes=100000-"]
    assert server.asked[1][1]["if-range"] == '"1"'


def test_without_an_etag_the_hash_allows_to_go_on(server: Server, fetch: Fetcher) -> None:
    assert fetch(server.on("/x", breaking(BODY, 100_000), ranged(BODY)), sha256=SHA).sha256 == SHA
    assert server.ranges() == [None, "bytes=100000-"]


def test_the_hash_allows_to_go_on_at_another_place(server: Server, fetch: Fetcher) -> None:
    """The ETag of the first place says nothing of the second."""
    with pytest.raises(FetchError):
        fetch(server.on("/a", breaking(BODY, 100_000, ETag='"1"')), sha256=SHA)
    del server.asked[:]
    fetch(server.on("/b", ranged(BODY, etag='"2"')), sha256=SHA)
    assert server.ranges() == ["bytes=100000-"]
    assert "if-range" not in server.asked[0][1]


def test_without_etag_and_hash_it_starts_anew(server: Server, fetch: Fetcher) -> None:
    weak = {"ETag": 'W/"1"'}  # promises nothing about bytes
    url = server.on("/x", breaking(BODY, 100_000), breaking(BODY, 90_000, **weak), ranged(BODY))
    assert fetch(url).sha256 == SHA
    assert server.ranges() == [None, None, None]


def test_a_server_that_ignores_the_range_is_taken_from_the_start(server: Server, fetch: Fetcher) -> None:
    url = server.on("/x", breaking(BODY, 100_000, ETag='"1"'), whole(BODY, ETag='"1"'))
    assert fetch(url).sha256 == SHA
    assert server.ranges() == [None, "bytes=100000-"]


def test_an_etag_that_changes_midway_starts_anew(server: Server, fetch: Fetcher) -> None:
    new = BODY[::-1]
    url = server.on("/x", breaking(BODY, 100_000, ETag='"1"'), ranged(new, etag='"2"'))
    fetch(url)
    assert fetch.path.read_bytes() == new


def test_a_206_of_another_version_or_place_is_dropped(server: Server, fetch: Fetcher) -> None:
    """Two lies: a piece of the new version in spite of If-Range, and a piece from another offset."""
    lie = reply(206, BODY[100_000:], Content_Range=f"bytes 100000-{len(BODY) - 1}/{len(BODY)}", ETag='"2"')
    shifted = reply(206, BODY[:10], Content_Range=f"bytes 0-9/{len(BODY)}")
    fetch.patience = Patience(tries=5, backoff=0.01)
    url = server.on(
        "/x", breaking(BODY, 100_000, ETag='"1"'), lie, breaking(BODY, 50_000, ETag='"2"'), shifted, whole(BODY)
    )
    fetch(url)
    assert fetch.path.read_bytes() == BODY
    assert server.ranges() == [None, "bytes=100000-", None, "bytes=50000-", None]


def test_416_drops_the_part_and_starts_anew(server: Server, fetch: Fetcher) -> None:
    url = server.on("/x", breaking(BODY, 100_000, ETag='"1"'), reply(416), whole(BODY))
    assert fetch(url).sha256 == SHA
    assert server.ranges() == [None, "bytes=100000-", None]


def test_a_part_that_was_whole_when_the_run_was_killed_is_taken_without_asking(cache: Cache, fetch: Fetcher) -> None:
    cache.part_path(SHA).parent.mkdir(parents=True)
    cache.part_path(SHA).write_bytes(BODY)
    assert fetch("http://127.0.0.1:1/x", sha256=SHA).sha256 == SHA


@pytest.mark.parametrize("rubbish", [b"?" * 100_000, b"?" * 400_000], ids=["shorter", "longer"])
def test_rubbish_in_the_part_costs_a_new_start(server: Server, cache: Cache, fetch: Fetcher, rubbish: bytes) -> None:
    cache.part_path(SHA).parent.mkdir(parents=True)
    cache.part_path(SHA).write_bytes(rubbish)
    assert fetch(server.on("/x", ranged(BODY)), sha256=SHA).sha256 == SHA
    assert fetch.path.read_bytes() == BODY


def test_a_server_that_breaks_off_often_but_gets_further_is_borne_with(server: Server, fetch: Fetcher) -> None:
    body = random.Random(1).randbytes(6 * 1024 * 1024 + 5)
    steps = [breaking(body, 1_100_000, ETag='"1"')]

    def step(start: int) -> Any:
        piece = body[start : start + 1_100_000]
        total = len(body)
        return breaking_piece(piece, start, total)

    def breaking_piece(piece: bytes, start: int, total: int) -> Any:
        def answer(handler: Any) -> None:
            length = {"Content_Length": str(total - start), "Content_Range": f"bytes {start}-{total - 1}/{total}"}
            reply(206, piece, ETag='"1"', **length)(handler)
            handler.close_connection = True
            handler.connection.shutdown(socket.SHUT_RDWR)

        return answer

    steps += [step(start) for start in range(1_100_000, len(body), 1_100_000)]
    assert len(steps) > fetch.patience.tries
    fetch(server.on("/x", *steps))
    assert fetch.path.read_bytes() == body


# Servers that misbehave


@pytest.mark.parametrize(
    ("status", "count"), [(404, 1), (403, 1), (401, 1), (410, 1), (400, 1), (500, 3), (503, 3), (429, 3), (408, 3)]
)
def test_only_what_is_worth_it_is_tried_again(server: Server, fetch: Fetcher, status: int, count: int) -> None:
    with pytest.raises(FetchError, match=str(status)) as caught:
        fetch(server.on("/x", reply(status, b"no")))
    assert len(server.asked) == count
    assert caught.value.exit_code == 3
    for way in ("--mirror", "--source", "--offline"):
        assert way in str(caught.value)
    assert fetch.left() == []


def test_500_then_ok(server: Server, fetch: Fetcher) -> None:
    assert fetch(server.on("/x", reply(500), reply(502), whole(BODY))).sha256 == SHA


def test_retry_after_is_heard_but_not_without_limit(server: Server, fetch: Fetcher) -> None:
    fetch.patience = Patience(tries=4, backoff=60, longest=0.2)
    date = time.strftime("%a, %d %b %Y %H:%M:%S GMT", time.gmtime(time.time() + 3600))
    start = time.monotonic()
    fetch(
        server.on(
            "/x", reply(429, Retry_After="0"), reply(503, Retry_After=date), reply(429, Retry_After="0"), whole(BODY)
        )
    )
    assert 0.2 <= time.monotonic() - start < 30


def test_retry_after_that_is_rubbish_is_ignored(server: Server, fetch: Fetcher) -> None:
    assert (
        fetch(server.on("/x", reply(429, Retry_After="soon"), reply(429, Retry_After="-5"), whole(BODY))).sha256 == SHA
    )


def test_a_stall_is_noticed_and_the_download_goes_on(server: Server, fetch: Fetcher) -> None:
    url = server.on("/x", stalling(BODY, 100_000, server.closing, ETag='"1"'), ranged(BODY, etag='"1"'))
    assert fetch(url).sha256 == SHA
    _, rest = server.ranges()
    assert rest is not None
    assert 80_000 < int(rest.removeprefix("bytes=").rstrip("-")) <= 100_000


def test_a_server_that_only_stalls_is_given_up(server: Server, fetch: Fetcher) -> None:
    fetch.patience = Patience(tries=2, read=0.2, backoff=0.01)
    with pytest.raises(FetchError, match=r"sent nothing for 0\.2 seconds \(tried 2 times\)"):
        fetch(server.on("/x", stalling(BODY, 5, server.closing)))


def test_a_server_that_always_truncates_is_given_up(server: Server, fetch: Fetcher) -> None:
    with pytest.raises(FetchError, match=r"tried 3 times"):
        fetch(server.on("/x", breaking(BODY, 1000)))
    assert len(server.asked) == 3
    assert fetch.left() == []


def test_a_body_without_a_length_that_breaks_off_is_noticed(server: Server, fetch: Fetcher) -> None:
    """HTTP/1.0 style: the end of the connection is the end of the body."""

    def cut(handler: Any) -> None:
        handler.send_response(200)
        handler.send_header("Connection", "close")
        handler.end_headers()
        handler.wfile.write(BODY[:1000])

    assert fetch(server.on("/x", cut, ranged(BODY)), size=len(BODY), sha256=SHA).sha256 == SHA
    assert server.ranges() == [None, "bytes=1000-"]


def test_a_server_that_promises_less_than_it_has_is_found_by_the_hash(server: Server, fetch: Fetcher) -> None:
    with pytest.raises(FetchError, match=f"wanted are the sha256 {SHA}") as caught:
        fetch(server.on("/x", reply(200, BODY, Content_Length="1000")), sha256=SHA)
    assert len(server.asked) == 2, "wrong bytes are worth one new start"
    assert "sha256" in (caught.value.remedy or "")
    assert fetch.left() == []


def test_a_length_other_than_the_wanted_one_is_refused_before_it_is_fetched(server: Server, fetch: Fetcher) -> None:
    with pytest.raises(FetchError, match=r"offers 300000 bytes, wanted are 5 bytes"):
        fetch(server.on("/x", whole(BODY)), size=5)


def test_more_bytes_than_wanted_are_not_taken(server: Server, fetch: Fetcher) -> None:
    with pytest.raises(FetchError, match="more bytes came, wanted are 5 bytes"):
        fetch(server.on("/x", chunked(BODY)), size=5)


@pytest.mark.parametrize("wanted", [{"sha256": SHA}, {"size": len(BODY)}])
@pytest.mark.parametrize("how", [whole, chunked])
def test_a_web_page_is_called_one(server: Server, fetch: Fetcher, wanted: dict[str, Any], how: Any) -> None:
    with pytest.raises(FetchError, match="the server answered a web page"):
        fetch(server.on("/x", how(PAGE)), **wanted)


def test_a_web_page_is_welcome_where_nothing_else_is_wanted(server: Server, fetch: Fetcher) -> None:
    assert fetch(server.on("/x", whole(PAGE))).size == len(PAGE)


def test_bytes_packed_for_the_way_are_kept_as_they_came_or_refused(server: Server, fetch: Fetcher) -> None:
    url = server.on("/x.gz", whole(BODY, Content_Encoding="gzip"))
    assert fetch(url, sha256=SHA).size == len(BODY)
    with pytest.raises(FetchError, match="no sha256 is known"):
        fetch(url)
    assert server.asked[0][1]["accept-encoding"] == "identity"


def test_an_empty_file_is_a_file(server: Server, fetch: Fetcher) -> None:
    assert fetch(server.on("/x", whole(b""))).size == 0
    assert fetch.path.read_bytes() == b""


def test_a_host_that_refuses_the_connection(fetch: Fetcher) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        with pytest.raises(FetchError, match=r"Connection refused \(tried 3 times\)"):
            fetch(f"http://127.0.0.1:{free.getsockname()[1]}/x")


# Redirects


def test_redirects_are_followed_and_a_login_stays_with_its_host(server: Server, fetch: Fetcher) -> None:
    other = server.url.replace("127.0.0.1", "localhost")
    near = server.on("/near", reply(302, Location="/far"))
    server.on("/far", reply(301, Location=f"{other}/file"))
    server.on("/file", whole(BODY))
    fetch(near, headers={"Authorization": "Bearer geheim", "X-Token": "geheim"})
    seen = [("authorization" in headers, "x-token" in headers) for _, headers in server.asked]
    assert seen == [(True, True), (True, True), (False, False)]


@pytest.mark.parametrize(
    "target", ["file:///etc/passwd", "ftp://example.org/x", "http://example.org/x", "https://u:p@example.org/x", "//[x"]
)
def test_redirects_out_of_the_allowed_schemes_are_refused(server: Server, fetch: Fetcher, target: str) -> None:
    with pytest.raises(FetchError, match="redirects to"):
        fetch(server.on("/x", reply(302, Location=target)))
    assert len(server.asked) == 1
    assert fetch.left() == []


def test_a_redirect_in_a_circle_ends(server: Server, fetch: Fetcher) -> None:
    with pytest.raises(FetchError, match="more than 10 redirects"):
        fetch(server.on("/x", reply(302, Location="/x")))


# Secrets


def test_no_secret_gets_into_a_message(server: Server, fetch: Fetcher, said: io.StringIO) -> None:
    texts = []
    server.on("/x", reply(404))
    server.on("/short", breaking(BODY, 10))
    server.on("/away", reply(302, Location="ftp://geheim@example.org/?geheim"))
    for url in (
        f"{server.url}/x?token=geheim",
        f"{server.url}/short?token=geheim",
        f"{server.url}/away",
        "http://127.0.0.1:1/x?token=geheim",
        "https://geheim@example.org/x",
        "ssh://example.org/?geheim",
    ):
        with pytest.raises((FetchError, InputError)) as caught:
            fetch(url, headers={"Authorization": "Bearer geheim"})
        texts.append(str(caught.value) + repr(DownloadRequest(url="https://example.org", headers={"X": "geheim"})))
    fetch(server.on("/ok", whole(BODY)) + "?token=geheim", headers={"Authorization": "Bearer geheim"})
    assert "geheim" not in "".join(texts) + said.getvalue()
    assert "ok: 293.0 KiB" in said.getvalue()


def test_a_login_given_is_not_replaced_by_netrc(
    server: Server, fetch: Fetcher, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "netrc").write_text("machine 127.0.0.1 login a password b\n")
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    url = server.on("/x", whole(BODY))
    fetch(url, headers={"authorization": "Bearer t"})
    fetch(url)
    assert server.asked[0][1]["authorization"] == "Bearer t"
    assert server.asked[1][1]["authorization"].startswith("Basic ")


def test_this_machine_is_not_reached_through_a_proxy(
    server: Server, fetch: Fetcher, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    assert fetch(server.on("/x", whole(BODY))).sha256 == SHA


# Local files, destinations, disks


def test_file_urls_paths_and_mirrors_to_folders(fetch: Fetcher, tmp_path: Path) -> None:
    source = tmp_path / "a b" / "é.bin"
    source.parent.mkdir()
    source.write_bytes(BODY)
    assert fetch(source.as_uri(), sha256=SHA).origin == "local"
    fetch.path.unlink()
    assert fetch(str(source)).sha256 == SHA
    fetch.path.unlink()
    mirrors = Mirrors.parse([f"https://example.org/=file://{tmp_path}"])
    assert fetch("https://example.org/a%20b/%C3%A9.bin", mirrors=mirrors, offline=True).sha256 == SHA
    assert fetch.path.stat().st_nlink == 1
    assert fetch.cache.info().size == 0


def test_local_files_that_are_not_there_or_not_right(fetch: Fetcher, tmp_path: Path) -> None:
    (tmp_path / "wrong").write_bytes(b"wrong")
    os.mkfifo(tmp_path / "pipe")
    for name, wanted, why in (
        ("missing", {}, "no such file"),
        ("pipe", {}, "not a regular file"),
        (".", {}, "not a regular file"),
        ("wrong", {"sha256": SHA}, f"wanted is {SHA}"),
        ("wrong", {"size": 9}, "has 5 bytes, wanted are 9"),
    ):
        with pytest.raises(FetchError, match=why):
            fetch(str(tmp_path / name), **wanted)
    assert fetch.left() == []


def test_a_size_that_contradicts_the_hash_is_an_error_also_from_the_cache(
    server: Server, fetch: Fetcher, tmp_path: Path
) -> None:
    url = server.on("/x", whole(BODY))
    fetch(url, sha256=SHA)
    for to in (fetch.path, tmp_path / "new"):
        with pytest.raises(FetchError, match="has 300000 bytes, wanted are 7"):
            fetch(url, sha256=SHA, size=7, to=to)
    assert not (tmp_path / "new").exists()


def test_a_destination_that_is_a_folder_or_a_link(server: Server, fetch: Fetcher, tmp_path: Path) -> None:
    url = server.on("/x", whole(BODY))
    with pytest.raises(InputError, match="is a folder"):
        fetch(url, to=tmp_path)
    victim = tmp_path / "victim"
    victim.write_text("mine")
    fetch.folder.mkdir()
    fetch.path.symlink_to(victim)
    fetch(url, sha256=SHA)
    assert victim.read_text() == "mine"
    assert fetch.path.read_bytes() == BODY


@pytest.mark.parametrize(
    "wanted",
    [
        {"sha256": "abc"},
        {"sha256": "g" * 64},
        {"size": -1},
        {"headers": {"A": "x\r\nHost: y"}},
        {"headers": {"A b": ""}},
    ],
)
def test_requests_that_are_refused(wanted: dict[str, Any]) -> None:
    with pytest.raises(InputError):
        DownloadRequest(url="https://example.org/x", **wanted)


@pytest.mark.parametrize(("how", "why"), [(whole, r"3\.0 MiB needed, .* free"), (chunked, r"\d+ B free")])
def test_a_full_cache_disk_is_named(
    server: Server, small_disk: Path, console: Console, hasty: Patience, tmp_path: Path, how: Any, why: str
) -> None:
    """With a Content-Length it is known before the bytes are fetched, without one only when the disk is full."""
    fetch = Fetcher(Cache(small_disk / "cache"), console, hasty, tmp_path / "out")
    with pytest.raises(FetchError, match=f"no space left on the disk: {why}") as caught:
        fetch(server.on("/x", how(random.Random(2).randbytes(3 * 1024 * 1024))))
    assert str(small_disk) in str(caught.value)
    assert len(server.asked) == 1
    assert (fetch.cache.info().kinds["parts"].size < 1000) == (how is whole)
    assert fetch.left() == []


# Several at once, and interruptions


def test_several_at_once_under_one_bar(server: Server, cache: Cache, said: io.StringIO, tmp_path: Path) -> None:
    bodies = {f"/{n}": random.Random(n).randbytes(40_000 + n) for n in range(6)}
    requests = [
        (DownloadRequest(url=server.on(path, whole(body)), size=len(body)), tmp_path / path[1:])
        for path, body in bodies.items()
    ]
    done = download_all(requests, cache=cache, mirrors=Mirrors(), console=Console(stream=said), workers=3)
    assert [item.path.read_bytes() for item in done] == list(bodies.values())
    lines = said.getvalue().splitlines()
    assert len(lines) == 1
    assert "downloads: 234.4 KiB" in lines[0]


def test_one_url_asked_for_twice_is_fetched_once(
    server: Server, cache: Cache, console: Console, tmp_path: Path
) -> None:
    url = server.on("/x", whole(BODY))
    requests = [(DownloadRequest(url=url, sha256=SHA), tmp_path / str(n)) for n in range(4)]
    done = download_all(requests, cache=cache, mirrors=Mirrors(), console=console)
    assert sorted(item.origin for item in done) == ["cache", "cache", "cache", "network"]
    assert len(server.asked) == 1


def test_the_first_error_stops_the_rest(
    server: Server, cache: Cache, console: Console, hasty: Patience, tmp_path: Path
) -> None:
    """One fails while another is half way and eight wait: the half one gives up, the eight are never asked for."""
    begun, hung_up = threading.Event(), threading.Event()

    def slow(handler: Any) -> None:
        handler.send_response(200)
        handler.send_header("Connection", "close")
        handler.end_headers()
        try:
            while not server.closing.wait(0.01):
                handler.wfile.write(bytes(20_000))
                begun.set()
        except OSError:
            hung_up.set()

    def missing(handler: Any) -> None:
        begun.wait(20)
        reply(404)(handler)

    urls = [
        server.on("/slow", slow),
        server.on("/missing", missing),
        *(server.on(f"/{n}", whole(BODY)) for n in range(8)),
    ]
    requests = [(DownloadRequest(url=url), tmp_path / f"out{n}") for n, url in enumerate(urls)]
    with pytest.raises(FetchError, match="404"):
        download_all(requests, cache=cache, mirrors=Mirrors(), console=console, patience=hasty, workers=2)
    assert {path for path, _ in server.asked} == {"/slow", "/missing"}
    assert hung_up.wait(20)


def test_all_errors_are_named(server: Server, cache: Cache, console: Console, tmp_path: Path) -> None:
    both = threading.Barrier(2, timeout=20)

    def late(handler: Any) -> None:
        both.wait()
        reply(404)(handler)

    requests = [(DownloadRequest(url=server.on(path, late)), tmp_path / path[1:]) for path in ("/first", "/second")]
    with pytest.raises(FetchError) as caught:
        download_all(requests, cache=cache, mirrors=Mirrors(), console=console)
    assert "/first" in str(caught.value)
    assert "/second" in str(caught.value)


def test_a_bad_url_among_good_ones_is_bad_input(cache: Cache, console: Console, tmp_path: Path) -> None:
    with pytest.raises(InputError) as caught:
        download_all(
            [(DownloadRequest(url="ssh://x/y"), tmp_path / "x")], cache=cache, mirrors=Mirrors(), console=console
        )
    assert caught.value.exit_code == 2


SCRIPT = """
import sys
from pathlib import Path
from packager.console import Console
from packager.fetch.cache import Cache
from packager.fetch.download import DownloadRequest, download_all
from packager.fetch.mirrors import Mirrors
requests = [(DownloadRequest(url=sys.argv[1]), Path(sys.argv[3]))]
download_all(requests, cache=Cache(Path(sys.argv[2])), mirrors=Mirrors(), console=Console())
"""


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGINT])
def test_killed_midway_and_run_again_it_goes_on(server: Server, fetch: Fetcher, how: signal.Signals) -> None:
    """kill -9 and Ctrl-C while the server stalls: neither waits for it, and the next run asks for the rest alone."""
    url = server.on("/x", stalling(BODY, 100_000, server.closing, ETag='"1"'), ranged(BODY, etag='"1"'))
    part = fetch.cache.part_path(hashlib.sha256(url.encode()).hexdigest())
    command = [sys.executable, "-c", SCRIPT, url, str(fetch.cache.root), str(fetch.path)]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        end = time.monotonic() + 20
        while not (part.exists() and part.stat().st_size > 80_000) and time.monotonic() < end:
            time.sleep(0.02)
        process.send_signal(how)
        process.communicate(timeout=20)
        assert process.returncode != 0
    assert fetch.left() == []
    assert fetch(url).sha256 == SHA
    _, rest = server.ranges()
    assert rest is not None
    assert 80_000 < int(rest.removeprefix("bytes=").rstrip("-")) <= 100_000
    assert fetch.path.read_bytes() == BODY
