"""Try a bundle as its user would: unzip it, start it, have it render a picture, stop it.

    python examples/try_bundle.py dist

Takes the newest zip in the folder and leaves the picture there as quickstart.png. Standard library only.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import socket
import stat
import struct
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.parse
import urllib.request
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

WORKFLOW = Path(__file__).with_name("hello-workflow.json")
START_SECONDS = 60
RENDER_SECONDS = 60
STOP_SECONDS = 20
WINDOWS = os.name == "nt"
# The user's own proxy must not stand between this program and the server on the same machine.
_OPENER = urllib.request.build_opener(urllib.request.ProxyHandler({}))


class TrialError(Exception):
    """The bundle did not do what it should; the text says what."""


def main(arguments: list[str]) -> int:
    if len(arguments) != 1 or arguments[0].startswith("-"):
        print(__doc__)
        return 2
    try:
        try_newest(Path(arguments[0]))
    except TrialError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    return 0


def try_newest(dist: Path) -> Path:
    """Run the newest bundle in `dist`; returns the picture's path. Raises TrialError."""
    archives = sorted(dist.glob("*.zip"), key=lambda path: path.stat().st_mtime)
    if not archives:
        raise TrialError(f"there is no zip in {dist}: build one first")
    workflow = json.loads(WORKFLOW.read_text(encoding="utf-8"))
    with tempfile.TemporaryDirectory(prefix="try bundle ", ignore_cleanup_errors=True) as temporary:
        folder = Path(temporary).resolve()
        print(f"unzipped   {archives[-1].name} into {folder}")
        root = unzip(archives[-1], folder)
        port = free_port()
        with running(root, port, folder / "server.log"):
            print(f"started    {start_command(root, port)[0]}, http://127.0.0.1:{port}")
            picture = render(f"http://127.0.0.1:{port}", workflow)
    width, height, colours = check_picture(picture, workflow)
    result = dist / "quickstart.png"
    result.write_bytes(picture)
    print(f"rendered   {width} x {height} pixels, {colours} colours -> {result}")
    print("stopped    with Ctrl-C, exit code 0; the folder is gone again")
    return result


def unzip(archive: Path, folder: Path) -> Path:
    """Unzip `archive` into the empty `folder` and return the bundle's root, the one folder in it."""
    if program := shutil.which("unzip"):
        subprocess.run([program, "-q", str(archive.resolve()), "-d", str(folder)], check=True)
    else:
        with zipfile.ZipFile(archive) as source:
            for member in source.infolist():
                _extract(source, member, folder)
    roots = [path for path in folder.iterdir() if path.is_dir()]
    if len(roots) != 1:
        raise TrialError(f"{archive.name} holds {len(roots)} top folders instead of one")
    return roots[0]


def _extract(source: zipfile.ZipFile, member: zipfile.ZipInfo, folder: Path) -> None:
    """As zipfile does, which drops links and modes: those are put back."""
    mode = member.external_attr >> 16
    if stat.S_ISLNK(mode):
        path = folder / member.filename
        path.parent.mkdir(parents=True, exist_ok=True)
        path.symlink_to(source.read(member).decode())
        return
    path = Path(source.extract(member, folder))
    if mode:
        path.chmod(stat.S_IMODE(mode))


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


def start_command(root: Path, port: int) -> list[str]:
    script = root / ("run_comfyui.bat" if WINDOWS else "run_comfyui.sh")
    return [str(script), "--cpu", "--port", str(port), "--disable-auto-launch"]


@contextlib.contextmanager
def running(root: Path, port: int, log: Path) -> Iterator[None]:
    """The bundle's server, ready; stopped with Ctrl-C at the end, and killed with all it started if that fails."""
    with log.open("wb") as output:
        process = subprocess.Popen(
            start_command(root, port),
            cwd=root.parent,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=not WINDOWS,
            creationflags=getattr(subprocess, "CREATE_NEW_PROCESS_GROUP", 0),
        )
        try:
            wait_until_ready(process, f"http://127.0.0.1:{port}/system_stats")
            yield
            stop(process)
        except TrialError as error:
            raise TrialError(f"{error}\n{log.read_text(encoding='utf-8', errors='replace')[-3000:]}") from error
        finally:
            kill(process)


def wait_until_ready(process: subprocess.Popen[bytes], url: str) -> None:
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline:
        if process.poll() is not None:
            raise TrialError(f"the server ended with exit code {process.returncode}")
        try:
            _OPENER.open(url, timeout=5).close()
        except (urllib.error.URLError, OSError):
            time.sleep(0.1)
        else:
            return
    raise TrialError(f"the server did not answer within {START_SECONDS} seconds")


def stop(process: subprocess.Popen[bytes]) -> None:
    """Ctrl-C, which must end the server with exit code 0. Windows sends its group Ctrl-Break, which ends it hard."""
    process.send_signal(signal.CTRL_BREAK_EVENT if sys.platform == "win32" else signal.SIGINT)
    try:
        code = process.wait(STOP_SECONDS)
    except subprocess.TimeoutExpired:
        raise TrialError(f"the server still ran {STOP_SECONDS} seconds after Ctrl-C") from None
    if code != 0 and not WINDOWS:
        raise TrialError(f"the server ended with exit code {code} after Ctrl-C")


def kill(process: subprocess.Popen[bytes]) -> None:
    """End what is left of the server, and whatever it started."""
    if sys.platform == "win32":
        if process.poll() is None:
            subprocess.run(["taskkill", "/T", "/F", "/PID", str(process.pid)], check=False, capture_output=True)
    else:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def render(server: str, workflow: dict[str, Any]) -> bytes:
    """Queue `workflow`, wait for it, and return the first picture it saved."""
    answer = _json(f"{server}/prompt", json.dumps({"prompt": workflow}).encode())
    deadline = time.monotonic() + RENDER_SECONDS
    while time.monotonic() < deadline:
        entry = _json(f"{server}/history/{answer['prompt_id']}").get(answer["prompt_id"])
        if entry is None:
            time.sleep(0.1)
            continue
        pictures = [picture for output in entry["outputs"].values() for picture in output.get("images", [])]
        if not pictures:
            raise TrialError(f"the workflow failed: {entry['status']}")
        with _OPENER.open(f"{server}/view?{urllib.parse.urlencode(pictures[0])}", timeout=30) as response:
            return bytes(response.read())
    raise TrialError(f"the picture was not there within {RENDER_SECONDS} seconds")


def _json(url: str, body: bytes | None = None) -> Any:
    try:
        with _OPENER.open(url, data=body, timeout=30) as response:
            return json.load(response)
    except urllib.error.HTTPError as error:
        raise TrialError(f"{url} answered {error.code}: {error.read(500)!r}") from error
    except (urllib.error.URLError, ValueError) as error:
        raise TrialError(f"{url}: {error}") from error


def check_picture(picture: bytes, workflow: dict[str, Any]) -> tuple[int, int, int]:
    """Width, height and number of colours of the PNG. Raises TrialError if it is not what `workflow` describes."""
    gradient = next(node["inputs"] for node in workflow.values() if node["class_type"] == "GradientImage")
    rows = decode_png(picture)
    width, height = len(rows[0]) // 3, len(rows)
    if (width, height) != (gradient["width"], gradient["height"]):
        raise TrialError(f"the picture has {width} x {height} pixels")
    start = bytes.fromhex(gradient["start"].lstrip("#"))
    if any(abs(got - wanted) > 4 for got, wanted in zip(rows[0][:3], start, strict=True)):
        raise TrialError(f"the upper left pixel is {rows[0][:3].hex()} instead of {start.hex()}")
    colours = len({row[x : x + 3] for row in rows for x in range(0, len(row), 3)})
    if colours < 100:
        raise TrialError(f"the picture has {colours} colours only")
    return width, height, colours


def decode_png(content: bytes) -> list[bytes]:
    """The rows of an 8-bit RGB PNG without interlacing, 3 bytes a pixel (PNG specification, chapters 5, 7 and 9)."""
    if content[:8] != b"\x89PNG\r\n\x1a\n":
        raise TrialError("the server did not send a PNG")
    position, data, header = 8, b"", (0, 0, 0, 0, 0, 0, 0)
    while position < len(content):
        size, kind = struct.unpack_from(">I4s", content, position)
        chunk = content[position + 8 : position + 8 + size]
        if kind == b"IHDR":
            header = struct.unpack(">IIBBBBB", chunk)
        elif kind == b"IDAT":
            data += chunk
        position += size + 12
    width, height, *form = header
    if form != [8, 2, 0, 0, 0]:
        raise TrialError(f"the PNG is of the form {form}, not 8-bit RGB")
    raw = zlib.decompress(data)
    rows: list[bytes] = []
    above = bytes(width * 3)
    for start in range(0, height * (width * 3 + 1), width * 3 + 1):
        above = _unfilter(raw[start], raw[start + 1 : start + 1 + width * 3], above)
        rows.append(above)
    return rows


def _unfilter(kind: int, line: bytes, above: bytes) -> bytes:
    """One row without its filter: 0 none, 1 sub, 2 up, 3 average, 4 Paeth."""
    row = bytearray(line)
    for index, value in enumerate(line):
        left, corner = (row[index - 3], above[index - 3]) if index >= 3 else (0, 0)
        up = above[index]
        guess = (0, left, up, (left + up) // 2, _paeth(left, up, corner))[kind]
        row[index] = (value + guess) & 255
    return bytes(row)


def _paeth(left: int, up: int, corner: int) -> int:
    estimate = left + up - corner
    return min((left, up, corner), key=lambda value: abs(estimate - value))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
