"""examples/try_bundle.py on a small zip: it passes a good bundle, fails a bad one plainly, and leaves no process."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import zlib
from collections.abc import Callable
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[3]
sys.path.insert(0, str(REPOSITORY / "examples"))
import try_bundle  # noqa: E402

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="the small bundle starts with a shell script")

# A server that answers as hello-comfy does; what it sends as the picture is a file beside it.
SERVER = """\
import http.server, json, pathlib, signal, sys
picture = pathlib.Path(__file__).with_name("picture.png").read_bytes()
class Handler(http.server.BaseHTTPRequestHandler):
    def answer(self, body, code=200):
        self.send_response(code); self.end_headers(); self.wfile.write(body)
    def do_GET(self):
        if self.path.startswith("/view"): self.answer(picture)
        elif self.path.startswith("/history"):
            shown = {"9": {"images": [{"filename": "x.png", "subfolder": "", "type": "output"}]}}
            self.answer(json.dumps({"id": {"outputs": shown, "status": {}}}).encode())
        else: self.answer(b"{}")
    def do_POST(self):
        self.answer(b'{"prompt_id": "id"}', REFUSE)
if STUBBORN: signal.signal(signal.SIGINT, signal.SIG_IGN)
try:
    http.server.HTTPServer(("127.0.0.1", int(sys.argv[sys.argv.index("--port") + 1])), Handler).serve_forever()
except KeyboardInterrupt:
    sys.exit(EXIT)
"""
GRADIENT = json.loads(try_bundle.WORKFLOW.read_text(encoding="utf-8"))["1"]["inputs"]


def png(width: int, height: int, *, kind: int = 0, start: bytes = b"\x10\x2a\x43") -> bytes:
    """A PNG with many colours whose rows all have the filter `kind`."""
    rows = [bytes(start) + bytes((x * 7 + y) % 256 for x in range(width * 3 - 3)) for y in range(height)]
    above, data = bytes(width * 3), b""
    for row in rows:
        data += bytes([kind]) + _filter(kind, row, above)
        above = row

    def chunk(name: bytes, body: bytes) -> bytes:
        return len(body).to_bytes(4, "big") + name + body + zlib.crc32(name + body).to_bytes(4, "big")

    header = width.to_bytes(4, "big") + height.to_bytes(4, "big") + bytes([8, 2, 0, 0, 0])
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(data)) + chunk(b"IEND", b"")


def _filter(kind: int, row: bytes, above: bytes) -> bytes:
    def left(line: bytes, index: int) -> int:
        return line[index - 3] if index >= 3 else 0

    guesses: dict[int, Callable[[int], int]] = {
        0: lambda _: 0,
        1: lambda index: left(row, index),
        2: lambda index: above[index],
        3: lambda index: (left(row, index) + above[index]) // 2,
    }
    return bytes((value - guesses[kind](index)) & 255 for index, value in enumerate(row))


@pytest.fixture
def make_dist(tmp_path: Path) -> Callable[..., Path]:
    """A dist folder with a small bundle's zip."""

    def make(*, picture: bytes | None = None, code: int = 0, stubborn: bool = False, refuse: int = 200) -> Path:
        root = tmp_path / "small bundle é"
        root.mkdir()
        text = SERVER.replace("STUBBORN", str(stubborn)).replace("EXIT", str(code)).replace("REFUSE", str(refuse))
        (root / "server.py").write_text(text, encoding="utf-8")
        good = png(GRADIENT["width"], GRADIENT["height"])
        (root / "picture.png").write_bytes(good if picture is None else picture)
        script = root / "run_comfyui.sh"
        script.write_text(f'#!/bin/sh\nexec "{sys.executable}" "${{0%/*}}/server.py" "$@"\n', encoding="utf-8")
        script.chmod(0o755)
        dist = tmp_path / "dist"
        dist.mkdir()
        subprocess.run(["zip", "-qry", dist / "b.zip", root.name], cwd=tmp_path, check=True)
        shutil.rmtree(root)
        return dist

    if not shutil.which("zip"):
        pytest.skip("zip is not installed")
    return make


def trial(dist: Path, tmp_path: Path, **env: str) -> subprocess.CompletedProcess[str]:
    scratch = tmp_path / "scratch"
    scratch.mkdir(exist_ok=True)
    finished = subprocess.run(
        [sys.executable, REPOSITORY / "examples/try_bundle.py", dist],
        env={**os.environ, "TMPDIR": str(scratch), **env},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert list(scratch.iterdir()) == []
    left = [path for path in Path("/proc").glob("[0-9]*/cmdline") if str(scratch).encode() in read(path)]
    assert not left
    return finished


def read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError:
        return b""


def test_good_bundle_is_tried_and_its_picture_kept(make_dist: Callable[..., Path], tmp_path: Path) -> None:
    """Also with a proxy in the environment, which must not be asked."""
    dist = make_dist()
    finished = trial(dist, tmp_path, http_proxy="http://127.0.0.1:9", HTTP_PROXY="http://127.0.0.1:9")
    assert finished.returncode == 0, finished.stderr
    assert [line.split()[0] for line in finished.stdout.splitlines()] == ["unzipped", "started", "rendered", "stopped"]
    assert (dist / "quickstart.png").read_bytes()[1:4] == b"PNG"


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"picture": b"<html>"}, "did not send a PNG"),
        ({"picture": png(8, 8)}, "has 8 x 8 pixels"),
        ({"picture": png(512, 384, start=b"\0\0\0")}, "the upper left pixel is 000000"),
        ({"code": 3}, "ended with exit code 3 after Ctrl-C"),
        ({"refuse": 400}, "answered 400"),
    ],
)
def test_bad_bundle_fails_with_the_reason(
    make_dist: Callable[..., Path], tmp_path: Path, options: dict[str, object], said: str
) -> None:
    dist = make_dist(**options)
    finished = trial(dist, tmp_path)
    assert finished.returncode == 1
    assert said in finished.stderr
    assert not (dist / "quickstart.png").exists()


def test_server_that_ignores_ctrl_c_is_killed(
    make_dist: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = try_bundle.unzip(make_dist(stubborn=True) / "b.zip", tmp_path / "unzipped")
    monkeypatch.setattr(try_bundle, "STOP_SECONDS", 0.5)
    port = try_bundle.free_port()
    with pytest.raises(try_bundle.TrialError, match="still ran"), try_bundle.running(root, port, tmp_path / "log"):
        pass
    with pytest.raises(OSError, match="refused"):
        try_bundle.socket.create_connection(("127.0.0.1", port)).close()


def test_server_that_does_not_start_is_told_with_its_log(tmp_path: Path) -> None:
    root = tmp_path / "b"
    root.mkdir()
    (root / "run_comfyui.sh").write_text("#!/bin/sh\necho the reason\nexit 4\n", encoding="utf-8")
    (root / "run_comfyui.sh").chmod(0o755)
    port = try_bundle.free_port()
    told = pytest.raises(try_bundle.TrialError, match=r"(?s)exit code 4.*the reason")
    with told, try_bundle.running(root, port, tmp_path / "log"):
        pass


def test_wrong_use_and_an_empty_folder(tmp_path: Path) -> None:
    assert try_bundle.main([]) == 2
    assert try_bundle.main(["--help"]) == 2
    assert try_bundle.main([str(tmp_path)]) == 1


@pytest.mark.parametrize("kind", [0, 1, 2, 3])
def test_png_rows_are_decoded_whatever_their_filter(kind: int) -> None:
    assert try_bundle.decode_png(png(20, 10, kind=kind)) == try_bundle.decode_png(png(20, 10))


def test_unzip_without_the_program_restores_links_and_modes(
    make_dist: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    dist = make_dist()
    tree = tmp_path / "tree"
    (tree / "b").mkdir(parents=True)
    (tree / "b/run").write_text("x", encoding="utf-8")
    (tree / "b/run").chmod(0o755)
    (tree / "b/link").symlink_to("run")
    subprocess.run(["zip", "-qry", dist / "linked.zip", "b"], cwd=tree, check=True)
    monkeypatch.setattr(try_bundle.shutil, "which", lambda _: None)
    root = try_bundle.unzip(dist / "linked.zip", tmp_path / "out")
    assert (root / "link").readlink() == Path("run")
    assert (root / "run").stat().st_mode & 0o777 == 0o755


def test_workflow_names_only_nodes_that_exist() -> None:
    workflow = json.loads(try_bundle.WORKFLOW.read_text(encoding="utf-8"))
    sources = "".join(path.read_text(encoding="utf-8") for path in (REPOSITORY / "examples").glob("hello-*/*.py"))
    for node in workflow.values():
        assert f"class {node['class_type']}:" in sources
