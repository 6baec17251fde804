"""A macOS tree of real conda packages and wheels goes the road of a build on this machine."""

from __future__ import annotations

import os
import shutil
import struct
import subprocess
import sys
import zipfile
from dataclasses import replace
from pathlib import Path, PurePosixPath

import lief
import pytest
from foreign_trees import NOT_SHIPPED, Foreign, make_foreign
from uv import find_uv_bin

from packager import cleanup, targets
from packager.archive.archive_tree import archive_tree
from packager.binaries.macho import is_macho, read_macho
from packager.bundle import BundleTree
from packager.console import Console
from packager.errors import DocumentError, InputError
from packager.relocation.apply import apply_relocation
from packager.relocation.edits import SetInstallNames
from packager.relocation.leaks import scan_leaks
from packager.relocation.plan import plan_relocation
from packager.relocation.signing import find_macho, plan_signing, quarantine_command, unsigned

VERSION = ".".join(map(str, sys.version_info[:3]))
MINOR = targets.minor_version(VERSION)
BUILT_AT = "/Users/builder/Library/Caches/work folder/bundle/ComfyUI"


@pytest.fixture(scope="session")
def foreign(tmp_path_factory: pytest.TempPathFactory) -> Foreign:
    """uv's program for macOS stands where CPython's would, libraries of Pillow's wheel where its own."""
    folder = tmp_path_factory.mktemp("macos")
    wheels = folder / "wheels"
    words = ["--python-platform", "aarch64-apple-darwin", "--python-version", MINOR, "--target", wheels, "--no-deps"]
    words += ["--only-binary", ":all:", "--link-mode", "copy", "--no-config", "--python", sys.executable]
    found = subprocess.run(
        [find_uv_bin(), "pip", "install", "-q", *words, "uv==0.9.5", "pillow==11.3.0"], capture_output=True, check=False
    )
    if found.returncode:
        pytest.skip(f"the wheels cannot be had: {found.stderr.decode()[-300:]}")
    prefix = folder / "python"
    library = prefix / "lib" / f"python{MINOR}"
    ignore = shutil.ignore_patterns(*NOT_SHIPPED, "lib-dynload", "config-*", "_sysconfigdata*", "*.so")
    shutil.copytree(Path(os.__file__).parent, library, ignore=ignore)
    (prefix / "bin").mkdir()
    shutil.copy2(wheels / "bin" / "uv", prefix / "bin" / f"python{MINOR}")
    (prefix / "bin" / "python").symlink_to(f"python{MINOR}")
    shutil.copy2(next(wheels.glob("PIL/.dylibs/libjpeg*.dylib")), prefix / "lib" / f"libpython{MINOR}.dylib")
    (library / "lib-dynload").mkdir()
    shutil.copy2(next(wheels.glob("PIL/_imagingmath*.so")), library / "lib-dynload" / "math.cpython-darwin.so")
    return make_foreign(folder, "macos-arm64", prefix, VERSION)


@pytest.fixture
def tree(foreign: Foreign, tmp_path: Path) -> BundleTree:
    root = shutil.copytree(
        foreign.tree.root,
        tmp_path / "work" / "ComfyUI",
        symlinks=True,
        copy_function=os.link,  # type: ignore[arg-type]
    )
    return replace(foreign.tree, root=Path(root))


@pytest.fixture
def library(tree: BundleTree) -> Path:
    """A library that was linked on the builder's machine, with the mode and name of a plain file."""
    path = tree.site_packages / "native" / "library"
    path.parent.mkdir()
    source = next(tree.site_packages.glob("PIL/.dylibs/libtiff*.dylib"))
    parsed = lief.MachO.parse(str(source)).at(0)
    parsed[lief.MachO.LoadCommand.TYPE.ID_DYLIB].name = f"{BUILT_AT}/python/lib/library"
    own = next(item for item in parsed.libraries if item.name.startswith("@loader_path"))
    own.name = f"{BUILT_AT}/python/lib/libpython{MINOR}.dylib"
    parsed.add(lief.MachO.RPathCommand.create(f"{BUILT_AT}/python/lib"))
    parsed.add(lief.MachO.RPathCommand.create(f"{BUILT_AT}/python/gone"))
    parsed.write(str(path))
    path.chmod(0o644)
    return path


def _needles(tree: BundleTree, foreign: Foreign) -> list[str]:
    """The tree as it lies here is known without being told."""
    return [f"{BUILT_AT}/python", str(foreign.tree.prefix), str(foreign.environment)]


def test_macho_files_are_found_by_their_first_bytes(tree: BundleTree, library: Path, tmp_path: Path) -> None:
    found = find_macho(tree.root)
    expected = {path for pattern in ("*.so", "*.dylib") for path in tree.root.rglob(pattern)}
    expected |= {library, tree.prefix / "bin" / f"python{MINOR}"}
    assert {tree.root / path for path in found} == expected, "neither links nor scripts, whatever their mode"
    assert len(found) > 40
    kinds = {facts.kind for facts in found.values()}
    assert kinds == {"program", "library", "bundle"}
    assert all(facts.archs == ("arm64",) for facts in found.values())
    pillow = next(
        facts for path, facts in found.items() if path.name.startswith("_avif") or path.match("PIL/_imaging.*")
    )
    assert any(name.startswith("@loader_path/.dylibs/") for name in pillow.needed)
    for name, content in {
        "Java.class": b"\xca\xfe\xba\xbe\0\0\0\x34",
        "short": b"\xcf\xfa",
        "elf": b"\x7fELF\2\1\1\0",
        "fat": b"\xca\xfe\xba\xbe" + struct.pack(">I", 2),
    }.items():
        (tmp_path / name).write_bytes(content)
        assert is_macho(tmp_path / name) is (name == "fat")
    with pytest.raises(InputError, match="damaged"):
        read_macho(tmp_path / "fat")


def test_the_clean_up_leaves_every_library_and_its_signature(tree: BundleTree) -> None:
    before = {path: (tree.root / path).read_bytes() for path in find_macho(tree.root)}
    plan = cleanup.plan_cleanup(tree, cleanup.load_rules(), tier="aggressive")
    cleanup.apply(plan, tree.root.with_name("quarantine"))
    assert plan.files > 100, "tests of numpy and Pillow at least"
    assert {path: (tree.root / path).read_bytes() for path in find_macho(tree.root)} == before
    assert unsigned(find_macho(tree.root)) == []


def test_what_wheels_and_conda_brought_moves_as_it_is_and_scripts_find_their_python(
    tree: BundleTree, foreign: Foreign, tmp_path: Path
) -> None:
    before = {path: (tree.root / path).read_bytes() for path in find_macho(tree.root)}
    plan = plan_relocation(tree, build_paths=_needles(tree, foreign))
    changed = {edit.path for edit in plan.edits}
    assert {PurePosixPath("python/bin/demo"), PurePosixPath("python/lib/pkgconfig/thing.pc")} <= changed
    assert plan_signing(find_macho(tree.root), changed, tree.target) == [], "no Mach-O file changes"
    apply_relocation(plan)
    assert plan_relocation(tree, build_paths=_needles(tree, foreign)).edits == ()
    assert {path: (tree.root / path).read_bytes() for path in find_macho(tree.root)} == before
    assert scan_leaks(tree.root, [*_needles(tree, foreign), str(tree.root)], windows=False) == []

    archive = tmp_path / "out" / "comfy.zip"
    archive.parent.mkdir()
    archive_tree(tree.root, archive, console=Console(quiet=True), epoch=0, target=tree.target, level="fast")
    with zipfile.ZipFile(archive) as opened:
        modes = {item.filename: item.external_attr >> 16 for item in opened.infolist()}
        assert modes["ComfyUI/python/bin/python"] >> 12 == 0o12
        assert opened.read("ComfyUI/python/bin/python") == f"python{MINOR}".encode()
        assert modes[f"ComfyUI/python/bin/python{MINOR}"] & 0o777 == 0o755

    moved = tree.root.rename(tmp_path / "möved it's here")
    (moved / "python/bin/python").unlink()
    (moved / "python/bin/python").write_text('#!/bin/sh\necho "$0" "$@"\n')  # in place of what only macOS runs
    (moved / "python/bin/python").chmod(0o755)
    said = subprocess.run([moved / "python/bin/demo", "x"], capture_output=True, text=True, check=True, env={}).stdout
    assert said == f"{moved}/python/bin/python {moved}/python/bin/demo x\n"


def test_a_library_linked_on_the_builders_machine_becomes_relative_and_is_signed(
    tree: BundleTree, foreign: Foreign, library: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = plan_relocation(tree, build_paths=_needles(tree, foreign))
    (edit,) = (edit for edit in plan.edits if isinstance(edit, SetInstallNames))
    up = f"@loader_path/{os.path.relpath(tree.prefix / 'lib', library.parent)}"
    old = f"{BUILT_AT}/python"
    assert edit.words == (
        *("-id", "@rpath/library"),
        *("-change", f"{old}/lib/libpython{MINOR}.dylib", f"{up}/libpython{MINOR}.dylib"),
        *("-rpath", f"{old}/lib", up),
        *("-delete_rpath", f"{old}/gone"),
    )
    (signing,) = plan_signing(find_macho(tree.root), [edit.path for edit in plan.edits], tree.target)
    assert signing.command(tree.root)[0] == "codesign"
    assert signing.command(tree.root)[-1] == str(library)

    tool = shutil.which("llvm-install-name-tool") or shutil.which("llvm-install-name-tool-14")
    if tool is None:
        pytest.skip("LLVM's install_name_tool is absent")
    programs = tmp_path / "programs"
    programs.mkdir()
    (programs / "install_name_tool").symlink_to(tool)
    # Only macOS can sign; that it is asked to, after the change and by the file's name, can be seen here.
    (programs / "codesign").write_text(f'#!/bin/sh\necho "$@" >>"{tmp_path}/signed"\n')
    (programs / "codesign").chmod(0o755)
    monkeypatch.setenv("PATH", str(programs), prepend=":")
    apply_relocation(plan)
    facts = read_macho(library)
    assert facts.id == "@rpath/library"
    assert facts.rpaths == (up,)
    assert f"{up}/libpython{MINOR}.dylib" in facts.needed
    assert (tmp_path / "signed").read_text().split()[:3] == ["--force", "--sign", "-"]
    assert (tmp_path / "signed").read_text().endswith("/library\n")
    assert library.stat().st_mode & 0o777 == 0o644
    assert plan_relocation(tree, build_paths=_needles(tree, foreign)).edits == ()
    assert scan_leaks(tree.root, [*_needles(tree, foreign)], windows=False) == []


def test_a_library_from_elsewhere_on_the_builders_machine_is_refused(
    tree: BundleTree, foreign: Foreign, library: Path
) -> None:
    (tree.prefix / "lib" / f"libpython{MINOR}.dylib").unlink()
    with pytest.raises(DocumentError, match=r"(?s)native/library.*loads .*which is not in the bundle"):
        plan_relocation(tree, build_paths=_needles(tree, foreign))


def test_only_macos_wants_signatures_and_has_a_quarantine(tree: BundleTree) -> None:
    files = find_macho(tree.root)
    arm, intel, linux = (targets.get(name) for name in ("macos-arm64", "macos-x86_64", "linux-x86_64"))
    order = [files[signing.path].kind for signing in plan_signing(files, files, arm)]
    assert order.index("program") == len(order) - 1 == len(files) - 1, "libraries before the programs that load them"
    assert plan_signing(files, files, linux) == []
    assert quarantine_command(tree.root, linux) is None
    assert quarantine_command(tree.root, intel) == ["xattr", "-dr", "com.apple.quarantine", str(tree.root)]
    bare = {path: replace(facts, signed=False) for path, facts in files.items()}
    assert len(plan_signing(bare, files, arm)) == len(unsigned(bare)) == len(files)
    other = {path: replace(facts, archs=("x86_64",)) for path, facts in bare.items()}
    assert plan_signing(other, files, intel) == []
    assert unsigned(other) == []
