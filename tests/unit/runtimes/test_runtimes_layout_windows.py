"""A Windows tree of real conda packages and wheels goes the road of a build on this machine, and runs under Wine."""

from __future__ import annotations

import base64
import csv
import hashlib
import importlib.resources
import io
import json
import ntpath
import os
import shutil
import struct
import zipfile
from dataclasses import replace
from pathlib import Path

import pytest
import windows_python
from foreign_trees import MAIN, NOT_SHIPPED, Foreign, make_foreign

from packager import cleanup
from packager.archive.archive_tree import archive_tree
from packager.bundle import BundleTree
from packager.console import Console
from packager.errors import InputError
from packager.relocation.apply import apply_relocation
from packager.relocation.launchers import LauncherKind, launcher_kind
from packager.relocation.leaks import scan_leaks
from packager.relocation.path_budget import path_budget
from packager.relocation.plan import plan_relocation

STUB = importlib.resources.files("distlib").joinpath("t64.exe").read_bytes()
BUILT_AT = "C:\\build\\Work Folder\\bundle\\ComfyUI"  # where a builder on Windows would have had it
UTF8 = {"PYTHONUTF8": "1"}
ENTRY_POINTS = "[console_scripts]\none = kinds:main\nthree = kinds:main\n"


@pytest.fixture(scope="session")
def foreign(test_cache: Path, tmp_path_factory: pytest.TempPathFactory) -> Foreign:
    folder = tmp_path_factory.mktemp("windows")
    try:
        prefix = windows_python.fetch_windows_prefix(test_cache)
    except windows_python.UnavailableError as error:
        pytest.skip(str(error))
    ignore = shutil.ignore_patterns(*NOT_SHIPPED, "Scripts", "Tools", "tcl", "*.whl")
    shutil.copytree(prefix, folder / "python", ignore=ignore)
    return make_foreign(folder, "windows-x86_64", folder / "python", "3.11.9")


@pytest.fixture
def tree(foreign: Foreign, tmp_path: Path) -> BundleTree:
    """A copy with launchers of kind 1 (pip's) and kind 3 (uv's), as they are installed on Windows."""
    copy = replace(
        foreign.tree,
        root=Path(shutil.copytree(foreign.tree.root, tmp_path / "work" / "ComfyUI", copy_function=os.link)),
    )
    python = f"{BUILT_AT}\\python\\python.exe".encode()
    info = copy.site_packages / "kinds-1.0.dist-info"
    info.mkdir()
    (info / "entry_points.txt").write_text(ENTRY_POINTS)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: kinds\nVersion: 1.0\n")
    (copy.site_packages / "kinds.py").write_text(MAIN)
    (copy.scripts / "one.exe").write_bytes(STUB + b"#!" + python + b"\r\n" + _archive())
    (copy.scripts / "three.exe").write_bytes(STUB + _archive() + python + struct.pack("<I", len(python)) + b"UVSC")
    rows = [f"../../Scripts/{name}.exe,sha256=,0" for name in ("one", "three")]
    (info / "RECORD").write_text("\n".join([*rows, "kinds.py,,", "kinds-1.0.dist-info/RECORD,,", ""]))
    return copy


def _archive() -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        archive.writestr("__main__.py", "import sys\nfrom kinds import main\nsys.exit(main())\n")
    return stream.getvalue()


def _programs(tree: BundleTree) -> dict[str, bytes]:
    """What Windows loads and runs, by path; not the launchers."""
    return {
        path.relative_to(tree.root).as_posix(): path.read_bytes()
        for path in tree.root.rglob("*")
        if path.suffix in (".dll", ".pyd", ".exe") and path.parent != tree.scripts
    }


def _clean(tree: BundleTree, tier: str) -> int:
    plan = cleanup.plan_cleanup(tree, cleanup.load_rules(), tier=tier)
    quarantine = tree.root.with_name("quarantine")
    cleanup.apply(plan, quarantine)
    cleanup.purge(quarantine)
    return plan.files


def _needles(tree: BundleTree, foreign: Foreign) -> list[str]:
    """The tree as it lies here is known without being told."""
    return [f"{BUILT_AT}\\python", str(foreign.tree.prefix), str(foreign.environment)]


def _relocate(tree: BundleTree, foreign: Foreign) -> set[str]:
    plan = plan_relocation(tree, build_paths=_needles(tree, foreign))
    apply_relocation(plan)
    assert plan_relocation(tree, build_paths=_needles(tree, foreign)).edits == ()
    return {str(edit.path) for edit in plan.edits}


def test_conda_and_wheels_gave_the_layout_of_windows(tree: BundleTree) -> None:
    assert {tree.python.name, "pythonw.exe", "python311.dll"} <= {path.name for path in tree.prefix.iterdir()}
    assert (tree.site_packages / "pip" / "__init__.py").is_file()
    assert next(tree.site_packages.glob("numpy.libs/*.dll"))
    assert next(tree.site_packages.glob("PIL/*.pyd"))
    assert {"demo.exe", "demo-script.py", "pip.exe"} <= {path.name for path in tree.scripts.iterdir()}
    assert (tree.prefix / "Library" / "share" / "thing.conf").read_text() == "prefix=/portable/python/share\n"
    searched = {tree.prefix / folder for folder in tree.target.path_folders()}
    assert {tree.prefix, tree.prefix / "Library" / "bin", tree.scripts} <= searched
    assert all(path.parent in searched for path in tree.prefix.glob("Library/**/bin/*"))


@pytest.mark.parametrize("tier", ["safe", "aggressive"])
def test_the_clean_up_leaves_every_program_and_library(tree: BundleTree, tier: str) -> None:
    before = _programs(tree)
    assert len(before) > 60
    assert _clean(tree, tier) > 100, "tests of numpy and Pillow at least"
    assert _programs(tree) == before


def test_launchers_of_each_kind_become_relative_and_records_agree(tree: BundleTree, foreign: Foreign) -> None:
    kinds = {path.name: launcher_kind(path.read_bytes()) for path in tree.scripts.glob("*.exe")}
    assert kinds == {"demo.exe": None, "pip.exe": None, "one.exe": LauncherKind.DISTLIB, "three.exe": LauncherKind.UV}
    programs, condas = _programs(tree), (tree.scripts / "demo.exe").read_bytes()
    changed = _relocate(tree, foreign)
    assert {"python/Scripts/one.exe", "python/Scripts/three.exe", "python/Library/lib/pkgconfig/thing.pc"} == changed
    for name in ("one", "three"):
        assert b"#!<launcher_dir>\\..\\python.exe\r\n" in (tree.scripts / f"{name}.exe").read_bytes()
    assert (tree.scripts / "demo.exe").read_bytes() == condas, "conda's is signed, and finds its script by name"
    assert not (tree.scripts / "demo-script.py").read_text().startswith("#!")
    assert (tree.prefix / "Library/lib/pkgconfig/thing.pc").read_text() == "prefix=${pcfiledir}/../../..\n"
    assert _programs(tree) == programs
    for name, digest, size in csv.reader((tree.site_packages / "kinds-1.0.dist-info" / "RECORD").open(newline="")):
        if digest:
            content = Path(os.path.normpath(tree.site_packages / name)).read_bytes()
            sha = base64.urlsafe_b64encode(hashlib.sha256(content).digest()).rstrip(b"=").decode()
            assert (digest, size) == (f"sha256={sha}", str(len(content)))


def test_no_spelling_of_a_build_path_escapes_the_leak_scan(tree: BundleTree, foreign: Foreign) -> None:
    _relocate(tree, foreign)
    assert scan_leaks(tree.root, _needles(tree, foreign), windows=True) == []
    folder = tree.site_packages / "leaks"
    folder.mkdir()
    path = BUILT_AT + "\\python\\x"
    leaks = {
        "plain.py": f"x = '{path}'".encode(),
        "slashes.py": path.replace("\\", "/").encode(),
        "case.py": path.swapcase().encode(),
        "wide.dll": b"MZ\0" + path.encode("utf-16-le"),
        "wide_slashes_case.pyd": path.replace("\\", "/").upper().encode("utf-16-le"),
        "escaped.json": json.dumps({"x": path}).encode(),
    }
    for name, content in leaks.items():
        (folder / name).write_bytes(content)
    (folder / "other.py").write_text("C:\\build\\another")
    assert {leak.path for leak in scan_leaks(folder, [BUILT_AT], windows=True)} == leaks.keys()
    assert "case.py" not in {leak.path for leak in scan_leaks(folder, [BUILT_AT], windows=False)}


def test_the_archive_holds_no_links_and_its_longest_path_is_known(
    tree: BundleTree, foreign: Foreign, tmp_path: Path
) -> None:
    _clean(tree, "safe")
    _relocate(tree, foreign)
    archive = tmp_path / "out" / "comfy.zip"
    archive.parent.mkdir()
    done = archive_tree(
        tree.root, archive, console=Console(quiet=True), epoch=0, target=tree.target, level="fast", root_name="ComfyUI"
    )
    with zipfile.ZipFile(archive) as opened:
        assert opened.testzip() is None
        assert not [item.filename for item in opened.infolist() if item.external_attr >> 28 == 0o12]
        names = opened.namelist()
    assert "ComfyUI/python/python.exe" in names
    budget = path_budget([f"ComfyUI/{entry.path}" for entry in done.manifest.entries], tree.target)
    assert budget.length == max(map(len, names))
    assert budget.folder is not None
    assert len("C:\\" + "x" * (budget.folder - 3) + "\\" + budget.longest) == 259, "Microsoft: 260 with the final NUL"
    (tree.prefix / "link.dll").symlink_to("python311.dll")
    with pytest.raises(InputError, match=r"Windows unpacks as text files: python/link\.dll"):
        archive_tree(tree.root, archive, console=Console(quiet=True), epoch=0, target=tree.target)


@pytest.mark.wine
@pytest.mark.xdist_group("wine")
def test_every_launcher_runs_under_windows_after_each_move(
    tree: BundleTree, foreign: Foreign, tmp_path: Path, wine
) -> None:
    _clean(tree, "safe")
    _relocate(tree, foreign)
    root = tree.root
    for name in ("möved it's here", "a second & longer place"):
        root = root.rename(tmp_path / name)
        for launcher in ("demo", "one", "three"):
            done = wine.run(
                [windows_python.windows_path(root / "python" / "Scripts" / f"{launcher}.exe"), "a b"], env=UTF8
            )
            told = done.stdout.strip().split("|")
            wanted = windows_python.windows_path(root / "python" / "python.exe")
            assert [ntpath.normpath(told[0]), *told[1:]] == [wanted, "a b"], done.stderr
            assert done.returncode == 3
    # NumPy asks for a function of the C runtime that Wine lacks.
    code = "import sqlite3, ssl, yaml, PIL.features as f; print(yaml.__with_libyaml__, f.check('zlib'))"
    done = wine.run([windows_python.windows_path(root / "python" / "python.exe"), "-I", "-c", code], env=UTF8)
    assert done.stdout.split() == ["True", "True"], done.stderr[-2000:]
