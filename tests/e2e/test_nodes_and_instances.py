"""A real bundle gets a node and a second ComfyUI, moves, and gives both up again; its own files stay as they were."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "unit" / "helper_scripts"))
sys.path.insert(0, str(Path(__file__).parent))

from fake_bundles import call, make_wheel
from fake_forge import Forge
from fault_points import start_app, tree_digest

from .conftest import Built

pytestmark = pytest.mark.e2e

_NODE = "import needed\nNODE_CLASS_MAPPINGS = {}\n"
_SAY = "import segno; print(segno.__version__)"


@pytest.fixture
def site(built: Built, tmp_path: Path) -> Iterator[Path]:
    folder = tmp_path / "my bündle"
    folder.mkdir()
    subprocess.run(["unzip", "-q", built.zip, "-d", folder], check=True)
    root = next(path for path in folder.iterdir() if (path / "portable").is_dir())
    start_app(root, "unzipped")
    return root


def digest(folder: Path) -> str:
    """One hash of all that is there but bytecode, which Python writes whenever it likes."""
    for compiled in list(folder.rglob("__pycache__")):
        shutil.rmtree(compiled)
    return tree_digest(folder)


def manage(site: Path, *words: str | Path, code: int = 0, **env: str) -> str:
    done = call(site / "manage.sh", *words, **env)
    assert done.returncode == code, done.stderr
    return done.stdout if code == 0 else done.stderr


def test_a_node_and_a_second_comfyui(site: Path, tmp_path: Path) -> None:
    forge, wheels = Forge(tmp_path / "forge"), tmp_path / "wheels"
    make_wheel(wheels, "needed")
    make_wheel(wheels, "segno", "99.0", files={"segno/__init__.py": "__version__ = '99.0'\ndef make(): ...\n"})
    commit = forge.commit("me/some-node", {"__init__.py": _NODE, "requirements.txt": "needed\n"})
    forge.commit("me/bad-node", {"__init__.py": "raise ImportError('libGL.so.1')\n"})
    before = digest(site)
    with forge.serving() as env:
        failed = manage(site, "node", "add", f"{forge.url}/me/bad-node", code=1, **env)
        assert "the node bad-node cannot be imported: libGL.so.1" in failed
        assert digest(site) == before
        source = ("--wheels-dir", wheels)
        manage(site, "node", "add", f"{forge.url}/me/some-node", *source, **env)
        create = ("instance", "create", "second", "--node", f"{forge.url}/me/some-node", *source)
        made = json.loads(manage(site, *create, "--json", **env))
        assert made["size"] < 5_000_000
    with_node = digest(site / "python"), digest(site / "ComfyUI")
    manage(site, "--instance", "second", "install", *source, "segno==99.0", "--no-smoke")
    guarded = ("--instance", "second", "exec", "--", "python", "-m", "pip", "uninstall", "--yes", "numpy")
    assert "virtualenv" in manage(site, *guarded, code=3)

    site = site.rename(tmp_path / "moved")
    listed = {item["name"]: item["commit"] for item in json.loads(manage(site, "node", "list", "--json"))}
    assert listed["some-node"] == commit
    start_app(site, "moved")
    assert manage(site, "--instance", "second", "exec", "--", "python", "-c", _SAY) == "99.0\n"
    assert manage(site, "exec", "--", "python", "-c", _SAY) != "99.0\n"
    started = call(site / "instances/second/run_comfyui.sh", "--quick-test-for-ci", "--cpu")
    assert started.returncode == 0, started.stderr
    assert "some-node" in started.stderr + started.stdout
    assert "IMPORT FAILED" not in started.stderr + started.stdout
    assert (digest(site / "python"), digest(site / "ComfyUI")) == with_node

    manage(site, "--instance", "second", "rollback")
    assert manage(site, "--instance", "second", "exec", "--", "python", "-c", _SAY) != "99.0\n"
    manage(site, "instance", "remove", "second")
    manage(site, "rollback")
    shutil.rmtree(site / "ComfyUI/user/removed-instances/second")  # the node that was in it
    for folder in ("ComfyUI/user/removed-instances", "ComfyUI/user", "instances"):
        (site / folder).rmdir()
    assert digest(site) == before
