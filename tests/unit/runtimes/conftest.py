"""A provisioned Python, and the making of small libraries."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from runtimes_provisioned import Provisioned, hiding, provision

from packager.runtimes.interpreter import Interpreter, describe

if sys.platform != "linux":
    collect_ignore_glob = ["test_*.py"]


@pytest.fixture(scope="session")
def can_hide() -> None:
    if not hiding([Path("/mnt")]):
        pytest.skip("bubblewrap is absent, or may not make namespaces here")


@pytest.fixture(scope="session")
def provisioned(tmp_path_factory: pytest.TempPathFactory) -> Provisioned:
    """The Python of this run in a folder with a space and a non-ASCII letter, moved to another one."""
    folder = tmp_path_factory.mktemp("host")
    return provision(Path(sys.executable), folder / "höme 1" / "bundle", move_to=_made(folder / "ünder 2") / "bündle")


def _made(folder: Path) -> Path:
    folder.mkdir()
    return folder


@pytest.fixture(scope="session")
def running() -> Interpreter:
    return describe(Path(sys.executable))


@pytest.fixture
def compile_c(tmp_path: Path) -> Callable[..., Path]:
    """`compile_c(path, *gcc_options, source=...)` makes a shared library; an executable with `-no-pie` or `-static`."""
    if shutil.which("gcc") is None:
        pytest.skip("gcc is absent")

    def build(path: Path, *options: str, source: str = "int f(void) { return 1; }") -> Path:
        path.parent.mkdir(parents=True, exist_ok=True)
        text = tmp_path / "source.c"
        text.write_text(source)
        kind = [] if {"-no-pie", "-static"}.intersection(options) else ["-shared", "-fPIC"]
        subprocess.run(["gcc", *kind, "-o", str(path), str(text), *options], check=True)
        return path

    return build
