"""Windows launchers as bytes, on any operating system: recognised, made relative, made, and refused when damaged."""

from __future__ import annotations

import importlib.resources
import io
import struct
import sys
import zipfile
from pathlib import Path

import pytest
from relocation_trees import STUB, build_pe, run, zipped

from packager.errors import InputError
from packager.relocation.entry_points import ScriptEntryPoint, read_entry_points
from packager.relocation.launchers import (
    LauncherKind,
    launcher_kind,
    make_launcher,
    relocatable_launcher,
    replace_trampoline,
)
from packager.relocation.pe import read_pe

GUI_STUB = importlib.resources.files("distlib").joinpath("w64.exe").read_bytes()
WANTED = b"#!<launcher_dir>\\..\\python.exe"
ENTRY = ScriptEntryPoint(name="demo", module="demo_pkg.cli", attribute="App.main")


@pytest.mark.parametrize(
    ("shebang", "wanted"),
    [
        (b"#!C:\\build\\python.exe\r\n", WANTED),
        (b"#!C:\\build\\python.exe\n", WANTED),
        (b"#!python.exe\n\r\n", WANTED),  # WinPython's
        (b'#!"C:\\build folder\\python.exe"\r\n', WANTED),
        (b'#!"C:\\build folder\\python.exe" -s -E\r\n', WANTED + b" -s -E"),
        (b"#!C:\\no quotes here\\Python.EXE -I\r\n", WANTED + b" -I"),
        (b"#!/usr/bin/env python\r\n", WANTED),
        (b"#!/home/author/build/python/bin/python3.11\n", WANTED),
        ("#!D:\\möved\\python.exe\r\n".encode(), WANTED),
        (b"#!C:\\build\\pythonw.exe\r\n", WANTED.replace(b"python", b"pythonw")),
    ],
)
def test_shebang_becomes_relative_and_the_rest_stays(shebang: bytes, wanted: bytes) -> None:
    made = relocatable_launcher(STUB + shebang + zipped())
    assert made == STUB + wanted + b"\r\n" + zipped()
    assert relocatable_launcher(made) is None
    assert zipfile.ZipFile(io.BytesIO(made)).read("__main__.py") == b"print(1)"


@pytest.mark.parametrize("comment", [b"a comment", b"x" * 65535, b"#!C:\\python.exe\r\n PK\3\4 PK\1\2"])
def test_archive_with_a_misleading_comment_is_found(comment: bytes) -> None:
    archive = zipped(comment)
    assert relocatable_launcher(STUB + b"#!C:\\b\\python.exe\r\n" + archive) == STUB + WANTED + b"\r\n" + archive


def test_signatures_of_a_zip_inside_the_stub_do_not_mislead() -> None:
    stub = STUB[:0x400] + (b"PK\3\4" + b"\0" * 26 + b"PK\1\2" + b"\0" * 42 + b"PK\5\6" + b"\0" * 18) + STUB[0x400:]
    end = read_pe(STUB)
    assert end is not None
    stub = stub[: end.image_end]  # same headers, the fakes lie within its first section
    assert relocatable_launcher(stub + b"#!C:\\b\\python.exe\r\n" + zipped()) == stub + WANTED + b"\r\n" + zipped()


def test_archive_with_offsets_from_the_start_of_the_file_still_opens_after_the_change(tmp_path: Path) -> None:
    stream = io.BytesIO(STUB + b"#!C:\\a rather long build folder\\python.exe\r\n")
    stream.seek(0, io.SEEK_END)
    with zipfile.ZipFile(stream, "a") as archive:
        archive.writestr("__main__.py", "print(2)")
        archive.writestr("other.py", "x = 1")
    made = relocatable_launcher(stream.getvalue())
    assert made is not None
    found = made[len(STUB) + len(WANTED) + 2 :]
    assert zipfile.ZipFile(io.BytesIO(found)).read("__main__.py") == b"print(2)"
    assert zipfile.ZipFile(io.BytesIO(made)).read("other.py") == b"x = 1"
    assert relocatable_launcher(made) is None
    launcher = tmp_path / "x.exe"
    launcher.write_bytes(made)
    assert run([sys.executable, launcher]).stdout == "2\n", "zipimport is stricter than zipfile"


def test_stub_older_than_launcher_dir_is_replaced_by_one_of_its_kind() -> None:
    mark = "<launcher_dir>\\".encode("utf-16-le")
    assert STUB.count(mark) == GUI_STUB.count(mark) == 1
    for stub in (STUB, GUI_STUB):
        old = stub.replace(mark, b"\0" * len(mark))
        assert relocatable_launcher(old + b"#!C:\\b\\python.exe\r\n" + zipped()) == stub + WANTED + b"\r\n" + zipped()


@pytest.mark.parametrize(
    ("damage", "why"),
    [
        (STUB, "truncated or damaged"),
        (STUB + b"#!C:\\b\\python.exe\r\n", "truncated or damaged"),
        (STUB + b"#!C:\\b\\python.exe\r\n" + zipped()[:-5], "truncated or damaged"),
        (STUB + b"#!C:\\b\\python.exe\r\n" + zipped()[:40], "truncated or damaged"),
        (STUB + b"#!C:\\b\\python.exe\r\n" + zipped() + b"trailing", "truncated or damaged"),
        (STUB + b"#!C:\\b\\python.exe\r\nPK\3\4" + b"\0" * 40, "truncated or damaged"),
        (STUB + b"#!C:\\b\\python.exe\r\n" + b"PK\1\2" + b"\0" * 42 + b"PK\5\6" + b"\0" * 18, "truncated or damaged"),
        (
            STUB + b"#!p.exe\r\n" + b"PK\1\2" + b"\0" * 42 + struct.pack("<4sHHHHIIH", b"PK\5\6", 0, 0, 1, 1, 46, 0, 0),
            "archive is damaged",
        ),
        # Python takes the fake record for the real one, too, so that this launcher never ran.
        (STUB + b"#!p.exe\r\n" + zipped(b"PK\5\6" + b"\0" * 18), "archive is damaged"),
        (STUB + b"#!C:\\b\\ruby.exe\r\n" + zipped(), "'ruby.exe', not Python"),
        (STUB + b"no line" + zipped(), "no line that names its Python"),
        (STUB + b"#!C:\\b\\python.exe\r\n#!second\r\n" + zipped(), "no line that names its Python"),
        (STUB + zipped(), "no line that names its Python"),
    ],
)
def test_what_looks_like_a_launcher_but_is_damaged_fails_loudly(damage: bytes, why: str) -> None:
    assert launcher_kind(damage) is LauncherKind.DISTLIB
    with pytest.raises(InputError, match=why) as raised:
        relocatable_launcher(damage)
    assert raised.value.remedy


@pytest.mark.parametrize("size", [3, 0x40, 0x200, 0x1000, len(STUB) - 1])
def test_program_cut_short_is_damaged_or_none(size: int) -> None:
    if size < 0x40:
        with pytest.raises(InputError, match="damaged"):
            launcher_kind(STUB[:size])
        return
    try:
        facts = read_pe(STUB[:size])
    except InputError as error:
        assert "damaged" in error.what or "truncated" in error.what  # noqa: PT017
    else:
        assert facts is None


def test_launchers_are_told_from_other_programs() -> None:
    native = build_pe(())
    assert launcher_kind(b"#!/bin/sh\n") is None
    assert launcher_kind(b"MZ" + b"\0" * 100) is None
    assert launcher_kind(native) is None
    assert launcher_kind(native + b"an installer's data") is None
    assert launcher_kind(build_pe((), STUB * 12)) is None, "it carries stubs as data, as uv.exe does"
    assert launcher_kind(build_pe((), STUB)) is LauncherKind.DISTLIB
    assert launcher_kind(STUB + b"#!python\r\n" + zipped()) is LauncherKind.DISTLIB
    assert launcher_kind(build_pe(("UV_PYTHON_PATH", "UV_TRAMPOLINE_KIND"))) is LauncherKind.UV
    assert launcher_kind(native + zipped() + b"C:\\b\\python.exe" + struct.pack("<I", 15) + b"UVSC") is LauncherKind.UV


def test_resource_directory_that_points_to_itself_or_claims_many_entries_ends() -> None:
    program = bytearray(build_pe(("UV_PYTHON_PATH",)))
    struct.pack_into("<I", program, 0x400 + 20, 0x80000000)
    read_pe(bytes(program))
    struct.pack_into("<HH", program, 0x400 + 12, 0xFFFF, 0xFFFF)
    with pytest.raises(InputError, match="damaged"):
        read_pe(bytes(program))


@pytest.mark.parametrize(("arch", "machine"), [("x86_64", 0x8664), ("x86", 0x14C), ("arm64", 0xAA64)])
@pytest.mark.parametrize("gui", [False, True])
def test_launcher_is_made_for_a_target(arch: str, machine: int, gui: bool) -> None:
    entry = ScriptEntryPoint(name="demo", module="demo_pkg.cli", attribute="App.main", gui=gui)
    made = make_launcher(entry, arch=arch)  # type: ignore[arg-type]
    facts = read_pe(made)
    assert facts is not None
    assert (facts.machine, facts.gui) == (machine, gui)
    assert (b"pythonw.exe\r\n" in made) is gui
    assert relocatable_launcher(made) is None
    assert made == make_launcher(entry, arch=arch)  # type: ignore[arg-type]
    source = zipfile.ZipFile(io.BytesIO(made)).read("__main__.py").decode()
    assert "from demo_pkg.cli import App\n" in source
    assert "sys.exit(App.main())" in source
    compile(source, "__main__.py", "exec")


def test_trampoline_is_replaced_by_a_launcher_of_its_architecture() -> None:
    assert replace_trampoline(build_pe(("UV_PYTHON_PATH",)), ENTRY) == make_launcher(ENTRY, arch="x86_64")


def test_entry_points_of_both_groups_keep_their_names() -> None:
    text = "[other]\nx = y\n[console_scripts]\nDemo.X-1 = a.b:c.d [extra]\n[gui_scripts]\nw=m:f\n"
    assert read_entry_points(text) == [
        ScriptEntryPoint(name="Demo.X-1", module="a.b", attribute="c.d"),
        ScriptEntryPoint(name="w", module="m", attribute="f", gui=True),
    ]


@pytest.mark.parametrize(
    "text",
    [
        "[console_scripts]\n../evil = a:b\n",
        "[console_scripts]\nx = a\n",
        "[console_scripts]\nx = os;print(1):f\n",
        "x = y",
    ],
)
def test_hostile_entry_points_are_refused(text: str) -> None:
    with pytest.raises(InputError):
        read_entry_points(text)
