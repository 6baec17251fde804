"""A forge and a registry on 127.0.0.1: git repositories over smart http, their archives, and what a registry answers.

Nothing is pretended: `git upload-pack` and `git archive` answer, as they do behind a real forge.
"""

from __future__ import annotations

import contextlib
import gzip
import http.server
import json
import os
import re
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

_ARCHIVE = re.compile(r"/(?P<repository>[\w.-]+/(?P<name>[\w.-]+))/archive/(?P<commit>[0-9a-f]{40})\.zip")


class Forge:
    """`folder` holds the repositories, `files` what is served as it is by path, `versions` those of the registry.

    `asked` are the paths that were asked for.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.files: dict[str, bytes] = {}
        self.versions: dict[str, dict[str, str]] = {}
        self.redirects: dict[str, str] = {}
        self.asked: list[str] = []
        self.url = ""

    def commit(self, repository: str, files: dict[str, str | None], *, tag: str = "", branch: str = "main") -> str:
        """Commit `files` (None: it goes) to `repository`, owner/name; returns the commit."""
        tree = self.folder / repository
        if not tree.exists():
            tree.mkdir(parents=True)
            self.git(tree, "init", "--quiet", f"--initial-branch={branch}")
        elif branch != self.git(tree, "branch", "--show-current"):
            self.git(tree, "checkout", "--quiet", "-B", branch)
        for name, text in files.items():
            path = tree / name
            if text is None:
                path.unlink()
            else:
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_text(text, encoding="utf-8")
        self.git(tree, "add", "--all")
        self.git(tree, "commit", "--quiet", "--allow-empty", "--message=x")
        if tag:
            self.git(tree, "tag", "--annotate", "--message=x", tag)
        return self.git(tree, "rev-parse", "HEAD")

    def git(self, tree: Path, *words: str) -> str:
        """What git prints in `tree`."""
        author = {f"GIT_{who}_{what}": "a@example.org" for who in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")}
        env = {**os.environ, **author, "GIT_CONFIG_GLOBAL": os.devnull}
        return subprocess.run(
            ["git", *words], cwd=tree, env=env, check=True, capture_output=True, text=True
        ).stdout.strip()

    @contextlib.contextmanager
    def serving(self) -> Iterator[dict[str, str]]:
        """Serve; yields the environment in which helpers find the registry."""
        forge = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                self._answer(b"")

            def do_POST(self) -> None:
                self._answer(self.rfile.read(int(self.headers["Content-Length"])))

            def _answer(self, asked: bytes) -> None:
                forge.asked.append(self.path)
                if target := forge.redirects.get(self.path):
                    self.send_response(302)
                    self.send_header("Location", target)
                    self.end_headers()
                    return
                gzipped = self.headers.get("Content-Encoding") == "gzip"
                kind, content = forge.answer(self.path, asked, gzipped)
                self.send_response(200 if content is not None else 404)
                self.send_header("Content-Type", kind)
                self.send_header("Content-Length", str(len(content or b"")))
                self.end_headers()
                self.wfile.write(content or b"")

            def log_message(self, *_: object) -> None:
                pass

        server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        self.url = f"http://127.0.0.1:{server.server_address[1]}"
        try:
            yield {"COMFY_REGISTRY_URL": self.url, "NO_PROXY": "127.0.0.1", "no_proxy": "127.0.0.1"}
        finally:
            server.shutdown()
            server.server_close()

    def answer(self, path: str, asked: bytes, gzipped: bool) -> tuple[str, bytes | None]:
        """Content type, and content; None for what is not there."""
        parts = urlsplit(path)
        if parts.path in self.files:
            return "application/octet-stream", self.files[parts.path]
        if found := re.fullmatch(r"/nodes/([\w.-]+)/install", parts.path):
            return "application/json", self._version(found[1], parse_qs(parts.query))
        if found := _ARCHIVE.fullmatch(parts.path):
            tree = self.folder / found["repository"]
            words = ["git", "archive", "--format=zip", f"--prefix={found['name']}-{found['commit']}/", found["commit"]]
            done = subprocess.run(words, cwd=tree, capture_output=True, check=False)
            return "application/zip", done.stdout if done.returncode == 0 else None
        if found := re.fullmatch(r"/([\w.-]+/[\w.-]+?)(?:\.git)?/(info/refs|git-upload-pack)", parts.path):
            return self._git_protocol(self.folder / found[1], found[2], asked, gzipped)
        return "text/plain", None

    def _version(self, node: str, query: dict[str, list[str]]) -> bytes | None:
        versions = self.versions.get(node, {})
        version = query.get("version", [max(versions, default="")])[0]
        if version not in versions:
            return None
        return json.dumps({"id": node, "version": version, "downloadUrl": self.url + versions[version]}).encode()

    def _git_protocol(self, tree: Path, what: str, asked: bytes, gzipped: bool) -> tuple[str, bytes | None]:
        if not tree.is_dir():
            return "text/plain", None
        advertise = what == "info/refs"
        words = ["git", "upload-pack", "--stateless-rpc", *(["--advertise-refs"] if advertise else []), str(tree)]
        asked = gzip.decompress(asked) if gzipped else asked
        config = {
            "GIT_CONFIG_COUNT": "1",
            "GIT_CONFIG_KEY_0": "uploadpack.allowAnySHA1InWant",
            "GIT_CONFIG_VALUE_0": "1",
        }
        done = subprocess.run(words, input=asked, env={**os.environ, **config}, capture_output=True, check=False)
        start = b"001e# service=git-upload-pack\n0000" if advertise else b""
        kind = "advertisement" if advertise else "result"
        return f"application/x-git-upload-pack-{kind}", start + done.stdout
