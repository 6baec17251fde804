"""`manage models`: fetching through everything a server does, tokens that go nowhere else, and the shared folder."""

from __future__ import annotations

import contextlib
import hashlib
import json
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
import yaml
from fake_bundles import call
from portable import environment, model_places

from packager.bundle import BundleTree

MODEL = bytes(range(256)) * 2000
TOKEN = "secret-token-d41d8cd9"


@dataclass
class Host:
    """A host of models. `broken` requests end in the middle; `redirect` sends every request on."""

    url: str
    body: bytes = MODEL
    broken: int = 0
    status: int = 200
    redirect: str | None = None
    needs: str | None = None
    asked: list[dict[str, str]] = field(default_factory=list)


@contextlib.contextmanager
def hosting() -> Iterator[Host]:
    host = Host(url="")

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            host.asked.append({name.lower(): value for name, value in self.headers.items()})
            if host.redirect:
                self.send_response(302)
                self.send_header("Location", host.redirect + self.path)
                self.end_headers()
                return
            if host.needs and self.headers.get("Authorization") != f"Bearer {host.needs}":
                self.send_error(401)
                return
            if host.status != 200:
                self.send_error(host.status)
                return
            start = int((self.headers.get("Range") or "bytes=0-").removeprefix("bytes=").rstrip("-"))
            self.send_response(206 if start else 200)
            if start:
                self.send_header("Content-Range", f"bytes {start}-{len(host.body) - 1}/{len(host.body)}")
            self.send_header("Content-Length", str(len(host.body) - start))
            self.end_headers()
            rest = host.body[start:]
            if host.broken:
                host.broken -= 1
                rest = rest[: len(rest) // 2]
            self.wfile.write(rest)

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
        host.url = f"http://127.0.0.1:{server.server_address[1]}"
        yield host
        server.shutdown()


@pytest.fixture
def host() -> Iterator[Host]:
    with hosting() as running:
        yield running


@pytest.fixture
def bundle(make_bundle: Callable[..., BundleTree]) -> BundleTree:
    """In a folder with a space and a non-ASCII letter; this machine is a host that HF_TOKEN is for."""
    tree = make_bundle("my bündle")
    (tree.app / "models").mkdir()
    places = tree.portable / "model_places.json"
    places.write_text(places.read_text().replace('"huggingface.co":', '"127.0.0.1":'))
    return tree


def want(
    bundle: BundleTree, url: str, *, sha256: str | None = "", size: int | None = None, path: str = "vae/a.pt"
) -> Path:
    """Write the list of one model; its place is returned."""
    digest = hashlib.sha256(MODEL).hexdigest() if sha256 == "" else sha256
    model = {"path": path, "url": url, "sha256": digest, "size": size, "license": None}
    (bundle.portable / "models.json").write_text(json.dumps({"format": 1, "models": [model]}))
    return bundle.app / "models" / path


def manage(bundle: BundleTree, *words: str | Path, **env: str) -> subprocess.CompletedProcess[str]:
    return call(bundle.root / "manage.sh", "models", *words, **env)


pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="calls the front for POSIX shells")


def test_what_is_missing_is_fetched_and_only_that(bundle: BundleTree, host: Host) -> None:
    target = want(bundle, f"{host.url}/a.pt", size=len(MODEL))
    done = manage(bundle, "fetch")
    assert done.returncode == 0, done.stderr
    assert target.read_bytes() == MODEL
    assert "no model is missing" in manage(bundle, "fetch").stdout
    assert len(host.asked) == 1


def test_broken_connection_goes_on_where_it_stopped(bundle: BundleTree, host: Host) -> None:
    host.broken = 1
    target = want(bundle, f"{host.url}/a.pt")
    assert manage(bundle, "fetch").returncode == 0
    assert target.read_bytes() == MODEL
    assert [asked.get("range") for asked in host.asked] == [None, f"bytes={len(MODEL) // 2}-"]


def test_killed_fetch_is_taken_up_by_the_next(bundle: BundleTree, host: Host) -> None:
    target = want(bundle, f"{host.url}/a.pt")
    target.parent.mkdir()
    target.with_name("a.pt.part").write_bytes(MODEL[:1000])
    assert manage(bundle, "fetch").returncode == 0
    assert target.read_bytes() == MODEL
    assert host.asked[0]["range"] == "bytes=1000-"
    assert [path.name for path in target.parent.iterdir()] == ["a.pt"]


def test_wrong_bytes_never_get_the_name(bundle: BundleTree, host: Host) -> None:
    host.body = MODEL[::-1]
    target = want(bundle, f"{host.url}/a.pt")
    done = manage(bundle, "fetch")
    assert done.returncode == 1
    assert "sha256" in done.stderr
    assert "Traceback" not in done.stderr
    assert list(target.parent.iterdir()) == []
    assert len(host.asked) == 2


def test_file_of_the_user_under_a_wanted_name_stays(bundle: BundleTree, host: Host) -> None:
    target = want(bundle, f"{host.url}/a.pt", size=len(MODEL))
    target.parent.mkdir()
    target.write_bytes(b"my own")
    done = manage(bundle, "fetch")
    assert done.returncode == 1
    assert "another file of this name" in done.stderr
    assert target.read_bytes() == b"my own"


def test_token_goes_to_its_host_alone_and_is_never_written(bundle: BundleTree, host: Host) -> None:
    """The host sends us on to another one (another port): the token does not come along."""
    with hosting() as other:
        host.redirect = other.url
        want(bundle, f"{host.url}/a.pt")
        done = manage(bundle, "fetch", HF_TOKEN=TOKEN)
        assert done.returncode == 0, done.stderr
        assert host.asked[0]["authorization"] == f"Bearer {TOKEN}"
        assert "authorization" not in other.asked[0]
    assert TOKEN not in done.stdout + done.stderr
    held = [path for path in bundle.root.rglob("*") if path.is_file() and TOKEN.encode() in path.read_bytes()]
    assert held == []


def test_login_that_is_needed_names_the_variable(bundle: BundleTree, host: Host) -> None:
    host.needs = TOKEN
    target = want(bundle, f"{host.url}/a.pt")
    done = manage(bundle, "fetch")
    assert done.returncode == 1
    assert "set HF_TOKEN to a token" in done.stderr
    assert manage(bundle, "fetch", HF_TOKEN=TOKEN).returncode == 0
    assert target.read_bytes() == MODEL


@pytest.mark.parametrize(
    ("url", "path", "expected"),
    [
        ("http://example.org/a.pt", "vae/a.pt", "is not an https address"),
        ("file:///etc/passwd", "vae/a.pt", "is not an https address"),
        ("https://example.org/a.pt", "../../a.pt", "leaves the models folder"),
        ("https://example.org/a.pt", "/etc/a.pt", "leaves the models folder"),
        ("https://example.org/a.pt", "C:\\a.pt", "leaves the models folder"),
    ],
)
def test_hostile_list_is_refused(bundle: BundleTree, url: str, path: str, expected: str) -> None:
    want(bundle, url, path=path)
    done = manage(bundle, "fetch")
    assert done.returncode == 1
    assert expected in done.stderr


def test_part_that_is_a_link_is_not_written_through(bundle: BundleTree, host: Host, tmp_path: Path) -> None:
    target = want(bundle, f"{host.url}/a.pt")
    target.parent.mkdir()
    (tmp_path / "precious").write_text("mine")
    target.with_name("a.pt.part").symlink_to(tmp_path / "precious")
    assert manage(bundle, "fetch").returncode == 0
    assert (tmp_path / "precious").read_text() == "mine"
    assert target.read_bytes() == MODEL


def test_start_without_a_terminal_says_how_and_starts(bundle: BundleTree, host: Host) -> None:
    want(bundle, f"{host.url}/a.pt")
    done = call(bundle.root / "run_comfyui.sh")
    assert done.returncode == 0
    assert "`manage models fetch` gets them" in done.stderr
    assert host.asked == []


def test_linked_folder_is_read_and_other_sections_stay(bundle: BundleTree, tmp_path: Path) -> None:
    shared = tmp_path / 'shared "models" é'
    shared.mkdir()
    file = bundle.app / "extra_model_paths.yaml"
    file.write_text("# mine\nmine:\n    base_path: /mine\n    vae: vae/")
    assert manage(bundle, "link", shared).returncode == 0
    assert manage(bundle, "link", shared).returncode == 0
    sections = yaml.safe_load(file.read_text(encoding="utf-8"))
    assert sections["mine"] == {"base_path": "/mine", "vae": "vae/"}
    assert sections["portable_shared_models"]["base_path"] == str(shared)
    assert sections["portable_shared_models"]["text_encoders"].split() == ["text_encoders/", "clip/"]
    facts = json.loads(manage(bundle, "where", "--json").stdout)
    assert facts["shared"] == str(shared)
    assert manage(bundle, "unlink").returncode == 0
    assert file.read_text() == "# mine\nmine:\n    base_path: /mine\n    vae: vae/\n"
    assert shared.is_dir()


def test_model_in_the_shared_folder_is_not_missing(bundle: BundleTree, host: Host, tmp_path: Path) -> None:
    want(bundle, f"{host.url}/a.pt", size=3)
    (tmp_path / "shared" / "vae").mkdir(parents=True)
    (tmp_path / "shared" / "vae" / "a.pt").write_bytes(b"abc")
    assert manage(bundle, "link", tmp_path / "shared").returncode == 0
    assert json.loads(manage(bundle, "where", "--json").stdout)["missing"] == []
    assert "no model is missing" in manage(bundle, "fetch").stdout


def test_first_candidate_that_exists_is_linked(bundle: BundleTree, tmp_path: Path) -> None:
    (tmp_path / "data" / "ComfyUI" / "models").mkdir(parents=True)
    done = manage(bundle, "link", XDG_DATA_HOME=str(tmp_path / "data"), COMFYUI_MODELS_DIR=str(tmp_path / "nowhere"))
    assert done.returncode == 0, done.stderr
    assert str(tmp_path / "data" / "ComfyUI" / "models") in done.stdout


@pytest.mark.parametrize("text", ["{begin}\nportable_shared_models:\n", "{end}\n{begin}\n", "{begin}\n{end}\n" * 2])
def test_damaged_marker_lines_are_told_and_nothing_is_written(bundle: BundleTree, tmp_path: Path, text: str) -> None:
    file = bundle.app / "extra_model_paths.yaml"
    content = text.format(begin=model_places._BEGIN, end=model_places._END)
    file.write_text(content)
    done = manage(bundle, "link", tmp_path)
    assert done.returncode == 1
    assert "damaged" in done.stderr
    assert file.read_text() == content


def test_folder_that_is_not_there_is_wrong_use(bundle: BundleTree, tmp_path: Path) -> None:
    done = manage(bundle, "link", tmp_path / "nowhere")
    assert done.returncode == 2
    assert "is no folder" in done.stderr


def test_candidates_come_in_the_order_of_the_table() -> None:
    environ = {"COMFYUI_MODELS_DIR": "/given"}
    named = [str(item.path) for item in model_places.candidates(environ, platform="linux")]
    assert named[:3] == ["/given", "/runpod-volume/models", "/runpod-volume/ComfyUI/models"]
    assert not any("$" in name for name in named)


def test_variables_of_the_recipe_are_expanded_from_the_users_environment(tmp_path: Path) -> None:
    recipe_env = {
        "HF_TOKEN": "${HF_TOKEN}",
        "GONE": "${NOT_SET}",
        "BOTH": "a-${HF_TOKEN}-${NOT_SET}",
        "PLAIN": "$x {y}",
    }
    result = environment.environment(tmp_path, {"HF_TOKEN": TOKEN}, recipe_env=recipe_env, windows=False)
    assert result["HF_TOKEN"] == TOKEN
    assert result["BOTH"] == f"a-{TOKEN}-"
    assert result["PLAIN"] == "$x {y}"
    assert "GONE" not in result


def test_table_fits_its_schema() -> None:
    from jsonschema import Draft202012Validator

    folder = Path(model_places.__file__).parent
    schema = json.loads((folder.parent / "model_places.schema.json").read_text())
    assert list(Draft202012Validator(schema).iter_errors(model_places.table())) == []
