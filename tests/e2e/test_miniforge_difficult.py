"""Environments that conda-pack is known to trip over: each is refused with its file, its owner and what to do."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

pytestmark = [pytest.mark.e2e, pytest.mark.skipif(sys.platform != "linux", reason="the world is made for Linux")]
pytest.importorskip("rattler", reason="py-rattler has no wheel for this machine")

from .conftest import Packager  # noqa: E402
from .miniforge_world import make_wheel, options, write_recipe  # noqa: E402


def _build(packager: Packager, recipe: Path, *words: str) -> subprocess.CompletedProcess[str]:
    folder = packager.folder
    environment = {"PACKAGER_CACHE_DIR": str(folder / "cache"), "UV_CACHE_DIR": str(folder / "uv")}
    command = ["build", recipe, *options(recipe.parent), "--work", folder / "work", "-o", folder / "dist", *words]
    return packager.run(*command, env=environment)


def _site_packages(environment: Path) -> Path:
    return next(environment.glob("lib/python3*/site-packages"))


def _pip(environment: Path, *words: str) -> None:
    wheel = make_wheel(environment.parents[3] / "newer", "toolish", "2.0")
    command = [environment / "bin/python", "-m", "pip", "install", "--no-index", "--quiet", *words, wheel]
    subprocess.run(command, check=True, env={**os.environ, "PIP_ROOT_USER_ACTION": "ignore"}, capture_output=True)


def _lose_a_file(environment: Path) -> None:
    (environment / "share/extra.txt").unlink()


def _lose_the_cache(environment: Path) -> None:
    shutil.rmtree(environment.parents[1] / "pkgs/extra-1.0-0")


def _install_editable(environment: Path) -> None:
    """What setuptools leaves behind (PEP 610, PEP 660)."""
    information = _site_packages(environment) / "mine-1.0.dist-info"
    information.mkdir()
    (information / "METADATA").write_text("Metadata-Version: 2.1\nName: mine\nVersion: 1.0\n")
    (information / "direct_url.json").write_text('{"url": "file:///src", "dir_info": {"editable": true}}')
    (information.parent / "__editable__.mine-1.0.pth").write_text("/src\n")


def _upgrade_with_pip(environment: Path) -> None:
    _pip(environment, "--upgrade")


def _install_over_with_pip(environment: Path) -> None:
    """Nothing is removed: the files of two versions lie in one folder."""
    _pip(environment, "--ignore-installed")


@pytest.mark.parametrize(
    ("harm", "expected"),
    [
        (_lose_a_file, ["- extra 1.0:", "share/extra.txt", "changed files of a conda package; remove the environment"]),
        (_lose_the_cache, ["extra='1.0'", "remedy: the package cache lost files"]),
        (_install_editable, ["- mine", "remedy: an editable install cannot be moved"]),
        (_upgrade_with_pip, ["- toolish 1.0:", "toolish-1.0.dist-info/METADATA", "remove the environment"]),
        (_install_over_with_pip, ["toolish-2.0.dist-info: not of a conda package", "go into python_packages"]),
    ],
)
def test_environment_that_was_spoiled(
    packager: Packager, miniforge_world: Path, harm: Callable[[Path], None], expected: list[str]
) -> None:
    recipe = write_recipe(miniforge_world, packages=["extra", "toolish"], name=packager.folder.name)
    planned = _build(packager, recipe, "--dry-run")
    assert planned.returncode == 0, planned.stderr
    environment = next((packager.folder / "cache/miniforge/envs").glob("*/conda-meta")).parent
    harm(environment)
    done = _build(packager, recipe)
    assert done.returncode == 1, done.stderr
    for words in (*expected, str(environment), "remedy: "):
        assert words in done.stderr
    assert "Traceback" not in done.stderr
    assert not list((packager.folder / "work").glob("bundle/*/python*"))
    shutil.rmtree(environment)  # as the remedies say
    again = _build(packager, recipe, "--no-prove", "--tier", "none")
    assert again.returncode == 0, again.stderr


def test_conda_inside(packager: Packager, miniforge_world: Path) -> None:
    done = _build(packager, write_recipe(miniforge_world, packages=["conda"], name="inside"))
    assert done.returncode == 2
    assert "conda itself is in the environment" in done.stderr
    assert "remedy: take what needs conda out of conda_packages" in done.stderr
