"""Real environments and wheels from the package index: what worked before works after, on every system's layout."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from cleanup_trees import names, snapshot
from uv import find_uv_bin

from packager.cleanup import RuleSet, clean_tree, detect_layout, plan_cleanup, undo

PACKAGES = ["pip==25.2", "numpy==2.2.6", "jinja2==3.1.6", "markupsafe==3.0.2", "pyyaml==6.0.2"]
MODULES = "numpy, numpy.testing, numpy.typing, numpy.f2py, jinja2.tests, markupsafe._speedups, yaml, pip"


def install(arguments: list[str], *packages: str) -> None:
    finished = subprocess.run(
        [find_uv_bin(), "pip", "install", "--quiet", "--link-mode", "copy", *arguments, *packages],
        capture_output=True,
        text=True,
        check=False,
    )
    assert finished.returncode == 0, finished.stderr


@pytest.fixture(scope="module")
def environment(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("env") / "venv"
    subprocess.run([find_uv_bin(), "venv", "--quiet", "--python", sys.executable, root], check=True)
    install(["--python", str(root / "bin/python"), "--compile-bytecode"], *PACKAGES)
    return root


def ask(environment: Path, *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [environment / "bin/python", "-I", *words], capture_output=True, text=True, check=False, timeout=120
    )


def health(environment: Path) -> tuple[str, ...]:
    probe = (
        f"import {MODULES}\nimport importlib.metadata as m\n"
        "print(sorted((d.name, d.version, len(d.entry_points)) for d in m.distributions()))\n"
        "print(sorted(f'{e.load()!r:.20} {e}' for d in m.distributions() for e in d.entry_points))\n"
        "print(numpy.linalg.inv([[2.0]]), numpy.get_include(), jinja2.Template('{{ 1 }}').render())"
    )
    answers = [
        ask(environment, "-c", probe),
        ask(environment, "-m", "pip", "check"),
        ask(environment, "-m", "pip", "list", "--format", "json"),
    ]
    scripts = [["f2py", "-v"], ["numpy-config", "--version"], ["pip", "--version"]]
    answers += [
        subprocess.run([environment / "bin" / name, *words], capture_output=True, text=True, check=False)
        for name, *words in scripts
    ]
    for answer in answers:
        assert answer.returncode == 0, answer.stderr
    return tuple(answer.stdout for answer in answers)


@pytest.mark.skipif(sys.platform == "win32", reason="a venv of this layout is POSIX")
def test_a_real_environment_is_as_healthy_after_as_before(environment: Path, rules: RuleSet) -> None:
    """Imports, metadata, entry points, scripts, pip check and list agree; uninstall and install work; undo is whole."""
    before = health(environment)
    whole = snapshot(environment)
    copy = environment.with_name("copy")  # its entries lie in another order on the disk
    shutil.copytree(environment, copy, symlinks=True)
    plan = clean_tree(environment, rules, tier="aggressive").plan
    assert plan_cleanup(detect_layout(copy), rules, tier="aggressive").to_json() == plan.to_json()
    gone = {saving.name for saving in plan.by_rule()}
    assert {"bytecode", "package-tests", "compiled-sources"} <= gone
    assert health(environment) == before
    undo(environment)
    assert {path: entry for path, entry in snapshot(environment).items() if entry[0] != "folder"} == {
        path: entry for path, entry in whole.items() if entry[0] != "folder"
    }
    clean_tree(environment, rules, tier="aggressive", keep_quarantine=False)
    site = next(environment.glob("lib/python3*/site-packages"))
    assert not (site / "numpy/linalg/tests").exists()
    uninstalled = ask(environment, "-m", "pip", "uninstall", "--yes", "numpy", "markupsafe")
    assert uninstalled.returncode == 0, uninstalled.stderr
    assert not list(site.glob("numpy*/*.py"))
    assert not (site / "markupsafe").exists()
    listed = {item["name"] for item in json.loads(ask(environment, "-m", "pip", "list", "--format", "json").stdout)}
    assert listed == {"Jinja2", "PyYAML", "pip"}
    install(["--python", str(environment / "bin/python")], "markupsafe==3.0.2")
    assert ask(environment, "-c", "import jinja2").returncode == 0


@pytest.mark.parametrize(
    ("platform", "python", "os_name", "libraries"),
    [
        ("x86_64-pc-windows-msvc", "3.12", "windows", (".dll", ".pyd")),
        ("aarch64-apple-darwin", "3.12", "macos", (".dylib", ".so")),
        ("x86_64-manylinux_2_28", "3.12", "linux", (".so",)),
    ],
)
def test_libraries_of_real_wheels_stay(
    tmp_path: Path, rules: RuleSet, platform: str, python: str, os_name: str, libraries: tuple[str, ...]
) -> None:
    """Wheels that were repaired by delvewheel, delocate and auditwheel, cleaned on whatever runs the test."""
    install(
        ["--target", str(tmp_path), "--python-platform", platform, "--python-version", python, "--no-deps"],
        *("pillow==11.3.0", "numpy==2.2.6", "markupsafe==3.0.2"),
    )
    layout = detect_layout(tmp_path)
    assert layout.os == os_name
    before = names(tmp_path)
    plan = clean_tree(tmp_path, rules, tier="aggressive", opt_in=["no-jit"], keep_quarantine=False).plan
    gone = before - names(tmp_path)
    assert {saving.name for saving in plan.by_rule()} >= {"package-tests", "no-jit"}
    for suffix in libraries:
        assert any(suffix in Path(name).name for name in before)
        assert not [name for name in gone if suffix in Path(name).name.split("/")[-1] and not name.endswith("/")]
    assert not [name for name in gone if ".libs/" in name or ".dylibs/" in name or ".dist-info/" in name]
    assert not [name for name in gone if "licen" in name.lower()]
    assert any("pillow.libs/" in name or ".dylibs/" in name for name in before) or os_name == "windows"
