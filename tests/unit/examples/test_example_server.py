"""examples/hello-comfy and hello-node, started for real: what it says, serves, renders and refuses."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import uv

REPOSITORY = Path(__file__).parents[3]
sys.path.insert(0, str(REPOSITORY / "examples"))
import try_bundle  # noqa: E402

EXAMPLES = REPOSITORY / "examples"
WORKFLOW = json.loads((EXAMPLES / "hello-workflow.json").read_text(encoding="utf-8"))


@dataclass(frozen=True, kw_only=True)
class App:
    """hello-comfy with hello-node in a folder of its own. `python` has their requirements."""

    folder: Path
    python: Path

    def run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        command = [self.python, self.folder / "main.py", *arguments]
        return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


@pytest.fixture(scope="session")
def python(tmp_path_factory: pytest.TempPathFactory) -> Path:
    prefix = tmp_path_factory.mktemp("hello") / "python"
    subprocess.run([uv.find_uv_bin(), "venv", "--quiet", "--python", sys.executable, prefix], check=True)
    wishes = [f"--requirement={EXAMPLES / name / 'requirements.txt'}" for name in ("hello-comfy", "hello-node")]
    python = prefix / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
    subprocess.run([uv.find_uv_bin(), "pip", "install", "--quiet", "--python", python, *wishes], check=True)
    return python


def install_app(folder: Path, python: Path) -> App:
    unused = shutil.ignore_patterns("__pycache__", "*.png", "palette.json")
    shutil.copytree(EXAMPLES / "hello-comfy", folder, ignore=unused)
    node = folder / "custom_nodes" / "hello-node"
    shutil.copytree(EXAMPLES / "hello-node", node, ignore=unused)
    subprocess.run([python, "install.py"], cwd=node, check=True)
    return App(folder=folder, python=python)


@pytest.fixture
def app(tmp_path: Path, python: Path) -> App:
    return install_app(tmp_path / "ComfyUI", python)


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory, python: Path) -> App:
    """The app whose server `server` is."""
    return install_app(tmp_path_factory.mktemp("served") / "ComfyUI", python)


@pytest.fixture(scope="module")
def server(served: App) -> Iterator[str]:
    port = try_bundle.free_port()
    process = subprocess.Popen(
        [served.python, served.folder / "main.py", "--cpu", "--port", str(port)],
        env={**os.environ, "HELLO_COMFY_GREETING": "from the recipe"},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        try_bundle.wait_until_ready(process, f"http://127.0.0.1:{port}/system_stats")
        yield f"http://127.0.0.1:{port}"
        process.send_signal(signal.SIGINT)
        assert process.wait(20) == 0
    finally:
        try_bundle.kill(process)


def ask(url: str, body: bytes | None = None) -> tuple[int, bytes]:
    try:
        with urllib.request.urlopen(url, data=body, timeout=30) as response:
            return response.status, response.read()
    except urllib.error.HTTPError as error:
        return error.code, error.read()


def post(server: str, prompt: object) -> tuple[int, Any]:
    code, body = ask(f"{server}/prompt", json.dumps({"prompt": prompt}).encode())
    return code, json.loads(body)


def test_quick_test_tells_of_nodes_as_comfyui_does_and_exits_0(app: App) -> None:
    nodes = app.folder / "custom_nodes"
    (nodes / "broken.py").write_text("import no_such_module\n", encoding="utf-8")
    (nodes / "empty").mkdir()
    (nodes / "nothing.py").write_text("", encoding="utf-8")
    (nodes / "off.py.disabled").write_text("raise SystemExit(9)\n", encoding="utf-8")
    finished = app.run("--quick-test-for-ci", "--cpu")
    assert finished.returncode == 0
    lines = finished.stderr.splitlines()
    times = lines[lines.index("Import times for custom nodes:") + 1 :]
    shape = re.compile(r" +\d+\.\d seconds( \(IMPORT FAILED\))?: .*/([^/]+)")
    found = {match[2]: bool(match[1]) for line in times if (match := shape.fullmatch(line))}
    assert found == {"hello-node": False, "broken.py": True, "empty": True, "nothing.py": True}
    assert f"Cannot import {nodes / 'broken.py'} module for custom nodes: No module named 'no_such_module'" in lines


def test_node_whose_install_script_was_not_run_fails_its_import(app: App) -> None:
    (app.folder / "custom_nodes/hello-node/palette.json").unlink()
    assert "(IMPORT FAILED)" in app.run("--quick-test-for-ci").stderr


def test_custom_nodes_can_be_disabled_and_listed(app: App) -> None:
    disabled = app.run("--quick-test-for-ci", "--disable-all-custom-nodes")
    assert "Skipping loading of custom nodes" in disabled.stderr
    (app.folder / "custom_nodes/broken.py").write_text("import no_such_module\n", encoding="utf-8")
    one = app.run("--quick-test-for-ci", "--disable-all-custom-nodes", "--whitelist-custom-nodes", "hello-node")
    assert "hello-node" in one.stderr
    assert "broken" not in one.stderr


def test_base_directory_gets_the_folders(app: App, tmp_path: Path) -> None:
    base = tmp_path / "my data é"
    assert app.run("--quick-test-for-ci", "--base-directory", str(base)).returncode == 0
    assert sorted(path.name for path in base.iterdir()) == ["custom_nodes", "input", "models", "output"]
    assert (base / "input/3d").is_dir()


def test_workflow_becomes_a_picture_in_the_output_folder(server: str, served: App) -> None:
    picture = try_bundle.render(server, WORKFLOW)
    assert try_bundle.check_picture(picture, WORKFLOW)[:2] == (512, 384)
    assert (served.folder / "output/quickstart_00001_.png").read_bytes() == picture
    assert try_bundle.render(server, WORKFLOW)
    assert (served.folder / "output/quickstart_00002_.png").is_file()
    rows = try_bundle.decode_png(picture)
    assert rows[-1][-3:] == b"\xff\xff\xff"  # the white border of the QR code, made by the custom node


def test_page_stats_and_node_descriptions(server: str) -> None:
    assert b"<title>hello-comfy</title>" in ask(f"{server}/")[1]
    assert json.loads(ask(f"{server}/system_stats")[1])["system"]["comfyui_version"] == "0.1.0"
    nodes = json.loads(ask(f"{server}/object_info")[1])
    assert nodes["QRCodeOverlay"]["python_module"] == "custom_nodes.hello-node"
    assert nodes["SaveImage"]["output_node"] is True
    assert nodes["TextOverlay"]["input"]["required"]["text"][1]["default"] == "from the recipe"
    assert list(json.loads(ask(f"{server}/object_info/BlurImage")[1])) == ["BlurImage"]


def changed(node: str, **inputs: object) -> dict[str, Any]:
    prompt = json.loads(json.dumps(WORKFLOW))
    prompt[node]["inputs"].update(inputs)
    return prompt


@pytest.mark.parametrize(
    ("prompt", "kind"),
    [
        (None, "no_prompt"),
        ([], "no_prompt"),
        ({}, "no_prompt"),
        ({"1": 7}, "invalid_prompt"),
        ({"1": {"class_type": ["SaveImage"]}}, "invalid_prompt"),
        ({"1": {"class_type": "NoSuchNode", "inputs": {}}}, "invalid_prompt"),
        ({"1": WORKFLOW["1"]}, "prompt_no_outputs"),
        (changed("5", images=["99", 0]), "bad_linked_input"),
        (changed("5", images=["4", 1]), "bad_linked_input"),
        (changed("5", images=["4", -1]), "bad_linked_input"),
        (changed("5", images=[["4"], 0]), "bad_linked_input"),
        (changed("5", images=7), "invalid_input_type"),
        (changed("3", text=["1", 0]), "return_type_mismatch"),
        (changed("1", width=1), "value_smaller_than_min"),
        (changed("1", width=10**9), "value_bigger_than_max"),
        (changed("1", width="512"), "invalid_input_type"),
        (changed("1", width=True), "invalid_input_type"),
        (changed("2", radius=float("nan")), "value_bigger_than_max"),
        (changed("4", colour="pink"), "value_not_in_list"),
        (changed("2", image=["3", 0]), "dependency_cycle"),
        ({"5": {"class_type": "SaveImage", "inputs": {}}}, "required_input_missing"),
    ],
)
def test_bad_prompts_are_refused_with_the_reason(server: str, prompt: object, kind: str) -> None:
    code, body = post(server, prompt)
    assert code == 400
    errors = [error["type"] for node in body["node_errors"].values() for error in node["errors"]]
    assert kind in [body["error"]["type"], *errors]


def test_bodies_that_are_no_prompt_are_refused(server: str) -> None:
    for body in (b"", b"{", b"[]", b"7", b"\xff", b"[" * 100_000):
        assert ask(f"{server}/prompt", body)[0] == 400


def test_nothing_outside_the_output_folder_is_read_or_written(server: str, served: App) -> None:
    """.., absolute paths, NUL, an empty name, in /view and in the name of a picture."""
    around = served.folder.parent
    secret = around / "secret.png"
    secret.write_bytes(b"secret")
    for name, subfolder in (
        ("../../secret.png", ""),
        (str(secret), ""),
        ("secret.png", "../.."),
        ("a\0b", ""),
        ("", ""),
    ):
        query = urllib.parse.urlencode({"filename": name, "subfolder": subfolder})
        assert ask(f"{server}/view?{query}")[0] == 400, name
    assert ask(f"{server}/view?filename=none.png")[0] == 404
    before = sorted(around.rglob("*.png"))
    for prefix in ("../escaped", "/tmp/escaped", "a/../../../escaped", "", "a\0b"):
        with pytest.raises(try_bundle.TrialError, match="workflow failed"):
            try_bundle.render(server, changed("5", filename_prefix=prefix))
    assert sorted(around.rglob("*.png")) == before
    assert try_bundle.render(server, changed("5", filename_prefix="sub folder/ok"))
    assert (served.folder / "output/sub folder/ok_00001_.png").is_file()


def test_a_port_in_use_is_one_line_and_exit_code_1(app: App, server: str) -> None:
    port = server.rpartition(":")[2]
    finished = app.run("--port", port)
    assert finished.returncode == 1
    assert finished.stderr.splitlines()[-1].startswith(f"Cannot serve on 127.0.0.1 port {port}: ")
