"""Stripping real libraries: what may change, what may not, and that every way of it going wrong keeps the original."""

from __future__ import annotations

import os
import shutil
import signal
import struct
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from shlex import quote

import pytest
from slim_bundles import MODULES, record_row

from packager import targets
from packager.binaries.elf import find_patchelf
from packager.bundle import BundleTree
from packager.console import Console
from packager.filesystem import tree_digest
from packager.slim import Stripped, StripRules, load_strip_rules, restore_originals, strip_tree
from packager.slim.image import read_image
from packager.slim.strip_rules import StripTool

pytestmark = pytest.mark.skipif(not shutil.which("strip"), reason="needs binutils")
RULES = load_strip_rules()


def strip(tree: BundleTree, rules: StripRules = RULES) -> Stripped:
    return strip_tree(tree, rules, originals=tree.root.parent / "originals", console=Console(quiet=True))


def library(tree: BundleTree, name: str = "_decimal") -> Path:
    return next((tree.site_packages / "fast").glob(f"{name}.*"))


def place(tree: BundleTree, path: Path) -> str:
    return path.relative_to(tree.root).as_posix()


def tool(folder: Path, script: str) -> StripRules:
    """A strip of the test's own: a Python script that gets the file to read and the file to write."""
    program = folder / "strip.py"
    start = f"#!/bin/sh\n'''exec' {quote(sys.executable)} \"$0\" \"$@\"\n' '''\n"  # a `#!` takes no path with a space
    program.write_text(f"{start}import sys, struct\nsource, output = sys.argv[1:]\n{script}\n")
    program.chmod(0o755)
    return StripRules(tool=StripTool(program=program, version="own", arguments=("{input}", "{output}")), keep=())


def imports(folder: Path, *names: str) -> None:
    code = f"import sys; sys.path.insert(0, {str(folder)!r}); import {', '.join(names)}; " + "; ".join(
        f"assert {name}.__file__.startswith({str(folder)!r}), {name}.__file__" for name in names
    )
    subprocess.run([sys.executable, "-I", "-c", code], check=True)


def test_libraries_lose_their_symbols_and_still_load(bundle: BundleTree) -> None:
    before = {name: library(bundle, name).stat() for name in MODULES}
    done = strip(bundle)
    assert set(done.saved) == {place(bundle, library(bundle, name)) for name in MODULES}
    assert not done.kept
    for name, status in before.items():
        path = library(bundle, name)
        assert not read_image(path).has_symbols
        assert done.saved[place(bundle, path)] == status.st_size - path.stat().st_size > 0
        assert path.stat().st_mode == status.st_mode
    imports(bundle.site_packages / "fast", *MODULES)


def test_record_states_the_new_hashes_and_nothing_else_changes(bundle: BundleTree) -> None:
    strip(bundle)
    rows = [record_row(f"fast/{library(bundle, name).name}", library(bundle, name).read_bytes()) for name in MODULES]
    record = bundle.site_packages / "fast-1.0.dist-info" / "RECORD"
    assert record.read_text() == "".join(rows) + "fast-1.0.dist-info/RECORD,,\n"
    assert sorted(path.name for path in bundle.root.iterdir()) == ["python"]


def test_twice_gives_the_same_bytes_and_restoring_gives_the_first_ones(bundle: BundleTree) -> None:
    whole = tree_digest(bundle.root)
    strip(bundle)
    stripped = tree_digest(bundle.root)
    assert stripped != whole
    assert not strip(bundle).saved
    restore_originals(bundle.root, bundle.root.parent / "originals")
    assert tree_digest(bundle.root) == whole
    assert not (bundle.root.parent / "originals").exists()
    strip(bundle)
    assert tree_digest(bundle.root) == stripped


def test_names_of_one_file_stay_names_of_one_file(bundle: BundleTree) -> None:
    first, second = library(bundle), bundle.site_packages / "fast" / "alias.so"
    os.link(first, second)
    done = strip(bundle)
    assert first.stat().st_ino == second.stat().st_ino
    assert not read_image(second).has_symbols
    assert len(done.saved) == len(MODULES)  # counted once
    restore_originals(bundle.root, bundle.root.parent / "originals")
    assert first.stat().st_ino == second.stat().st_ino
    assert read_image(second).has_symbols


def test_what_has_a_name_outside_the_tree_is_not_written_through(bundle: BundleTree) -> None:
    outside = bundle.root.parent / "cache.so"
    os.link(library(bundle), outside)
    content = outside.read_bytes()
    done = strip(bundle)
    assert done.kept == {place(bundle, library(bundle)): "it has another name outside the tree"}
    assert outside.read_bytes() == content == library(bundle).read_bytes()


STRIPPED = """
import subprocess
subprocess.run(['strip', '-o', output, source], check=True)
data = bytearray(open(output, 'rb').read())
"""
LOADS = f"""{STRIPPED}
start, size, count = struct.unpack_from('<Q', data, 32)[0], *struct.unpack_from('<HH', data, 54)
loads = [at for at in range(start, start + size * count, size) if struct.unpack_from('<I', data, at)[0] == 1]
"""
MISALIGNED = f"""{LOADS}
struct.pack_into('<Q', data, loads[-1] + 8, struct.unpack_from('<Q', data, loads[-1] + 8)[0] + 16)
open(output, 'wb').write(data)
"""
TAMPERED = f"""{LOADS}
code = next(at for at in loads if struct.unpack_from('<I', data, at + 4)[0] & 1)  # PF_X
data[struct.unpack_from('<Q', data, code + 8)[0] + 4] ^= 1
open(output, 'wb').write(data)
"""
CUT = "open(output, 'wb').write(open(source, 'rb').read(5000))"
GROWN = "open(output, 'wb').write(open(source, 'rb').read() + b'x')"
FAILS = "sys.exit('cannot read this machine')"
NOTHING = "pass"


@pytest.mark.parametrize(
    ("script", "reason"),
    [
        (MISALIGNED, "cannot map it"),
        (TAMPERED, "bytes of the section"),
        (CUT, "what strip.py made of it"),
        (GROWN, "would not get smaller"),
        (FAILS, "strip.py failed: cannot read this machine"),
        (NOTHING, "strip.py failed"),
    ],
)
def test_what_strip_damages_stays_as_it_was(bundle: BundleTree, script: str, reason: str) -> None:
    whole = tree_digest(bundle.root)
    done = strip(bundle, tool(bundle.root.parent, script))
    assert len(done.kept) == len(MODULES)
    assert not done.saved
    assert all(reason in why for why in done.kept.values()), done.kept
    assert tree_digest(bundle.root) == whole


def test_library_patched_before_is_whole_afterwards(bundle: BundleTree) -> None:
    """patchelf moves segments to the end of the file: what auditwheel does to every wheel with libraries."""
    path = library(bundle)
    subprocess.run([find_patchelf(), "--set-rpath", "$ORIGIN/" + "x" * 500, path], check=True)
    done = strip(bundle)
    assert len(done.saved) + len(done.kept) == len(MODULES)
    imports(bundle.site_packages / "fast", *MODULES)


def test_data_behind_the_sections_is_kept(bundle: BundleTree) -> None:
    path = library(bundle)
    with path.open("ab") as stream:
        stream.write(b"PK\x05\x06 the program reads this from its own file")
    assert strip(bundle).kept == {place(bundle, path): "data is appended to it, which strip would drop"}
    with library(bundle, "_json").open("rb") as stream:
        assert stream.read(4) == b"\x7fELF"


def test_object_files_damaged_files_and_links_are_left_alone(bundle: BundleTree) -> None:
    content = bytearray(library(bundle).read_bytes())
    struct.pack_into("<H", content, 16, 1)  # e_type: ET_REL
    package = bundle.site_packages / "fast"
    (package / "part.o").write_bytes(content)
    (package / "broken.so").write_bytes(b"\x7fELF" + bytes(60))
    (package / "outside.so").symlink_to("/usr/bin/env")
    done = strip(bundle)
    assert list(done.kept) == [place(bundle, package / "broken.so")]
    assert (package / "part.o").read_bytes() == content
    assert (package / "outside.so").is_symlink()


def test_recipes_and_rules_keep_originals(bundle: BundleTree) -> None:
    path = library(bundle)
    blas = path.with_name("libscipy_openblas64_-32a4b2a6.so")
    path.rename(blas)
    rules = load_strip_rules([("**/_json.*", "its maker debugs it")])
    done = strip(bundle, rules)
    assert done.kept[place(bundle, library(bundle, "_json"))] == "its maker debugs it"
    assert "auditwheel" in done.kept[place(bundle, blas)]
    assert len(done.saved) == len(MODULES) - 2


@pytest.mark.parametrize("name", ["windows-x86_64", "macos-arm64"])
def test_other_systems_are_never_touched(bundle: BundleTree, name: str) -> None:
    whole = tree_digest(bundle.root)
    done = strip(replace(bundle, target=targets.get(name)))
    assert "only ELF files" in done.skipped
    assert tree_digest(bundle.root) == whole


def test_without_a_program_it_says_so_and_goes_on(bundle: BundleTree, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(bundle.root))
    done = strip(bundle, load_strip_rules())
    assert done.to_json()["skipped"] == "neither strip (binutils) nor llvm-strip is on PATH"


KILLED = """
import sys
from pathlib import Path
from packager import targets
from packager.bundle import BundleTree
from packager.console import Console
from packager.slim import load_strip_rules, strip_tree
root = Path(sys.argv[1])
tree = BundleTree(root=root, target=targets.get("linux-x86_64"), python_version="3.11.7")
rules = load_strip_rules()
print("ready", flush=True)
strip_tree(tree, rules, originals=root.parent / "originals", console=Console(quiet=True))
"""


def test_killed_at_any_moment_the_tree_can_be_made_whole(bundle: BundleTree) -> None:
    for number in range(40):  # more names, so that there is time to be killed in
        shutil.copy2(library(bundle, "_struct"), library(bundle).with_name(f"copy{number}.so"))
    whole = tree_digest(bundle.root)
    cut_short = 0
    for step in range(12):
        process = subprocess.Popen([sys.executable, "-c", KILLED, bundle.root], stdout=subprocess.PIPE, text=True)
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        time.sleep(0.06 * step)
        process.send_signal(signal.SIGKILL)
        process.communicate()
        cut_short += process.returncode == -signal.SIGKILL
        restore_originals(bundle.root, bundle.root.parent / "originals")
        assert tree_digest(bundle.root) == whole
        assert not (bundle.root.parent / "originals").exists()
    assert cut_short > 1
