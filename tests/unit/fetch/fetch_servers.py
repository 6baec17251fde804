"""Servers on 127.0.0.1 that misbehave on demand, and git repositories made for the occasion."""

from __future__ import annotations

import contextlib
import io
import os
import socket
import subprocess
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from packager.console import Console
from packager.fetch.cache import Cache
from packager.fetch.transfer import Patience

Answer = Callable[[BaseHTTPRequestHandler], None]


@dataclass
class Server:
    """`answers[path]`: what to do with one request after the other; the last one is for all further ones."""

    url: str
    answers: dict[str, list[Answer]] = field(default_factory=dict)
    asked: list[tuple[str, dict[str, str]]] = field(default_factory=list)
    closing: threading.Event = field(default_factory=threading.Event)

    def on(self, path: str, *answers: Answer) -> str:
        """Set the answers for `path`; returns its URL."""
        self.answers[path] = list(answers)
        return self.url + path

    def ranges(self) -> list[str | None]:
        """The Range header of each request so far."""
        return [headers.get("range") for _, headers in self.asked]


class QuietServer(ThreadingHTTPServer):
    def handle_error(self, *_: object) -> None:
        """Clients hang up on purpose here."""


@contextlib.contextmanager
def serving(handler: type[BaseHTTPRequestHandler]) -> Iterator[tuple[ThreadingHTTPServer, str]]:
    with QuietServer(("127.0.0.1", 0), handler) as httpd:
        httpd.daemon_threads = True
        httpd.block_on_close = False
        threading.Thread(target=httpd.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
        try:
            yield httpd, f"http://127.0.0.1:{httpd.server_address[1]}"
        finally:
            httpd.shutdown()


@pytest.fixture
def server() -> Iterator[Server]:
    state = Server(url="")

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            state.asked.append((self.path, {name.lower(): value for name, value in self.headers.items()}))
            answers = state.answers[self.path.partition("?")[0]]
            answer = answers.pop(0) if len(answers) > 1 else answers[0]
            with contextlib.suppress(BrokenPipeError, ConnectionResetError):
                answer(self)

        def log_message(self, *_: object) -> None:
            pass

    with serving(Handler) as (_, url):
        state.url = url
        yield state
        state.closing.set()


def reply(status: int, body: bytes = b"", **headers: str) -> Answer:
    """An honest answer; `_` in a header's name stands for `-`."""

    def answer(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(status)
        for name, value in ({"Content_Length": str(len(body))} | headers).items():
            handler.send_header(name.replace("_", "-"), value)
        handler.end_headers()
        handler.wfile.write(body)

    return answer


def whole(body: bytes, **headers: str) -> Answer:
    """All of it, whatever range was asked for."""
    return reply(200, body, **headers)


def ranged(body: bytes, *, etag: str | None = None) -> Answer:
    """What a good server does: 206 for a Range whose If-Range fits, else 200."""

    def answer(handler: BaseHTTPRequestHandler) -> None:
        tag = {"ETag": etag} if etag else {}
        wanted = handler.headers.get("Range")
        if not wanted or handler.headers.get("If-Range", etag) != etag:
            reply(200, body, **tag)(handler)
            return
        start = int(wanted.removeprefix("bytes=").rstrip("-"))
        if start >= len(body):
            reply(416, Content_Range=f"bytes */{len(body)}")(handler)
            return
        reply(206, body[start:], Content_Range=f"bytes {start}-{len(body) - 1}/{len(body)}", **tag)(handler)

    return answer


def breaking(body: bytes, count: int, **headers: str) -> Answer:
    """Announces all of `body`, sends `count` bytes and hangs up."""

    def answer(handler: BaseHTTPRequestHandler) -> None:
        reply(200, body[:count], Content_Length=str(len(body)), **headers)(handler)
        handler.close_connection = True
        with contextlib.suppress(OSError):
            handler.connection.shutdown(socket.SHUT_RDWR)

    return answer


def stalling(body: bytes, count: int, closing: threading.Event, **headers: str) -> Answer:
    """Announces all of `body`, sends `count` bytes and then nothing, the line open, until the test is over."""

    def answer(handler: BaseHTTPRequestHandler) -> None:
        reply(200, body[:count], Content_Length=str(len(body)), **headers)(handler)
        closing.wait(30)
        handler.close_connection = True

    return answer


def chunked(body: bytes) -> Answer:
    """Without a Content-Length."""

    def answer(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(200)
        handler.send_header("Transfer-Encoding", "chunked")
        handler.end_headers()
        for start in range(0, len(body), 50_000):
            block = body[start : start + 50_000]
            handler.wfile.write(b"%x\r\n%s\r\n" % (len(block), block))
        handler.wfile.write(b"0\r\n\r\n")

    return answer


@pytest.fixture
def cache(tmp_path: Path) -> Cache:
    return Cache(tmp_path / "cache")


@pytest.fixture
def said() -> io.StringIO:
    """What the console fixture wrote."""
    return io.StringIO()


@pytest.fixture
def console(said: io.StringIO) -> Console:
    return Console(stream=said, verbose=True)


@pytest.fixture
def hasty() -> Patience:
    """Tries three times, hardly waiting."""
    return Patience(tries=3, connect=5, read=0.5, backoff=0.01, longest=0.05)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 1 MiB."""
    folder = tmp_path / "small disk"
    folder.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(folder)], check=False, capture_output=True, text=True
    )
    if mounted.returncode:
        pytest.skip(f"a tmpfs can't be mounted here: {mounted.stderr.strip()}")
    try:
        yield folder
    finally:
        subprocess.run(["umount", str(folder)], check=True)


class GitRepo:
    """A work tree that commits with a fixed identity and date, seeing no configuration of this machine."""

    def __init__(self, path: Path) -> None:
        self.path = path
        path.mkdir(parents=True)
        self.git("init", "--quiet", "--initial-branch=main")

    def git(self, *words: str, stdin: bytes | None = None) -> str:
        env = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
        env |= {"GIT_CONFIG_NOSYSTEM": "1", "GIT_CONFIG_GLOBAL": os.devnull, "GIT_ALLOW_PROTOCOL": "file"}
        for who in ("AUTHOR", "COMMITTER"):
            env |= {f"GIT_{who}_NAME": "T", f"GIT_{who}_EMAIL": "t@example.org", f"GIT_{who}_DATE": "1700000000 +0000"}
        done = subprocess.run(["git", *words], cwd=self.path, env=env, input=stdin, capture_output=True, check=True)
        return done.stdout.decode().strip()

    def write(self, name: str, content: str) -> None:
        path = self.path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content, encoding="utf-8", newline="")

    def commit(self, *more: str) -> str:
        """Commit everything (and `more`, options of git commit); the commit's id."""
        self.git("add", "--all", "--force")
        self.git("commit", "--quiet", "--allow-empty", "--message=x", *more)
        return self.head

    @property
    def head(self) -> str:
        return self.git("rev-parse", "HEAD")

    def add_submodule(self, path: str, url: str, commit: str) -> None:
        """Like `git submodule add`, without fetching anything."""
        with (self.path / ".gitmodules").open("a") as stream:
            stream.write(f'[submodule "{path}"]\n\tpath = {path}\n\turl = {url}\n')
        self.git("add", ".gitmodules")
        self.git("update-index", "--add", "--cacheinfo", f"160000,{commit},{path}")
        self.git("commit", "--quiet", "--message=submodule")


@pytest.fixture
def make_repo(tmp_path: Path) -> Callable[[str], GitRepo]:
    """Makes a repository below `tmp_path`/repos with one file, a.txt."""

    def make(name: str) -> GitRepo:
        repo = GitRepo(tmp_path / "repos" / name)
        repo.write("a.txt", "one\n")
        repo.commit()
        return repo

    return make


@pytest.fixture
def smart_http(tmp_path: Path) -> Iterator[str]:
    """URL of `tmp_path`/repos served by git http-backend."""
    (tmp_path / "repos").mkdir(exist_ok=True)

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            path, _, query = self.path.partition("?")
            env = {
                "PATH": os.environ["PATH"],
                "GIT_PROJECT_ROOT": str(tmp_path / "repos"),
                "GIT_HTTP_EXPORT_ALL": "1",
                "GIT_CONFIG_NOSYSTEM": "1",
                "PATH_INFO": path,
                "QUERY_STRING": query,
                "REQUEST_METHOD": self.command,
                "CONTENT_TYPE": self.headers.get("Content-Type", ""),
                "HTTP_CONTENT_ENCODING": self.headers.get("Content-Encoding", ""),
                "GIT_PROTOCOL": self.headers.get("Git-Protocol", ""),
                "REMOTE_ADDR": "127.0.0.1",
            }
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            done = subprocess.run(["git", "http-backend"], check=False, env=env, input=body, capture_output=True)
            head, _, content = done.stdout.partition(b"\r\n\r\n")
            fields = dict(line.split(": ", 1) for line in head.decode().split("\r\n") if line)
            self.send_response(int(fields.pop("Status", "200").split()[0]))
            for name, value in fields.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(content)

        do_POST = do_GET  # noqa: N815 - the name that http.server looks for

        def log_message(self, *_: object) -> None:
            pass

    with serving(Handler) as (_, url):
        yield url


@pytest.fixture
def dumb_http(tmp_path: Path) -> Iterator[str]:
    """URL of `tmp_path`/repos served as plain files (`git update-server-info` makes a repository readable)."""
    (tmp_path / "repos").mkdir(exist_ok=True)

    class Handler(SimpleHTTPRequestHandler):
        def __init__(self, *arguments: object) -> None:
            super().__init__(*arguments, directory=str(tmp_path / "repos"))  # type: ignore[arg-type]

        def log_message(self, *_: object) -> None:
            pass

    with serving(Handler) as (_, url):
        yield url
