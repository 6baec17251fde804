"""A dry release from two versions of a recipe, in parts, and a newcomer who does what README.txt says, word by word."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import urllib.request
from pathlib import Path
from typing import Any

import pytest

from packager import resources

from .conftest import Packager
from .test_offline_road import write_wheel

sys.path.insert(0, str(resources.data_root() / "examples"))

import try_bundle

pytestmark = pytest.mark.e2e


@pytest.fixture(scope="module")
def releases(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """Release 1.0.0 and, with one package more, 1.1.0, each in a folder of its own."""
    folder = tmp_path_factory.mktemp("releases")
    packager = Packager(folder=folder)
    examples = str(resources.data_root() / "examples")
    text = (resources.recipes() / "quickstart.yml").read_text(encoding="utf-8").replace("../examples", examples)
    common = ["--work", folder / "work", "--max-part-size", "30MiB"]
    (folder / "r.yml").write_text(f"{text}\nversion: 1.0.0\n", encoding="utf-8")
    first = packager.json("release", folder / "r.yml", "-o", folder / "one", "--tag", "v1.0.0", *common)
    (folder / "r.yml").write_text(f"{text}\nversion: 1.1.0\npython_packages: [six==1.16.0]\n", encoding="utf-8")
    second = packager.json("release", folder / "r.yml", "-o", folder / "two", "--previous", folder / "one", *common)
    return {"folder": folder, "packager": packager, "first": first, "second": second}


def test_the_release_is_complete_and_tells_what_changed(releases: dict[str, Any]) -> None:
    folder = releases["folder"] / "two"
    names = {path.name for path in folder.iterdir()}
    assert set(releases["second"]["files"]) | {"RELEASE_NOTES.md"} == names
    parts = sorted(name for name in names if name.endswith(".zip"))
    assert len(parts) >= 2
    assert all("1.1.0" in name and "part" in name for name in parts)
    subprocess.run(["sha256sum", "--check", "--strict", "--quiet", "SHA256SUMS"], cwd=folder, check=True)
    notes = (folder / "RELEASE_NOTES.md").read_text(encoding="utf-8")
    assert "## Changes since 1.0.0" in notes
    assert "- six 1.16.0: new" in notes
    assert "- numpy" not in notes
    assert all(f"`{name}`" in notes for name in parts)


def test_what_runners_built_is_collected_elsewhere_and_a_missing_part_blocks(releases: dict[str, Any]) -> None:
    folder, packager = releases["folder"], releases["packager"]
    artifact = folder / "artifacts" / "row"
    shutil.copytree(folder / "two", artifact)
    words = ["release", folder / "r.yml", "--from", folder / "artifacts", "-o", folder / "three"]
    one = ["--target", next(path.name for path in artifact.glob("*.lock.json")).split("-", 3)[3].split(".")[0]]
    done = packager.json(*words, *one)
    assert done["files"] == releases["second"]["files"]
    whole = packager.json(*words, code=5)  # the recipe's matrix has another target, which nobody built
    assert "there is no bundle" in whole["error"]
    next(artifact.glob("*part2of*.zip")).unlink()
    assert "part2of" in packager.json(*words, *one, code=5)["error"]


def test_a_wrong_tag_stops_before_anything_is_built(releases: dict[str, Any]) -> None:
    folder, packager = releases["folder"], releases["packager"]
    words = ["release", folder / "r.yml", "-o", folder / "never", "--tag", "v9.9.9"]
    assert "v9.9.9" in packager.json(*words, code=2)["error"]
    assert not (folder / "never").exists()


def test_diff_and_release_notes_agree_with_the_release(releases: dict[str, Any]) -> None:
    one, two = (releases["folder"] / name for name in ("one", "two"))
    packager = releases["packager"]
    found = packager.json("diff", next(one.glob("*part1of*.zip")), next(two.glob("*.manifest.json")))
    assert found["packages"] == [{"name": "six", "old": None, "new": "1.16.0"}]
    found = packager.json("release-notes", *(next(place.glob("*.lock.json")) for place in (one, two)))
    assert [item["name"] for item in found["packages"]] == ["six"]


def test_a_newcomer_follows_readme_txt(releases: dict[str, Any], tmp_path: Path) -> None:
    """Every command README.txt shows is run as it stands there, from the folder that unzipping made."""
    place = tmp_path / "my downloads é"
    place.mkdir()
    for part in sorted((releases["folder"] / "two").glob("*.zip")):
        subprocess.run(["unzip", "-q", part, "-d", place], check=True)
    (root,) = place.iterdir()
    text = (root / "README.txt").read_text(encoding="utf-8")
    commands = re.findall(r"^ {4}(\./\S.*)$", text, re.MULTILINE)
    assert len(commands) >= 6
    (tmp_path / "FOLDER").mkdir()
    node = shutil.make_archive(str(tmp_path / "a-node"), "zip", resources.data_root() / "examples/hello-node")
    wheel = write_wheel(tmp_path, "some_package")  # no index: what is installed must be new to the bundle
    env = {"PATH": "/usr/bin:/bin", "HOME": str(tmp_path / "home")}
    for command in commands:
        if command == "./run_comfyui.sh":
            follow_start(root)
            continue
        line = command.replace("FOLDER", str(tmp_path / "FOLDER")).replace("some-package", f"'{wheel}'")
        line = line.replace("rollback 7", "rollback 1")
        line = line.replace("https://github.com/OWNER/NAME", node).replace("ZIP", str(releases["folder"] / "two"))
        line = line.replace("ComfyUI/custom_nodes/some-node/", "ComfyUI/custom_nodes/hello-node/")
        done = subprocess.run(
            line, shell=True, cwd=root, env=env, capture_output=True, text=True, timeout=300, check=False
        )
        assert done.returncode == 0, f"{line}\n{done.stdout}\n{done.stderr}"
    moved = tmp_path / "moved"
    root.rename(moved)
    follow_start(moved)
    shutil.rmtree(moved)


def follow_start(root: Path) -> None:
    """START: run it, open its address in place of a browser, stop it with Ctrl-C."""
    port = try_bundle.free_port()
    address = f"http://127.0.0.1:{port}/"
    with try_bundle.running(root, port, root.parent / "log"), urllib.request.urlopen(address, timeout=30) as answer:
        assert answer.status == 200
