"""A web server that knows ranges (the standard library's does not), and can be told to behave badly."""

from __future__ import annotations

import contextlib
import http.server
import re
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

Manner = Literal["good", "no ranges", "other range", "cut off", "shifted", "changing", "busy"]


@dataclass(kw_only=True)
class Served:
    """`url` ends with a slash. `sent` counts the bytes of all answers, `ranges` are those asked for."""

    url: str
    manner: Manner = "good"
    sent: int = 0
    ranges: list[str] = field(default_factory=list)


@contextlib.contextmanager
def serving(folder: Path, manner: Manner = "good") -> Iterator[Served]:
    """Serve the files in `folder` on a port of this machine."""
    served = Served(url="", manner=manner)

    class Handler(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *_: object) -> None:
            """Quiet."""

        def do_GET(self) -> None:
            path = folder / self.path.partition("?")[0].lstrip("/")
            served.ranges.append(self.headers.get("Range", ""))
            if not path.is_file():
                self.send_error(404)
                return
            if served.manner == "busy" and len(served.ranges) % 2 == 0:
                self.send_error(503)
                return
            _answer(self, path.read_bytes(), served)

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        served.url = f"http://127.0.0.1:{server.server_port}/"
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield served
        finally:
            server.shutdown()
            thread.join()


def _answer(handler: http.server.BaseHTTPRequestHandler, content: bytes, served: Served) -> None:
    found = re.fullmatch(r"bytes=(\d*)-(\d*)", handler.headers.get("Range", ""))
    start, end = 0, len(content)
    if found and served.manner != "no ranges":
        if found[1]:
            start, end = int(found[1]), min(int(found[2] or len(content) - 1) + 1, len(content))
        else:
            start = max(0, len(content) - int(found[2]))
        is_first = len(served.ranges) == 1
        shown = start + 1 if served.manner == "other range" and not is_first else start
        handler.send_response(206)
        handler.send_header("Content-Range", f"bytes {shown}-{end - 1}/{len(content)}")
        handler.send_header("ETag", f'"{len(served.ranges) if served.manner == "changing" else 0}"')
        if served.manner == "shifted" and not is_first:
            content = bytes([*content[1:], 0])
    else:
        handler.send_response(200)
    handler.send_header("Content-Length", str(end - start))
    handler.end_headers()
    body = content[start:end]
    if served.manner == "cut off" and len(served.ranges) > 1:
        body = body[: len(body) // 2]
        handler.close_connection = True
    served.sent += len(body)
    handler.wfile.write(body)
