"""A package index on 127.0.0.1 (PEP 503), which can hand out wrong hashes and die in the middle."""

from __future__ import annotations

import contextlib
import hashlib
import http.server
import io
import os
import shutil
import tarfile
import threading
from collections.abc import Iterator
from pathlib import Path


class Index:
    """`folder` holds the files it serves."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir(parents=True)
        self._hashes: dict[str, str] = {}

    def add_wheel(self, wheel: Path, *, sha256: str | None = None) -> None:
        """Serve `wheel`, told to have the hash `sha256` (its own unless given)."""
        shutil.copy(wheel, self.folder / wheel.name)
        self._hashes[wheel.name] = sha256 or hashlib.sha256(wheel.read_bytes()).hexdigest()

    def add_sdist(self, name: str, setup: str) -> None:
        """Serve version 1.0 of a source package whose setup.py is `setup`."""
        path = self.folder / f"{name}-1.0.tar.gz"
        backend = f"{setup}\n"
        project = '[build-system]\nrequires = []\nbuild-backend = "backend"\nbackend-path = ["."]\n'
        with tarfile.open(path, "w:gz") as archive:
            for member, text in {"pyproject.toml": project, "backend.py": backend}.items():
                information = tarfile.TarInfo(f"{name}-1.0/{member}")
                information.size = len(text.encode())
                archive.addfile(information, io.BytesIO(text.encode()))
        self._hashes[path.name] = hashlib.sha256(path.read_bytes()).hexdigest()

    @contextlib.contextmanager
    def serving(self, *, dies_after: str | None = None) -> Iterator[dict[str, str]]:
        """Serve; yields the environment for pip. With `dies_after` half of the file whose name starts so is the last
        that anybody gets."""
        index = self
        dead = threading.Event()

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                content = index.answer(self.path)
                if dead.is_set():
                    self.connection.close()
                    return
                if content is None:
                    self.send_error(404)
                    return
                self.send_response(200)
                is_page = self.path.endswith("/")
                self.send_header("Content-Type", "text/html" if is_page else "application/octet-stream")
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                if dies_after and self.path.rpartition("/")[2].startswith(dies_after):
                    dead.set()
                    content = content[: len(content) // 2]
                self.wfile.write(content)

            def log_message(self, *_: object) -> None:
                pass

        server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        try:
            yield {
                "PIP_INDEX_URL": f"http://127.0.0.1:{server.server_address[1]}/simple/",
                "PIP_RETRIES": "0",
                "PIP_TIMEOUT": "5",
                "NO_PROXY": "127.0.0.1",
                "PIP_CACHE_DIR": os.fspath(self.folder / f"cache {server.server_address[1]}"),
            }
        finally:
            server.shutdown()
            server.server_close()

    def answer(self, path: str) -> bytes | None:
        """The page of a project, or a file; None for anything else."""
        words = [word for word in path.split("/") if word]
        if len(words) == 2 and words[0] == "simple":
            rows = [
                f'<a href="/files/{name}#sha256={digest}">{name}</a>'
                for name, digest in self._hashes.items()
                if name.startswith(f"{words[1].replace('-', '_')}-")
            ]
            return ("<!DOCTYPE html><html><body>" + "\n".join(rows) + "</body></html>").encode() if rows else None
        if len(words) == 2 and words[0] == "files" and words[1] in self._hashes:
            return (self.folder / words[1]).read_bytes()
        return None
