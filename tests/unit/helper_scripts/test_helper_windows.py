"""The .bat fronts under Wine, with a real CPython for Windows; with characters special to cmd.exe.

What Wine 8 does otherwise than Windows is left out: it expands per cent signs again in what %~dp0 and %* gave, sets
errorlevel 1 after every `call other.bat`, and finds no DLL beside a program whose folder has a semicolon in its name.
"""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path
from typing import Any

import pytest
from fake_bundles import fill_bundle
from test_helper_console_scripts import launcher

from packager import targets
from packager.bundle import BundleTree

if sys.platform == "win32":
    pytest.skip("Wine runs on POSIX", allow_module_level=True)
from windows_python import Wine, windows_path

pytestmark = pytest.mark.wine
NAMES = ["a & b (x86)", "wow! !x!", "ünïcodé", "car^et 'q' [x] a,b=c+d"]


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory, windows_cpython: Path) -> BundleTree:
    """A bundle of the Windows layout. Tests rename its folder."""
    tree = fill_bundle(tmp_path_factory.mktemp("wine") / "bundle", targets.get("windows-x86_64"))
    shutil.copytree(windows_cpython, tree.prefix)
    (tree.app / "main.py").write_text(
        "import json, os, sys\n"
        "names = 'RECIPE_SAYS', 'PYTHONPATH', 'HF_HOME', 'PIP_CONFIG_FILE'\n"
        "print(json.dumps([sys.argv[1:], os.getcwd(), {name: os.environ.get(name) for name in names}]))\n"
        "sys.exit(int(os.environ.get('EXIT_CODE', '0')))\n",
        encoding="utf-8",
    )
    return tree


def start(wine: Wine, root: Path, *lines: str, **env: str) -> Any:
    """Call the front as a batch file of the user's would; `lines` are its commands."""
    caller = root.parent / "caller.bat"
    caller.write_bytes("\r\n".join(["@echo off", *lines, ""]).encode("cp437"))  # cmd.exe reads in the OEM code page
    return wine.run([windows_path(caller)], cwd=root.parent, env=env)


@pytest.mark.parametrize("name", NAMES)
def test_runs_in_folders_with_characters_special_to_cmd(tree: BundleTree, wine: Wine, name: str) -> None:
    root = tree.root.rename(tree.root.with_name(name))
    try:
        finished = start(wine, root, f'"{windows_path(root / "run_comfyui.bat")}" --port 1', PYTHONPATH="Z:\\x")
        assert finished.returncode == 0, finished.stderr
        arguments, cwd, environment = json.loads(finished.stdout)
        assert cwd == windows_path(root / "ComfyUI")
        assert arguments == ["--windows-standalone-build", "--port", "1"]
        assert environment == {
            "RECIPE_SAYS": "hello & é",
            "PYTHONPATH": None,
            "HF_HOME": windows_path(root / "portable/cache/huggingface"),
            "PIP_CONFIG_FILE": "nul",
        }
    finally:
        root.rename(tree.root)


def test_arguments_survive_cmd(tree: BundleTree, wine: Wine) -> None:
    """Quoted: blanks, & | < > ( ) ^ ! and a backslash at the end; unquoted: = , ; and letters beyond ASCII."""
    front = windows_path(tree.root / "run_comfyui.bat")
    given = '"a b" "x & echo pwned" "p|q<r>s" "(p)" "c^d" "wow! !x!" plain=1,2;3 "" "é" "back\\slash\\\\"'
    finished = start(wine, tree.root, f'"{front}" {given}')
    assert finished.returncode == 0, finished.stderr
    wanted = [
        "a b",
        "x & echo pwned",
        "p|q<r>s",
        "(p)",
        "c^d",
        "wow! !x!",
        "plain=1,2;3",
        "",
        "é",
        "back\\slash\\",
    ]
    assert json.loads(finished.stdout)[0] == ["--windows-standalone-build", *wanted]


def test_exit_code_and_cpu_argument(tree: BundleTree, wine: Wine) -> None:
    finished = wine.run([windows_path(tree.root / "run_comfyui_cpu.bat"), "a b"], env={"EXIT_CODE": "73"})
    assert finished.returncode == 73
    assert json.loads(finished.stdout)[0] == ["--windows-standalone-build", "--cpu", "a b"]


@pytest.mark.parametrize("front", ["run_comfyui", "run_comfyui_cpu", "install_package", "manage"])
@pytest.mark.parametrize("lost", ["python", "portable"])
def test_a_bundle_unzipped_in_part_is_told_plainly(tree: BundleTree, wine: Wine, front: str, lost: str) -> None:
    away = (tree.root / lost).rename(tree.root / "away")
    try:
        finished = wine.run([windows_path(tree.root / f"{front}.bat")])
        assert finished.returncode == 1
        assert "Unzip all of it, then try again." in finished.stderr
    finally:
        away.rename(tree.root / lost)


def test_manage_speaks_and_fails_with_the_right_code(tree: BundleTree, wine: Wine) -> None:
    front = windows_path(tree.root / "manage.bat")
    facts = json.loads(wine.run([front, "info", "--json"]).stdout)
    assert facts["location"] == windows_path(tree.root)
    assert facts["python"] == "3.11.9"
    assert wine.run([front, "nonsense"]).returncode == 2
    assert "lock.txt is missing" not in wine.run([front, "install", "--help"]).stdout
    finished = wine.run([front, "exec", "--", "python", "-c", "import sys; print(sys.executable); sys.exit(9)"])
    assert (finished.stdout.strip(), finished.returncode, finished.stderr) == (
        windows_path(tree.root / "python/python.exe"),
        9,
        "",
    )


def test_launchers_made_relocatable_start_after_a_move(tree: BundleTree, wine: Wine) -> None:
    """What pip would leave in Scripts/ is rewritten by the bundle's own Python on Windows, and runs after a move."""
    scripts = tree.prefix / "Scripts"
    scripts.mkdir()
    (tree.prefix / "Lib/site-packages").mkdir(parents=True)
    (scripts / "tool.exe").write_bytes(launcher(f"#!{windows_path(tree.prefix)}\\python.exe\r\n".encode()))
    rewrite = (
        "import sys; sys.path.insert(0, sys.argv[1]); from pathlib import Path; "
        "from portable.scripts import make_relocatable as m; print(m(Path(sys.argv[1])))"
    )
    words = [windows_path(tree.root / "manage.bat"), "exec", "--", "python", "-c", rewrite, windows_path(tree.root)]
    assert wine.run(words).stdout.strip() == "['tool.exe']"
    moved = tree.root.rename(tree.root.with_name("moved (to)"))
    try:
        finished = wine.run([windows_path(moved / "python/Scripts/tool.exe"), "a b"], cwd=moved.parent)
        assert finished.returncode == 0, finished.stderr
        assert finished.stdout.strip() == f"{windows_path(moved)}\\python\\python.exe ['a b'] __main__"
    finally:
        moved.rename(tree.root)


def test_an_instance_runs_by_its_own_front_and_after_a_move(tree: BundleTree, wine: Wine, tmp_path: Path) -> None:
    """Its packages are seen first, also by what it starts. The Python must be one that reads PYTHONPATH, as conda's."""
    front = windows_path(tree.root / "manage.bat")
    refused = wine.run([front, "instance", "create", "second", "--no-smoke"])
    assert refused.returncode == 1
    assert "._pth" in refused.stderr
    marks = [path.rename(tmp_path / path.name) for path in tree.prefix.glob("python*._pth")]
    for root, value in ((tree.root, "base"), (tree.root / "instances/second", "local")):
        packages = root / "python/Lib/site-packages"
        if value == "local":
            made = wine.run([front, "instance", "create", "second", "--no-smoke"])
            assert made.returncode == 0, made.stderr
        packages.mkdir(parents=True, exist_ok=True)
        (packages / "shared.py").write_text(f"VALUE = '{value}'\n", encoding="utf-8")
    app = "import shared, subprocess, sys\nprint(shared.VALUE, sys.argv[1:])\n"
    app += "sys.exit(subprocess.call([sys.executable, '-c', 'import shared; print(shared.VALUE)']))\n"
    (tree.root / "instances/second/ComfyUI/main.py").write_text(app, encoding="utf-8")
    moved = tree.root.rename(tree.root.with_name("moved & (to)"))
    try:
        finished = wine.run([windows_path(moved / "instances/second/run_comfyui.bat"), "a b"], cwd=moved.parent)
        assert finished.returncode == 0, finished.stderr
        assert finished.stdout.split("\n")[:2] == [
            "local ['--windows-standalone-build', '--port', '8189', 'a b']",
            "local",
        ]
        code = "import shared; print(shared.VALUE)"
        base = wine.run([windows_path(moved / "manage.bat"), "exec", "--", "python", "-c", code])
        assert base.stdout.strip() == "base", base.stderr
        gone = wine.run([windows_path(moved / "manage.bat"), "instance", "remove", "second", "--yes"])
        assert gone.returncode == 0, gone.stderr
        assert not (moved / "instances/second").exists()
    finally:
        root = moved.rename(tree.root)
        for mark in marks:
            shutil.move(mark, root / "python" / mark.name)
