"""A package index on 127.0.0.1: PEP 503 as JSON (PEP 691), metadata beside each wheel (PEP 658, 714), tiny wheels.

The wheels have the names, tags and metadata that the test gives them, and next to nothing inside.
"""

from __future__ import annotations

import hashlib
import http.server
import io
import json
import threading
import zipfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from urllib.parse import quote, unquote

_JSON = "application/vnd.pypi.simple.v1+json"


@dataclass(frozen=True, kw_only=True)
class SimpleIndex:
    """`wheels`: project -> file name -> (wheel, metadata). `served` are the paths that were asked for."""

    url: str
    name: str
    wheels: dict[str, dict[str, tuple[bytes, bytes]]] = field(default_factory=dict)
    served: list[str] = field(default_factory=list)

    @property
    def address(self) -> str:
        return f"{self.url}/{self.name}"

    def add(
        self,
        project: str,
        version: str,
        *tags: str,
        requires: Sequence[str] = (),
        extras: Sequence[str] = (),
    ) -> None:
        """A wheel for each of `tags`, such as `cp312-cp312-win_amd64`; `py3-none-any` if none is given."""
        metadata = f"Metadata-Version: 2.1\nName: {project}\nVersion: {version}\n"
        metadata += "".join(f"Provides-Extra: {extra}\n" for extra in extras)
        metadata += "".join(f"Requires-Dist: {line}\n" for line in requires)
        for tag in tags or ("py3-none-any",):
            stem = project.replace("-", "_")
            wheel = _wheel(stem, version, tag, metadata)
            files = self.wheels.setdefault(project.lower().replace("_", "-"), {})
            files[f"{stem}-{version}-{tag}.whl"] = (wheel, metadata.encode())

    def answer(self, path: str) -> tuple[str, bytes] | None:
        """Media type and content of `path` below the index; None if there is no such thing."""
        self.served.append(path)
        project, _, file = path.strip("/").partition("/")
        files = self.wheels.get(project)
        if files is None:
            return None
        if not file:
            entries = [
                {
                    "filename": name,
                    "url": quote(name),
                    "hashes": {"sha256": hashlib.sha256(wheel).hexdigest()},
                    "core-metadata": {"sha256": hashlib.sha256(metadata).hexdigest()},
                }
                for name, (wheel, metadata) in files.items()
            ]
            page = {"meta": {"api-version": "1.1"}, "name": project, "files": entries}
            return _JSON, json.dumps(page).encode()
        wheel, metadata = files.get(file.removesuffix(".metadata"), (None, None))
        content = metadata if file.endswith(".metadata") else wheel
        return None if content is None else ("application/octet-stream", content)


@contextmanager
def serve(*names: str) -> Iterator[list[SimpleIndex]]:
    """Empty indexes of these names on one server."""
    indexes: dict[str, SimpleIndex] = {}

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            index, _, path = unquote(self.path).strip("/").partition("/")
            found = indexes[index].answer(path) if index in indexes else None
            media, content = found or ("text/plain", b"")
            self.send_response(200 if found else 404)
            self.send_header("Content-Type", media)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        do_HEAD = do_GET  # noqa: N815 - the name is the protocol

        def log_message(self, *_: object) -> None:
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    try:
        for name in names:
            indexes[name] = SimpleIndex(url=f"http://127.0.0.1:{server.server_port}", name=name)
        yield list(indexes.values())
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def _wheel(stem: str, version: str, tag: str, metadata: str) -> bytes:
    info = f"{stem}-{version}.dist-info"
    members = {
        f"{stem}/__init__.py": f"__version__ = {version!r}\n",
        f"{info}/METADATA": metadata,
        f"{info}/WHEEL": f"Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: {tag}\n",
    }
    members[f"{info}/RECORD"] = "".join(f"{member},,\n" for member in [*members, f"{info}/RECORD"])
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as archive:
        for member, text in members.items():
            archive.writestr(zipfile.ZipInfo(member), text)
    return content.getvalue()
