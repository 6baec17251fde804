"""Real interpreters, shells, wheels and trees for the tests of relocation."""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path

import pytest
from relocation_trees import DOC_SCRIPT, ENTRY_POINTS, MAIN, SHELLS, UV, VERSION, run, write_wheel

from packager import targets
from packager.bundle import BundleTree


@pytest.fixture(params=list(SHELLS))
def shell(request: pytest.FixtureRequest) -> list[str]:
    """The words that run a script with one of the shells that may be /bin/sh."""
    words = SHELLS[request.param]
    if shutil.which(words[0]) is None:
        pytest.skip(f"{words[0]} is not installed")
    return words


@pytest.fixture(scope="session")
def demo_wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A wheel with a console script, a GUI script, a Python script with a docstring and a shell script."""
    info = "demo_pkg-1.0.dist-info"
    return write_wheel(
        tmp_path_factory.mktemp("wheels"),
        "demo_pkg",
        {
            "demo_pkg/__init__.py": MAIN,
            f"{info}/entry_points.txt": ENTRY_POINTS,
            "demo_pkg-1.0.data/scripts/demo-doc": DOC_SCRIPT,
            "demo_pkg-1.0.data/scripts/demo-sh": '#!/bin/sh\necho "shell $1"\n',
        },
    )


@pytest.fixture(scope="session")
def python_copy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A prefix with a copy of the interpreter that runs the tests: its program, its library, pip, nothing else."""
    base = Path(sys.base_prefix)
    program, library = base / "bin" / f"python{VERSION}", base / "lib" / f"python{VERSION}"
    if not program.is_file() or not (library / "os.py").is_file():
        pytest.skip("this Python keeps its library in a place of its own")
    prefix = tmp_path_factory.mktemp("base") / "python"
    (prefix / "bin").mkdir(parents=True)
    shutil.copy2(program, prefix / "bin" / program.name)
    (prefix / "bin" / "python").symlink_to(program.name)
    dropped = ("test", "tests", "idlelib", "turtledemo", "lib2to3", "tkinter", "__pycache__", "site-packages", "*.a")
    shutil.copytree(library, prefix / "lib" / library.name, ignore=shutil.ignore_patterns(*dropped), symlinks=True)
    (prefix / "lib" / library.name / "site-packages").mkdir()
    if (base / "lib" / "pkgconfig").is_dir():
        shutil.copytree(base / "lib" / "pkgconfig", prefix / "lib" / "pkgconfig", symlinks=True)
    return prefix


@pytest.fixture
def built(tmp_path: Path, python_copy: Path, demo_wheel: Path) -> BundleTree:
    """A bundle as the installer leaves it: pip (by pip) and the demo wheel (by uv) in a copied interpreter."""
    root = tmp_path / "build folder" / "ComfyUI_portable"
    shutil.copytree(python_copy, root / "python", symlinks=True)
    python = root / "python" / "bin" / "python"
    bundled = next((root / "python" / "lib").glob("python3*/ensurepip/_bundled/pip-*.whl"))
    clean = {
        key: value for key, value in os.environ.items() if not key.startswith(("PIP_", "PYTHON", "UV_", "VIRTUAL"))
    }
    command = [python, bundled / "pip", "install", "--no-index", "--no-compile", "--no-warn-script-location", bundled]
    done = run(command, env=clean)
    assert done.returncode == 0, done.stderr
    words = ["pip", "install", "--no-index", "--no-config", "--link-mode", "copy", "--python", python, demo_wheel]
    done = run([UV, *words, "--break-system-packages"], env=clean)
    assert done.returncode == 0, done.stderr
    return BundleTree(root=root, target=targets.current(), python_version=sys.version.split()[0])
