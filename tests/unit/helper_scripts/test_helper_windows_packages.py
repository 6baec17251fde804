"""install, rollback and launchers on Windows: a real CPython, pip and wheels for it, by the .bat fronts under Wine.

One bundle goes through it all, because each start of Windows' Python costs seconds here.
"""

from __future__ import annotations

import hashlib
import shutil
import sys
import zipfile
from pathlib import Path
from typing import Any

import pytest
from fake_bundles import fill_bundle, make_wheel

from packager import targets
from packager.bundle import BundleTree

if sys.platform == "win32":
    pytest.skip("Wine runs on POSIX", allow_module_level=True)
from windows_python import UnavailableError, Wine, fetch_windows_wheels, windows_path

pytestmark = pytest.mark.wine


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory, windows_cpython: Path, test_cache: Path) -> tuple[BundleTree, Path]:
    """A bundle whose Python has pip and MarkupSafe 3.0.1, and a folder of wheels: `thing`, which wants 3.0.2."""
    try:
        real = fetch_windows_wheels(test_cache)
    except UnavailableError as error:
        pytest.skip(str(error))
    folder = tmp_path_factory.mktemp("packages")
    tree = fill_bundle(folder / "my bündle (x86) & co", targets.get("windows-x86_64"))
    shutil.copytree(windows_cpython, tree.prefix)
    pth = next(tree.prefix.glob("python*._pth"))
    pth.write_text(f"{pth.stem}.zip\n.\nLib\\site-packages\nimport site\n", encoding="utf-8")
    for name in ("pip-*", "MarkupSafe-3.0.1-*"):
        with zipfile.ZipFile(next(real.glob(f"{name}.whl"))) as wheel:
            wheel.extractall(tree.site_packages)
    wheels = folder / "whéels & (more) ^x! 100"
    wheels.mkdir()
    make_wheel(wheels, "thing", requires=("markupsafe==3.0.2",))
    shutil.copy(next(real.glob("MarkupSafe-3.0.2-*.whl")), wheels)
    return tree, wheels


def call(wine: Wine, root: Path, line: str) -> Any:
    """What a batch file of the user's does that holds this line, `@` standing for the bundle's folder."""
    caller = root.parent / "caller.bat"
    text = f"@echo off\r\n{line.replace('@', windows_path(root) + chr(92))}\r\n"
    caller.write_bytes(text.encode("cp437"))  # cmd.exe reads in the OEM code page
    return wine.run([windows_path(caller)], cwd=root.parent)


def state(root: Path) -> dict[str, str]:
    """Every file but the helpers' own notes and bytecode."""
    return {
        path.relative_to(root).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(root.rglob("*"))
        if path.is_file()
        and "__pycache__" not in path.parts
        and "state" not in path.parts
        and "cache" not in path.parts
    }


def test_packages_come_and_go_and_launchers_survive_a_move(site: tuple[BundleTree, Path], wine: Wine) -> None:
    tree, wheels = site
    before = state(tree.root)
    hostile = '"x & echo pwned>pwned.txt" "a|b" "--index-url=http://x&y" "(z)" "c^d!e!" "é ü"'
    refused = call(wine, tree.root, f'"@install_package.bat" --no-smoke {hostile}')
    assert refused.returncode != 0
    assert state(tree.root) == before
    assert not list(tree.root.parent.glob("pwned*"))

    done = call(wine, tree.root, f'"@install_package.bat" --no-smoke --wheels-dir "{windows_path(wheels)}" thing')
    assert done.returncode == 0, done.stderr
    assert "upgrade   markupsafe 3.0.1 -> 3.0.2" in done.stdout
    assert "add       thing 1.0" in done.stdout
    speedups = "python/Lib/site-packages/markupsafe/_speedups.cp311-win_amd64.pyd"
    assert state(tree.root)[speedups] != before[speedups]

    moved = tree.root.rename(tree.root.with_name("moved to (é)"))
    launched = wine.run([windows_path(moved / "python/Scripts/thing.exe")], cwd=moved.parent, env={"PYTHONUTF8": "1"})
    assert launched.stdout.strip() == f"thing 1.0 on {windows_path(moved)}\\python\\python.exe", launched.stderr
    code = "import markupsafe._speedups as m, markupsafe; print(markupsafe.__version__, m.__file__)"
    said = call(wine, moved, f'"@manage.bat" exec -- python -c "{code}"').stdout
    assert said.strip() == f"3.0.2 {windows_path(moved / speedups)}"

    back = call(wine, moved, '"@manage.bat" rollback')
    assert back.returncode == 0, back.stderr
    assert state(moved) == before
