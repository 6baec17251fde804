"""The rules on real wheels of Windows and macOS, fetched from the package index and laid out as pip does."""

from __future__ import annotations

import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from packager import targets
from packager.bundle import BundleTree
from packager.cleanup import RuleSet, plan_cleanup

WHEELS = ("numpy==2.2.6", "pillow==12.0.0", "scipy==1.16.3")
PLATFORMS = {"windows-x86_64": "win_amd64", "macos-arm64": "macosx_14_0_arm64"}
NATIVE = (".dll", ".pyd", ".dylib", ".so")
EVERY_OPT_IN = ("no-jit", "stdlib-tkinter", "tcl-tk", "stdlib-distutils", "conda-metadata", "conda-environments")


@pytest.fixture(scope="module", params=sorted(PLATFORMS))
def tree(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> BundleTree:
    folder = tmp_path_factory.mktemp(request.param)
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--only-binary=:all:", "-d", folder]
    command += ["--platform", PLATFORMS[request.param], "--python-version", "3.12", *WHEELS]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        pytest.skip(f"the package index gives no wheels: {done.stderr[-300:]}")
    tree = BundleTree(root=folder / "bundle", target=targets.get(request.param), python_version="3.12.4")
    tree.site_packages.mkdir(parents=True)
    for wheel in folder.glob("*.whl"):
        with zipfile.ZipFile(wheel) as archive:
            archive.extractall(tree.site_packages)
    return tree


def native(tree: BundleTree) -> set[str]:
    return {str(tree.relative(path)) for path in tree.root.rglob("*") if path.name.endswith(NATIVE)}


@pytest.mark.parametrize("tier", ["safe", "aggressive"])
def test_every_library_stays_and_tests_go(tree: BundleTree, rules: RuleSet, tier: str) -> None:
    plan = plan_cleanup(tree, rules, tier=tier, opt_in=EVERY_OPT_IN if tier == "aggressive" else ())
    libraries = native(tree)
    assert len(libraries) > 100
    bundled = [path for path in libraries if ".libs/" in path or "/.dylibs/" in path]
    assert len(bundled) >= 3, "the wheels should bring libraries of their own"
    gone = {removal.path for removal in plan.removals}
    for path in libraries:
        lineage = {path, *map(str, Path(path).parents)}
        assert not lineage & gone, path
    for folder in (path for path in tree.root.rglob("*") if path.name in (".dylibs",) or path.name.endswith(".libs")):
        assert str(tree.relative(folder)) not in gone
    assert {"package-tests"} <= {removal.rule for removal in plan.removals}
    assert not [path for path in gone if ".dist-info" in path and "sboms" not in path]
