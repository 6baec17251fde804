"""Bundles to call helpers in: one with a tiny app, one with a Python that has pip."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import uv

from packager import targets
from packager.bundle import BundleTree

REPOSITORY = Path(__file__).parents[3]
sys.path.insert(0, str(Path(__file__).parent))
sys.path.insert(0, str(REPOSITORY / "helper_scripts"))  # the build side never imports it; its tests do

from fake_bundles import fill_bundle  # noqa: E402


@pytest.fixture
def make_bundle(tmp_path: Path) -> Callable[..., BundleTree]:
    """Makes a bundle in a folder of the given name, its python a link to a real one."""

    def make(name: str = "bundle", **changes: object) -> BundleTree:
        tree = fill_bundle(tmp_path / name, targets.current(), **changes)
        tree.python.parent.mkdir(parents=True)
        tree.python.symlink_to(Path(sys.executable).resolve())
        return tree

    return make


@pytest.fixture(scope="session")
def python_with_pip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A Python prefix with pip in it. Copy it."""
    prefix = tmp_path_factory.mktemp("python") / "prefix"
    subprocess.run([uv.find_uv_bin(), "venv", "--quiet", "--seed", "--python", sys.executable, prefix], check=True)
    # Helpers call pip with -B: without this each of many calls would compile it anew.
    compiling = [prefix / "bin/python", "-m", "compileall", "-q", *prefix.glob("lib/python3*/site-packages/pip")]
    subprocess.run(compiling, check=True)
    return prefix


@pytest.fixture
def pip_bundle(tmp_path: Path, python_with_pip: Path) -> BundleTree:
    """A bundle in a folder with a space and a non-ASCII letter, into which packages can be installed."""
    tree = fill_bundle(tmp_path / "my bündle", targets.current())
    shutil.copytree(python_with_pip, tree.prefix, symlinks=True)
    return tree
