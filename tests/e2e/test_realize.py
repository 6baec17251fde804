"""realize and delete: in place, resumable, and of the user's files nothing lost."""

from __future__ import annotations

import json
import os
import re
import subprocess
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from .conftest import Packager, write_app

pytestmark = pytest.mark.e2e

EXAMPLES = Path(__file__).parents[2] / "examples"
TOKEN = "secret-token-c4ca4238"
MODEL = b"m" * 5000


def run(packager: Packager, *words: str | Path, **env: str) -> subprocess.CompletedProcess[str]:
    return packager.run(*words, env=env)


def spec(folder: Path, **changes: object) -> Path:
    """A JSON document of schema_version 2, its repositories mirrored to local folders by the tests, its Python ours."""
    value = {
        "schema_version": 2,
        "version_id": "wan22-fast",
        "runtime": "host",
        "comfy": {"repo": "https://github.com/comfyanonymous/ComfyUI", "ref": "master", "commit": "a" * 40},
        "custom_nodes": [{"repo": "https://github.com/org/hello-node", "name": "hello", "commit": "b" * 40}],
        "models": [],
        "python_packages": ["packaging>=20.0,<99.0"],
        "env": {"HF_TOKEN": "${HF_TOKEN}"},
        "options": {"offline": False, "skip_models": False},
        **changes,
    }
    path = folder / "wan.json"
    path.write_text(json.dumps(value, indent=4))
    return path


def sources(node: Path = EXAMPLES / "hello-node") -> list[str]:
    return ["--source", f"ComfyUI={EXAMPLES / 'hello-comfy'}", "--source", f"hello={node}"]


@pytest.fixture
def model_url() -> Iterator[str]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Length", str(len(MODEL)))
            self.end_headers()
            self.wfile.write(MODEL)

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_address[1]}/wan22.safetensors"
        server.shutdown()


def test_json_document_is_realized_run_deleted_and_realized_again(
    packager: Packager, tmp_path: Path, model_url: str
) -> None:
    """The whole life of one, in one test: each step is dear."""
    models = [{"source": model_url, "name": "wan22-unet", "target_subdir": "unet"}]
    recipe = spec(tmp_path, models=models)
    words = ["realize", recipe, "--home", "my home", *sources()]
    done = run(packager, *words, "--json", HF_TOKEN=TOKEN)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["needs"] == {}
    root = tmp_path / "my home" / "wan22-fast"
    assert (root / "ComfyUI/models/unet/wan22-unet.safetensors").read_bytes() == MODEL
    assert [path.name for path in root.parent.iterdir()] in (["wan22-fast", ".packager"], [".packager", "wan22-fast"])
    assert [path for path in tmp_path.rglob("*") if path.is_file() and TOKEN.encode() in path.read_bytes()] == []

    order = ["repositories placed:", "packages:", "downloads:"]  # then the check of the nodes' dependencies, above
    assert sorted(order, key=done.stderr.rindex) == order
    assert re.search(r"==> clean\n *0 of ", done.stderr)  # tier none
    verified = subprocess.run([root / "manage.sh", "verify"], capture_output=True, text=True, check=False)
    assert verified.returncode == 0, verified.stderr + verified.stdout

    started = subprocess.run(
        [root / "run_comfyui.sh", "--quick-test-for-ci", "--cpu"], capture_output=True, text=True, check=False
    )
    assert started.returncode == 0, started.stderr
    shown = subprocess.run(
        [root / "manage.sh", "exec", "--", "python", "-c", "import os, packaging; print(os.environ.get('HF_TOKEN'))"],
        env={**os.environ, "HF_TOKEN": TOKEN},
        capture_output=True,
        text=True,
        check=True,
    )
    assert shown.stdout.strip() == TOKEN

    again = run(packager, *words, "--json")
    assert json.loads(again.stdout)["new"] is False
    changed = run(packager, "realize", spec(tmp_path, python_packages=[]), "--home", "my home", *sources())
    assert changed.returncode == 2
    assert "packager delete wan22-fast" in changed.stderr

    mine = {
        "ComfyUI/models/vae/mine.pt": "m",
        "ComfyUI/output/picture.png": "p",
        "ComfyUI/input/in.png": "i",
        "ComfyUI/custom_nodes/added/__init__.py": "a",
        "ComfyUI/extra_model_paths.yaml": "mine: {}\n",
    }
    write_app(root, {**mine, "python/lib/later.py": "installed later"})
    (root / "ComfyUI/main.py").write_text((root / "ComfyUI/main.py").read_text() + "# my change\n")
    refused = run(packager, "delete", "wan22-fast", "--home", "my home")
    assert refused.returncode == 2
    assert "--yes" in refused.stderr
    assert (root / "python").is_dir()
    deleted = run(packager, "delete", "wan22-fast", "--home", "my home", "--yes", "--json")
    assert deleted.returncode == 0, deleted.stderr
    kept = {path.relative_to(root).as_posix() for path in root.rglob("*") if path.is_file()}
    assert {*mine, "ComfyUI/main.py"} <= kept
    assert all(
        name.startswith(("ComfyUI/user/", "ComfyUI/output/")) or name in {*mine, "ComfyUI/main.py"} for name in kept
    )

    back = run(packager, "realize", spec(tmp_path, models=models), "--home", "my home", *sources(), "--json")
    assert back.returncode == 0, back.stderr
    assert (root / "ComfyUI/main.py").read_text().endswith("# my change\n")
    assert "ComfyUI/main.py was there before and was kept" in back.stderr
    assert {name: (root / name).read_text() for name in mine} == mine
    assert (root / "ComfyUI/models/unet/wan22-unet.safetensors").read_bytes() == MODEL
    for answer in (b"n\n", b"\n", b"\x04"):  # the last is Ctrl-D
        kept = on_terminal(packager, answer, "delete", "wan22-fast", "--home", "my home", "--all", "--json")
        assert json.loads(kept.stdout)["removed"] == 0
        assert f"of {root}; 0 files stay? [y/N]" in kept.stderr
        assert (root / "python").is_dir()
    gone = on_terminal(packager, b"y\n", "delete", "wan22-fast", "--home", "my home", "--all", "--json")
    assert json.loads(gone.stdout)["removed"] > 0
    assert not root.exists()


def on_terminal(packager: Packager, answer: bytes, *words: str) -> subprocess.CompletedProcess[str]:
    """Run the program with a terminal to read from, on which somebody types `answer`."""
    keyboard, terminal = os.openpty()
    try:
        os.write(keyboard, answer)
        return subprocess.run(
            packager.command(*words),
            cwd=packager.folder,
            stdin=terminal,
            capture_output=True,
            text=True,
            timeout=60,
            check=True,
        )
    finally:
        os.close(keyboard)
        os.close(terminal)


# The documents of the specification of `schema_version: 2`, with what it leaves open filled in.
SPECIFICATION = {
    "form": """{
  "schema_version": 2,
  "version_id": "my-version",
  "comfy": { "repo": "https://github.com/comfyanonymous/ComfyUI" },
  "custom_nodes": [ { "repo": "https://github.com/org/hello-node", "name": "hello" } ],
  "models": [],
  "python_packages": [
    "packaging",
    "packaging==24.2",
    "idna>=2.0,<4.0"
  ],
  "env": {},
  "options": {}
}""",
    "example": """{
  "schema_version": 2,
  "version_id": "wan22-fast",
  "comfy": {
    "repo": "https://github.com/comfyanonymous/ComfyUI",
    "ref": "master"
  },
  "custom_nodes": [ { "repo": "https://github.com/org/hello-node", "name": "hello" } ],
  "models": [],
  "python_packages": [
    "sageattention",
    "onnx",
    "onnxruntime-gpu"
  ]
}""",
}


@pytest.mark.parametrize("name", SPECIFICATION)
def test_documents_of_the_specification_are_taken_unchanged(packager: Packager, tmp_path: Path, name: str) -> None:
    (tmp_path / "versions.json").write_text(SPECIFICATION[name])
    asked = json.loads(SPECIFICATION[name])["python_packages"]
    assert run(packager, "validate", "versions.json").returncode == 0
    words = ["--home", "h", *sources()]
    done = run(packager, "realize", "versions.json", *words, "--dry-run", "--json")
    assert done.returncode == 0, done.stderr
    lock = json.loads(done.stdout)["lock"]
    assert {Requirement(line).name for line in asked} <= {package["name"] for package in lock["packages"]}


def test_unmet_requirements_are_told_by_node_and_models_go_apart(
    packager: Packager, tmp_path: Path, model_url: str
) -> None:
    node = write_app(
        tmp_path / "picky",
        {
            "__init__.py": "NODE_CLASS_MAPPINGS = {}\n",
            "requirements.txt": "idna\n\nattrs<1  # old\npip; os_name == 'nt'\n",
        },
    )
    models = [{"url": model_url, "type": "vae"}]
    recipe = spec(tmp_path, models=models, overrides=["attrs>=22"])
    done = run(
        packager, "realize", recipe, "--home", "h", *sources(node), "--models-dir", tmp_path / "shared", "--json"
    )
    assert done.returncode == 0, done.stderr
    (line,) = json.loads(done.stdout)["needs"]["hello"]
    assert line.startswith("requirements.txt:3: 'attrs<1' is wanted, installed is 2")
    assert (tmp_path / "shared/vae/wan22.safetensors").read_bytes() == MODEL
    paths = (tmp_path / "h/wan22-fast/ComfyUI/extra_model_paths.yaml").read_text()
    assert str(tmp_path / "shared") in paths
    assert not list((tmp_path / "h").rglob("*.safetensors"))


@pytest.mark.parametrize("word", ["../victim", "..", "a/b", "victim", ".packager"])
def test_folder_that_is_not_ours_is_not_deleted(packager: Packager, tmp_path: Path, word: str) -> None:
    for folder in (tmp_path / "h" / "victim", tmp_path / "victim"):
        write_app(folder, {"python/precious.txt": "x"})
    done = run(packager, "delete", word, "--home", "h", "--yes", "--all")
    assert done.returncode == 2, done.stderr
    assert len(list(tmp_path.rglob("precious.txt"))) == 2


def test_folder_that_is_not_ours_is_not_realized_into(packager: Packager, tmp_path: Path) -> None:
    write_app(tmp_path / "h" / "wan22-fast", {"letter.txt": "dear"})
    done = run(packager, "realize", spec(tmp_path), "--home", "h", *sources())
    assert done.returncode == 2
    assert [path.name for path in (tmp_path / "h/wan22-fast").iterdir()] == ["letter.txt"]


def test_dry_run_prints_the_plan_and_makes_nothing(packager: Packager, tmp_path: Path) -> None:
    done = run(packager, "realize", spec(tmp_path), "--home", "h", *sources(), "--dry-run")
    assert done.returncode == 0, done.stderr
    assert "packaging==" in done.stdout
    assert [path.name for path in tmp_path.iterdir()] == ["wan.json"]
