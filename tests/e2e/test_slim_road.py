"""Bytecode, strip and a kept quarantine, from the command line to the first start of what was unzipped."""

from __future__ import annotations

import os
import subprocess
import zipfile
from pathlib import Path

import pytest

from .conftest import Built, Packager, write_recipe

pytestmark = pytest.mark.e2e


def bytecode(root: Path) -> dict[str, bytes]:
    return {path.relative_to(root).as_posix(): path.read_bytes() for path in root.rglob("*.pyc")}


@pytest.mark.skipif(os.name == "nt", reason="starts the .sh helper")
def test_first_start_of_an_unzipped_bundle_uses_the_bytecode_it_came_with(built: Built, tmp_path: Path) -> None:
    subprocess.run(["unzip", "-q", built.zip, "-d", tmp_path / "un zipped"], check=True)
    root = tmp_path / "un zipped" / built.result["root"]
    shipped = bytecode(root)
    assert shipped
    for name, content in shipped.items():
        assert content[4] == (1 if name.startswith("python/") else 3), name  # PEP 552: hash-based, unchecked or checked
    done = subprocess.run(
        [root / "run_comfyui.sh", "--quick-test-for-ci", "--cpu"],
        env={"PATH": "/usr/bin:/bin", "HOME": str(tmp_path), "PYTHONVERBOSE": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    assert "__pycache__" in done.stderr
    assert f"{root}/python/lib" in done.stderr
    wrote = [line for line in done.stderr.splitlines() if line.startswith("# wrote")]
    assert not wrote
    assert bytecode(root) == shipped


def test_bytecode_and_strip_are_on_record(built: Built) -> None:
    with zipfile.ZipFile(built.zip) as archive:
        compiled = [name for name in archive.namelist() if name.endswith(".pyc")]
    assert len(compiled) > 50
    report = built.zip.with_name(f"{built.zip.stem}.report.html").read_text()
    for words in ("Where the bytes are", "(strip)", "(bytecode)", "Protected, and by which evidence", "<svg"):
        assert words in report
    assert "http://" not in report.replace("http://www.w3.org", "")
    assert "src=" not in report


def test_kept_quarantine_is_undone_and_the_next_build_gives_the_same_bytes(packager: Packager, tmp_path: Path) -> None:
    recipe = write_recipe(tmp_path, "cleanup: {tier: aggressive, bytecode: false}")
    first = packager.build("--keep-quarantine", "--no-prove", recipe=recipe)
    content = Path(first["archives"][0]).read_bytes()
    work = tmp_path / "work"
    assert (work / "quarantine").is_dir()
    root = work / "bundle" / first["root"]
    cleaned = sum(1 for path in root.rglob("*") if path.is_file())
    undone = packager.json("clean", root, "--undo")
    assert undone["paths"] > 0
    assert not (work / "quarantine").exists()
    assert not (work / "originals").exists()
    assert sum(1 for path in root.rglob("*") if path.is_file()) > cleaned
    again = packager.build("--no-prove", recipe=recipe)
    assert Path(again["archives"][0]).read_bytes() == content
    assert not (work / "quarantine").exists()
    packager.json("clean", root, "--undo", code=2)
