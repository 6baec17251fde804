"""Models from a host that breaks off, lies and has several at once: what lands is whole, and the next run goes on."""

from __future__ import annotations

import hashlib
import io
import re
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path, PurePosixPath

import pytest

from packager.console import Console
from packager.errors import FetchError
from packager.fetch.cache import Cache
from packager.fetch.mirrors import Mirrors
from packager.model_files import place_models
from packager.models import Model
from packager.origins import Origins
from packager.settings import Settings

BODIES = {name: name.encode() * 300_000 for name in ("dies", "lies", "plain")}


@dataclass
class Host:
    """`lying`: the file `lies` is told longer than it is. `asked`: name and Range of each request.

    `resumed`: the broken `dies` was asked for again. The lie waits for it, since the failure stops the other downloads.
    """

    url: str = ""
    lying: bool = True
    resumed: threading.Event = field(default_factory=threading.Event)
    asked: list[tuple[str, str | None]] = field(default_factory=list)


@pytest.fixture
def host() -> Iterator[Host]:
    state = Host()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            name, wanted = self.path.strip("/"), self.headers.get("Range")
            first = name not in [known for known, _ in state.asked]
            state.asked.append((name, wanted))
            if name == "dies" and not first:
                state.resumed.set()
            if name == "lies" and state.lying:
                state.resumed.wait(timeout=30)
            body = BODIES[name]
            start = int(re.findall(r"\d+", wanted)[0]) if wanted else 0
            length = len(body) - start + (100 if name == "lies" and state.lying else 0)
            self.send_response(206 if start else 200)
            self.send_header("Content-Length", str(length))
            self.send_header("ETag", '"one"')
            if start:
                self.send_header("Content-Range", f"bytes {start}-{start + length - 1}/{start + length}")
            self.end_headers()
            rest = body[start:]
            self.wfile.write(rest[: len(rest) // 2] if name == "dies" and first else rest)

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
        state.url = f"http://127.0.0.1:{server.server_address[1]}"
        yield state
        server.shutdown()


def test_several_at_once_under_one_bar_go_on_and_never_land_half(tmp_path: Path, host: Host) -> None:
    said = io.StringIO()
    console = Console(stream=said)
    origins = Origins(settings=Settings(), cache=Cache(tmp_path / "cache"), mirrors=Mirrors())
    wanted = [
        Model(
            path=PurePosixPath(f"vae/{name}.pt"),
            url=f"{host.url}/{name}",
            sha256=hashlib.sha256(body).hexdigest(),
            size=len(body),
        )
        for name, body in BODIES.items()
    ]
    with pytest.raises(FetchError, match="lies"):
        place_models(wanted, tmp_path / "models", origins=origins, console=console)
    assert not (tmp_path / "models/vae/lies.pt").exists()
    assert not [path for path in (tmp_path / "models").rglob("*") if path.is_file() and path.stem not in BODIES]
    host.lying = False
    place_models(wanted, tmp_path / "models", origins=origins, console=console)
    for name, body in BODIES.items():
        assert (tmp_path / f"models/vae/{name}.pt").read_bytes() == body
    assert ("dies", f"bytes={len(BODIES['dies']) // 2}-") in host.asked
    count = len(host.asked)
    place_models(wanted, tmp_path / "models", origins=origins, console=console)
    assert len(host.asked) == count  # what is there is right, and nobody is asked
    done = [line for line in said.getvalue().splitlines() if "downloads:" in line]
    assert len(done) == 2  # one bar for all of a run, in each that ended well
