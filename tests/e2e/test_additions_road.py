"""Patches and native packages in a real build: locked, installed from their own places, and never other bytes."""

from __future__ import annotations

import json
import platform
import shutil
from pathlib import Path
from typing import Any

import pytest

from .conftest import Packager, write_recipe
from .test_offline_road import files_url, link, write_wheel

__all__ = ["files_url"]
pytestmark = pytest.mark.e2e
TAG = "cp" + "".join(platform.python_version_tuple()[:2])


def torch_files(label: str, cuda: str | None) -> dict[str, str]:
    """As torch's build writes version.py (pytorch tools/generate_torch_version.py)."""
    lines = [f"__version__ = '2.11.0+{label}'", f"cuda: Optional[str] = {cuda!r}", "hip: Optional[str] = None"]
    return {"__init__.py": "", "version.py": "\n".join(["from typing import Optional", *lines, ""])}


def write_torch(folder: Path, *, cuda: str | None) -> None:
    """A torch of a few bytes that says it is for CUDA 12.8 in its name, and `cuda` in its version.py."""
    shutil.rmtree(folder, ignore_errors=True)
    link(write_wheel(folder, "torch", version="2.11.0+cu128", package=torch_files("cu128", cuda)).parent)


@pytest.fixture
def recipe(tmp_path: Path, files_url: str) -> Path:
    served = tmp_path / "served"
    write_torch(served / "cu128" / "torch", cuda="12.8")
    link(write_wheel(served / "cu128" / "xformers", "xformers", version="0.0.34", requires=["torch==2.11.0"]).parent)
    link(write_wheel(served / "own" / "private", "private", requires=["filelock"]).parent)
    faces = {}
    for tag in ("cp310", "cp311", "cp312", "cp313", "cp314"):
        path = write_wheel(served / "files", "faces", tag=f"{tag}-none-any", text=f"TAG = {tag!r}\n")
        faces[tag] = f"{files_url}/files/{path.name}"
    lines = {
        "accelerator": "cu128",
        "torch": {"index": f"{files_url}/cu128/", "version": "2.11.0"},
        "python_packages": ["torch", "attrs"],
        "patches": [
            {"uninstall": ["attrs"], "install": ["private"], "index": f"{files_url}/own/"},
            {"wheels": faces, "when": "python_version >= '3.10'"},
            {"install": ["never-made"], "when": "sys_platform == 'win32' or python_version < '3'"},
        ],
        "native_packages": [{"name": "xformers", "required": True}, {"name": "flash-attn"}],
    }
    return write_recipe(tmp_path, *(f"{name}: {json.dumps(value)}" for name, value in lines.items()))


def lock(packager: Packager, recipe: Path, code: int = 0) -> dict[str, Any]:
    return packager.json("lock", recipe, "--work", packager.folder / "work", code=code)


def test_what_is_locked_is_installed_and_nothing_else(packager: Packager, recipe: Path, tmp_path: Path) -> None:
    """One road in several steps: each build is dear."""
    locked = lock(packager, recipe)
    own, faces, skipped, xformers, flash = locked["additions"]
    assert own["uninstall"] == ["attrs"]
    pins = {item["name"]: item["index"] for item in own["packages"]}
    assert pins["private"].endswith("/own/")
    assert not pins["filelock"].endswith("/own/")
    (face,) = faces["packages"]
    assert face["url"].endswith(f"/files/faces-1.0-{TAG}-none-any.whl")
    assert len(face["hashes"]) == 1
    assert skipped["tried"] == ["not true here: sys_platform == 'win32' or python_version < '3'"]
    assert (xformers["chosen"].split()[0], [item["version"] for item in xformers["packages"]]) == (
        "xformers",
        ["0.0.34"],
    )
    assert flash["chosen"] is None
    assert "nothing for this torch" in flash["tried"][0]

    built = packager.build("--no-prove", "--format", "dir", recipe=recipe)
    site = next(Path(built["archives"][0]).rglob("site-packages"))
    assert (site / "faces.py").read_text() == f"TAG = {TAG!r}\n"
    assert {"private.py", "xformers.py", "torch"} <= {path.name for path in site.iterdir()}
    assert not (site / "attrs").exists()
    report = json.loads(Path(built["report"]).read_text())
    assert report["install"]["torch"][0]["cuda"] == "12.8"
    assert report["additions"] == locked["additions"]
    assert any(warning.startswith("flash-attn is left out") for warning in report["warnings"])
    constraints = next(Path(built["archives"][0]).rglob("portable/lock.txt")).read_text()
    assert {"private==1.0", "faces==1.0", "xformers==0.0.34"} <= set(constraints.split())
    assert "attrs==" not in constraints

    write_wheel(tmp_path / "served" / "files", "faces", tag=f"{TAG}-none-any", text="import os\n")
    fresh = {"PACKAGER_CACHE_DIR": str(tmp_path / "fresh")}
    again = packager.run("build", recipe, "-o", "d2", "--work", "w2", "--no-prove", env=fresh)
    assert again.returncode == 3, again.stderr
    assert "sha256" in again.stderr
    assert not (tmp_path / "d2").exists()

    write_wheel(tmp_path / "served" / "files", "faces", tag=f"{TAG}-none-any", text=f"TAG = {TAG!r}\n")
    write_torch(tmp_path / "served" / "cu128" / "torch", cuda=None)
    fresh |= {"UV_CACHE_DIR": str(tmp_path / "uv")}
    other = packager.run("build", recipe, "-o", "d2", "--work", "w2", "--no-prove", env=fresh)
    assert other.returncode == 3, other.stderr  # the lock knows its hash
    assert packager.run("lock", recipe, "--work", "w3", "--upgrade", env=fresh).returncode == 0
    other = packager.run("build", recipe, "-o", "d2", "--work", "w2", "--no-prove", env=fresh)
    assert other.returncode == 4, other.stderr
    assert "torch" in other.stderr
    assert not (tmp_path / "d2").exists()


def test_required_package_that_cannot_be_had_ends_the_lock(packager: Packager, recipe: Path, tmp_path: Path) -> None:
    shutil.rmtree(tmp_path / "served" / "cu128" / "xformers")
    done = packager.run("lock", recipe, "--work", "work")
    assert done.returncode == 4
    assert "native_packages xformers: is required and cannot be had" in done.stderr
    assert not list(tmp_path.glob("*.lock.json"))
