"""Finding shared libraries as the loader does, with libraries made by gcc and the real loader as the judge."""

from __future__ import annotations

import dataclasses
import os
import re
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from packager.binaries.elf import find_patchelf, is_elf, read_elf
from packager.binaries.system_libraries import system_libraries
from packager.runtimes.interpreter import Interpreter
from packager.runtimes.shared_libraries import Loaded, Loader, closure, machine_loader, parse_cache

Compile = Callable[..., Path]
NOTHING = Loader(library_path=(), cache={}, trusted=())


def _needing(compile_c: Compile, path: Path, library: Path, *options: str) -> Path:
    return compile_c(path, "-Wl,--no-as-needed", str(library), *options)


@pytest.fixture
def wanted(compile_c: Compile, tmp_path: Path) -> Path:
    return compile_c(tmp_path / "real" / "libwanted.so.1", "-Wl,-soname,libwanted.so.1")


def test_runpath_with_origin_is_followed_from_the_file_that_has_it(
    compile_c: Compile, wanted: Path, tmp_path: Path
) -> None:
    path = _needing(compile_c, tmp_path / "sub" / "a.so", wanted, "-Wl,-rpath,$ORIGIN/../real")
    assert closure(path, NOTHING).libraries == {"libwanted.so.1": wanted}


def test_rpath_of_the_executable_serves_what_it_loads_and_runpath_does_not(
    compile_c: Compile, wanted: Path, tmp_path: Path
) -> None:
    needs = _needing(compile_c, tmp_path / "a.so", wanted)
    for kind, found in (("--disable-new-dtags", True), ("--enable-new-dtags", False)):
        around = compile_c(tmp_path / f"{kind}.so", f"-Wl,{kind}", f"-Wl,-rpath,{wanted.parent}")
        result = closure(needs, NOTHING, within=(Loaded(path=around, facts=read_elf(around)),))
        assert ("libwanted.so.1" in result.libraries) is found
    both = dataclasses.replace(read_elf(around), rpath=(str(wanted.parent),), runpath=("/elsewhere",))
    assert closure(needs, NOTHING, within=(Loaded(path=around, facts=both),)).missing, "RUNPATH makes RPATH void"


def test_a_library_already_loaded_is_taken_and_none_searched(compile_c: Compile, wanted: Path, tmp_path: Path) -> None:
    needs = _needing(compile_c, tmp_path / "a.so", wanted)
    assert closure(needs, NOTHING, already={"libwanted.so.1": wanted}).libraries == {"libwanted.so.1": wanted}


def test_order_is_library_path_before_runpath_before_the_cache(
    compile_c: Compile, wanted: Path, tmp_path: Path
) -> None:
    copies = {name: tmp_path / name / wanted.name for name in ("environment", "runpath", "cache")}
    for copy in copies.values():
        copy.parent.mkdir()
        shutil.copy(wanted, copy)
    needs = _needing(compile_c, tmp_path / "a.so", wanted, f"-Wl,--enable-new-dtags,-rpath,{copies['runpath'].parent}")
    loader = Loader(library_path=(copies["environment"].parent,), cache={wanted.name: (copies["cache"],)}, trusted=())
    for name in ("environment", "runpath", "cache"):
        assert closure(needs, loader).libraries == {wanted.name: copies[name]}
        copies[name].unlink()
    assert closure(needs, loader).missing == {wanted.name: "it is not found on this machine"}


def test_text_and_libraries_of_other_machines_are_passed_over(compile_c: Compile, wanted: Path, tmp_path: Path) -> None:
    """A linker script, and the header of an ELF file for another processor (e_machine 243, RISC-V)."""
    script, foreign = tmp_path / "script" / wanted.name, tmp_path / "foreign" / wanted.name
    for path in (script, foreign):
        path.parent.mkdir()
    script.write_text("INPUT(libwanted.so.1)")
    content = bytearray(wanted.read_bytes())
    content[18:20] = (243).to_bytes(2, "little")
    foreign.write_bytes(content)
    needs = _needing(compile_c, tmp_path / "a.so", wanted)
    loader = Loader(library_path=(script.parent, foreign.parent, wanted.parent), cache={}, trusted=())
    assert closure(needs, loader).libraries == {wanted.name: wanted}


def test_a_needed_path_with_origin_is_taken_as_it_is(compile_c: Compile, wanted: Path, tmp_path: Path) -> None:
    """So do the Pythons of `uv python install` name their libpython."""
    plain = compile_c(tmp_path / "libplain.so")  # no soname: the linker records the path it was given
    needs = _needing(compile_c, tmp_path / "bin" / "a.so", plain)
    patchelf = find_patchelf()
    subprocess.run([patchelf, "--replace-needed", str(plain), "$ORIGIN/../libplain.so", needs], check=True)
    assert read_elf(needs).needed[0] == "$ORIGIN/../libplain.so"
    assert closure(needs, NOTHING).libraries == {"libplain.so": plain}


def test_the_systems_own_are_left_and_what_must_not_come_is_told(compile_c: Compile, tmp_path: Path) -> None:
    display = compile_c(tmp_path / "libX11.so.6", "-Wl,-soname,libX11.so.6")
    needs = _needing(compile_c, tmp_path / "a.so", display, "-Wl,-rpath,$ORIGIN")
    result = closure(needs, NOTHING)
    assert result.libraries == {}
    assert "display server" in result.missing["libX11.so.6"]


def test_the_cache_is_read_without_variants_for_newer_processors() -> None:
    listing = (
        "2 libs found in cache `/etc/ld.so.cache'\n"
        '\tlibz.so.1 (libc6,x86-64, hwcap: "x86-64-v3") => /usr/lib/glibc-hwcaps/x86-64-v3/libz.so.1\n'
        "\tlibz.so.1 (libc6,x86-64) => /lib/libz.so.1\n"
        "\tlibz.so.1 (libc6) => /lib32/libz.so.1\n"
        "Cache generated by: ldconfig (Debian GLIBC 2.36) stable release version 2.36\n"
    )
    assert parse_cache(listing) == {"libz.so.1": (Path("/lib/libz.so.1"), Path("/lib32/libz.so.1"))}


def test_agrees_with_the_real_loader_about_each_module_of_this_python(running: Interpreter) -> None:
    loader = machine_loader(os.environ)
    executable = Loaded(path=running.executable, facts=read_elf(running.executable))
    modules = sorted(path for path in (running.stdlib / "lib-dynload").glob("*.so") if is_elf(path))
    system = system_libraries()
    assert modules
    for module in (running.executable, *modules):
        told = subprocess.run(["ldd", module], capture_output=True, text=True, check=True).stdout
        real = {name: Path(path).resolve() for name, path in re.findall(r"(\S+) => (/\S.*?) \(0x", told)}
        mine = closure(module, loader, within=(executable,))
        assert mine.libraries == {name: real[name] for name in mine.libraries}
        if not mine.missing:
            assert mine.libraries.keys() == real.keys() - system.always_present
