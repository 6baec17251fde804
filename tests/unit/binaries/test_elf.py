"""ELF facts, of libraries made with gcc and of damaged and hostile files."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import struct
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from packager.binaries.elf import glibc_floor, is_elf, newest, read_elf
from packager.errors import InputError

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="the programs that make ELF files are those of Linux")


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A library with a soname, an RPATH, a needed library, and a call that came with glibc 2.17 (secure_getenv)."""
    if shutil.which("gcc") is None:
        pytest.skip("gcc is absent")
    folder = tmp_path_factory.mktemp("elf")
    other, path, source = folder / "libother.so.1", folder / "libmade.so.2.5", folder / "made.c"
    source.write_text('char *secure_getenv(const char *); char *f(void) { return secure_getenv("A"); }')
    subprocess.run(["gcc", "-shared", "-o", other, "-Wl,-soname,libother.so.1", "-xc", os.devnull], check=True)
    options = ["-Wl,-soname,libmade.so.2", "-Wl,--no-as-needed", "-Wl,--disable-new-dtags", "-Wl,-rpath,$ORIGIN/a:/b"]
    subprocess.run(["gcc", "-shared", "-fPIC", "-o", path, *options, source, other], check=True)
    return path


def test_reads_what_a_library_says_of_itself(library: Path) -> None:
    facts = read_elf(library)
    assert facts.soname == "libmade.so.2"
    assert facts.needed == ("libother.so.1", "libc.so.6")
    assert facts.rpath == ("$ORIGIN/a", "/b")
    assert facts.runpath == ()
    assert (facts.machine, facts.bits, facts.interpreter) == (os.uname().machine, 64, None)


def test_tells_rpath_from_runpath(library: Path, tmp_path: Path) -> None:
    path = tmp_path / "new.so"
    options = ["-Wl,--enable-new-dtags", "-Wl,-rpath,/only"]
    subprocess.run(["gcc", "-shared", "-o", path, "-xc", os.devnull, *options], check=True)
    assert (read_elf(path).rpath, read_elf(path).runpath) == ((), ("/only",))


def test_an_executable_names_its_loader() -> None:
    interpreter = read_elf(Path(sys.executable).resolve()).interpreter
    assert interpreter is not None
    assert Path(interpreter).name.startswith("ld-linux")


def test_glibc_version_is_that_of_the_newest_symbol(library: Path) -> None:
    listing = subprocess.run(["readelf", "-W", "--version-info", library], capture_output=True, text=True, check=True)
    versions = re.findall(r"Name: GLIBC_([\d.]+)", listing.stdout)
    assert read_elf(library).glibc == newest(versions)
    assert "2.17" in versions


def test_relative_relocations_need_glibc_2_36_though_no_symbol_does(library: Path, tmp_path: Path) -> None:
    path, source = tmp_path / "relr.so", tmp_path / "relr.c"
    source.write_text(
        'int puts(const char *); static const char *const words[] = {"a", "b"};int f(int i) { return puts(words[i]); }'
    )
    made = subprocess.run(["gcc", "-shared", "-fPIC", "-Wl,-z,pack-relative-relocs", "-o", path, source], check=False)
    if made.returncode != 0 or b"GLIBC_ABI_DT_RELR" not in path.read_bytes():
        pytest.skip("this linker does not pack relative relocations")
    assert read_elf(path).glibc == "2.36"


def test_floor_compares_numbers_and_not_letters() -> None:
    assert newest(["2.4", "2.36", "2.9"]) == "2.36"
    assert newest([]) is None


def test_floor_passes_over_what_is_no_elf_file_or_a_damaged_one(library: Path, tmp_path: Path) -> None:
    text, damaged, link = tmp_path / "text.so", tmp_path / "damaged.so", tmp_path / "broken.so"
    text.write_text("INPUT(libc.so.6)")
    damaged.write_bytes(library.read_bytes()[:100])
    link.symlink_to("nowhere")
    assert glibc_floor([text, damaged, link, tmp_path]) is None
    assert glibc_floor([text, damaged, library]) == read_elf(library).glibc


def test_a_named_pipe_is_no_elf_file_and_is_not_waited_for(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe.so"
    os.mkfifo(pipe)
    assert not is_elf(pipe)


def test_a_huge_library_is_not_read_as_a_whole(library: Path, tmp_path: Path) -> None:
    huge = tmp_path / "huge.so"
    shutil.copyfile(library, huge)
    os.truncate(huge, 3 * 1024**3)  # sparse: takes no room on the disk
    before = _bytes_read()
    assert read_elf(huge).soname == "libmade.so.2"
    assert _bytes_read() - before < 1_000_000


def _bytes_read() -> int:
    return int(re.search(r"rchar: (\d+)", Path("/proc/self/io").read_text())[1])  # type: ignore[index]


@pytest.mark.parametrize(
    "content", [b"", b"\x7fELF", b"#!/bin/sh\n", b"\x7fELF" + b"\xff" * 100, b"\x7fELF" + b"\0" * 60]
)
def test_what_is_no_elf_file_is_bad_input(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "file.so"
    path.write_bytes(content)
    with pytest.raises(InputError, match=r"file\.so"):
        read_elf(path)


def test_a_missing_file_is_bad_input(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="No such file"):
        read_elf(tmp_path / "absent.so")


def test_a_forged_count_of_sections_ends(library: Path, tmp_path: Path) -> None:
    """e_shnum 0xffff: most of the table lies beyond the end of the file."""
    content = bytearray(library.read_bytes())
    struct.pack_into("<H", content, 60, 0xFFFF)
    path = tmp_path / "forged.so"
    path.write_bytes(content)
    with pytest.raises(InputError):
        read_elf(path)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(changes=st.lists(st.tuples(st.integers(0, 2**31), st.integers(0, 255)), min_size=1, max_size=12))
def test_damage_anywhere_is_read_or_refused(changes: list[tuple[int, int]], library: Path, tmp_path: Path) -> None:
    content = bytearray(library.read_bytes())
    for place, value in changes:
        content[4 + place % (len(content) - 4)] = value
    path = tmp_path / "damaged.so"
    path.write_bytes(content)
    with contextlib.suppress(InputError):
        read_elf(path)
