"""Models of a recipe: where they go, who gets them, and tokens that reach their host and nothing else."""

from __future__ import annotations

import io
import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path, PurePosixPath

import pytest

from packager import models, targets
from packager.console import Console
from packager.errors import DocumentError, FetchError, InputError
from packager.fetch.cache import Cache
from packager.fetch.mirrors import Mirrors
from packager.model_files import first_run_list, place_models, token_headers
from packager.models import Model, folder_warnings, wanted_models
from packager.origins import Origins
from packager.recipe import Recipe, load_recipe
from packager.settings import Settings

BODY = b"model" * 1000
TOKEN = "secret-token-1f3870be"


def load(folder: Path, *entries: dict[str, object], **options: object) -> Recipe:
    path = folder / "recipe.json"
    comfy = {"repo": "https://github.com/comfyanonymous/ComfyUI"}
    value = {"schema_version": 2, "version_id": "demo", "comfy": comfy, "models": entries, "options": options}
    path.write_text(json.dumps(value))
    return load_recipe(path)


@pytest.mark.parametrize(
    ("entry", "path", "url"),
    [
        (
            {"hf": "org/repo/sub/a b.safetensors@v1.0", "type": "loras"},
            "loras/a b.safetensors",
            "https://huggingface.co/org/repo/resolve/v1.0/sub/a%20b.safetensors",
        ),
        ({"hf": "org/repo/a.pt"}, "checkpoints/a.pt", "https://huggingface.co/org/repo/resolve/main/a.pt"),
        (
            {"source": "hf://org/repo/a.pt@refs/pr/1", "target_subdir": "unet"},
            "unet/a.pt",
            "https://huggingface.co/org/repo/resolve/refs%2Fpr%2F1/a.pt",
        ),
        ({"url": "https://example.org/a.pt", "type": "unet"}, "diffusion_models/a.pt", "https://example.org/a.pt"),
        ({"url": "https://example.org/a.pt?b=c", "type": "clip", "name": "x"}, "text_encoders/x.pt", None),
        ({"url": "https://example.org/a@b.pt", "path": "sams/c.pt"}, "sams/c.pt", "https://example.org/a@b.pt"),
    ],
)
def test_address_and_place(tmp_path: Path, entry: dict[str, object], path: str, url: str | None) -> None:
    (model,) = load(tmp_path, entry).models
    assert model.path == PurePosixPath(path)
    assert url is None or model.url == url


@pytest.mark.parametrize(
    ("entry", "expected"),
    [
        ({"hf": "org/repo"}, "names no file"),
        ({"hf": "org/../etc/passwd"}, "names no file"),
        ({"hf": "org/repo/a.pt@"}, "names no file"),
        ({"hf": "org/repo/a.pt", "url": "https://example.org/a"}, "exactly one of"),
        ({"url": "https://example.org/a", "when": "os.system('x')"}, "is not a marker"),
        ({"url": "https://example.org/a", "when": "colour == 'red'"}, "is not a marker"),
    ],
)
def test_wrong_model_is_refused(tmp_path: Path, entry: dict[str, object], expected: str) -> None:
    with pytest.raises(DocumentError, match=expected):
        load(tmp_path, entry)


def test_unknown_kind_is_a_warning_with_a_suggestion(tmp_path: Path) -> None:
    entries = [{"url": f"https://example.org/{kind}", "type": kind} for kind in ("lorsa", "my_node", "vae", "sams")]
    warnings = folder_warnings(load(tmp_path, *entries).models)
    assert len(warnings) == 2
    assert "no folder 'lorsa'" in warnings[0]
    assert "did you mean 'loras'?" in warnings[0]
    assert "a node must read it" in warnings[1]


def test_when_is_evaluated_for_the_target(tmp_path: Path) -> None:
    markers = ["sys_platform == 'win32'", "platform_machine == 'x86_64'", "python_version >= '3.12'", None]
    every = [Model(path=PurePosixPath(str(n)), url="", when=when) for n, when in enumerate(markers)]
    assert [str(model.path) for model in wanted_models(every, targets.get("linux-x86_64"), "3.11.9")] == ["1", "3"]
    assert [str(model.path) for model in wanted_models(every, targets.get("windows-x86_64"), "3.12.1")] == [
        "0",
        "2",
        "3",
    ]


def test_first_run_list_holds_no_local_file(tmp_path: Path) -> None:
    recipe = load(tmp_path, {"url": "https://example.org/a", "license": "MIT"}, models="first-run")
    assert recipe.model_mode == "first-run"
    assert first_run_list(recipe.models)["models"][0]["license"] == "MIT"
    with pytest.raises(InputError, match="file of this machine"):
        first_run_list(load(tmp_path, {"url": "file:///home/me/a.pt"}, models="first-run").models)


def test_token_of_a_host_is_for_that_host_over_https() -> None:
    environ = {"HF_TOKEN": TOKEN, "HUGGING_FACE_HUB_TOKEN": "other", "CIVITAI_TOKEN": " "}
    assert token_headers("https://huggingface.co/a", environ) == {"Authorization": f"Bearer {TOKEN}"}
    for other in (
        "http://huggingface.co/a",
        "https://huggingface.co.example.org/a",
        "https://example.org/huggingface.co",
        "https://civitai.com/a",
        "/huggingface.co/a",
    ):
        assert token_headers(other, environ) == {}


@pytest.fixture
def asked() -> Iterator[tuple[str, list[dict[str, str]]]]:
    """URL of a host that wants the token, and the headers of each request."""
    seen: list[dict[str, str]] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            seen.append({name.lower(): value for name, value in self.headers.items()})
            right = self.headers.get("Authorization") == f"Bearer {TOKEN}"
            self.send_response(200 if right else 401)
            self.send_header("Content-Length", str(len(BODY) if right else 0))
            self.end_headers()
            self.wfile.write(BODY if right else b"")

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_address[1]}", seen
        server.shutdown()


@pytest.fixture
def this_host_has_a_token(monkeypatch: pytest.MonkeyPatch) -> None:
    """The table says that FETCH_TOKEN is for this machine."""
    monkeypatch.setitem(models.model_places()["tokens"], "127.0.0.1", ["FETCH_TOKEN"])


@pytest.mark.usefixtures("this_host_has_a_token")
def test_token_is_sent_and_lies_nowhere_afterwards(
    tmp_path: Path, asked: tuple[str, list[dict[str, str]]], monkeypatch: pytest.MonkeyPatch
) -> None:
    url, seen = asked
    said = io.StringIO()
    origins = Origins(settings=Settings(), cache=Cache(tmp_path / "cache"), mirrors=Mirrors())
    wanted = [Model(path=PurePosixPath(f"vae/{n}.pt"), url=f"{url}/{n}.pt") for n in range(3)]
    console = Console(stream=said, verbose=True)
    with pytest.raises(FetchError, match="a login is needed"):
        place_models(wanted, tmp_path / "models", origins=origins, console=console)
    monkeypatch.setenv("FETCH_TOKEN", TOKEN)
    place_models(wanted, tmp_path / "models", origins=origins, console=console)
    assert [(tmp_path / "models/vae" / f"{n}.pt").read_bytes() for n in range(3)] == [BODY] * 3
    assert [headers["authorization"] for headers in seen[-3:]] == [f"Bearer {TOKEN}"] * 3
    assert TOKEN not in said.getvalue()
    assert [path for path in tmp_path.rglob("*") if path.is_file() and TOKEN.encode() in path.read_bytes()] == []


def test_mirror_does_not_get_the_token_of_the_host_it_stands_for(
    tmp_path: Path, asked: tuple[str, list[dict[str, str]]], monkeypatch: pytest.MonkeyPatch
) -> None:
    url, seen = asked
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    mirrors = Mirrors.parse([f"https://huggingface.co/={url}"])
    origins = Origins(settings=Settings(), cache=Cache(tmp_path / "cache"), mirrors=mirrors)
    wanted = [Model(path=PurePosixPath("vae/a.pt"), url="https://huggingface.co/a.pt")]
    with pytest.raises(FetchError):
        place_models(wanted, tmp_path / "models", origins=origins, console=Console(stream=io.StringIO()))
    assert seen
    assert "authorization" not in seen[0]
