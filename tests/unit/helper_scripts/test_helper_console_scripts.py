"""Console scripts made by pip, uv and distlib become relocatable, once, and nothing else is touched."""

from __future__ import annotations

import base64
import hashlib
import io
import os
import sys
import zipfile
from importlib import resources
from pathlib import Path

import pytest
from fake_bundles import call
from portable.scripts import make_relocatable, relocatable_launcher, relocatable_script

from packager.relocation.scripts import relocatable_script as build_side

BODY = b"import sys\nprint(sys.executable, sys.argv[1:], __name__)\n"
PIP_PLAIN = b"#!/opt/b/python/bin/python3.11\n" + BODY
PIP_LONG = b"#!/bin/sh\n'''exec' \"/opt/my bundle/python/bin/python\" \"$0\" \"$@\"\n' '''\n" + BODY
UV_LONG = b"#!/bin/sh\n'''exec' '/opt/my bundle/python/bin/python3' \"$0\" \"$@\"\n' '''\n" + BODY
WITH_FLAGS = b"#!/opt/b/python/bin/python -s -E\n" + BODY


@pytest.mark.parametrize("content", [PIP_PLAIN, PIP_LONG, UV_LONG, WITH_FLAGS])
def test_scripts_name_no_path_any_more_and_are_left_alone_afterwards(content: bytes) -> None:
    made = relocatable_script(content)
    assert made is not None
    assert made.startswith(b"#!/bin/sh\n")
    assert made.endswith(BODY)
    assert b"/opt/" not in made
    assert relocatable_script(made) is None
    compile(made, "x", "exec")


@pytest.mark.parametrize("content", [PIP_PLAIN, PIP_LONG, UV_LONG, WITH_FLAGS])
def test_the_build_writes_the_same_bytes(content: bytes) -> None:
    made = relocatable_script(content)
    assert made is not None
    name = made.split(b"$PWD/")[1].split(b'"')[0].decode()
    assert build_side(content, python=name) == made
    assert build_side(made, python=name) is None


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"#!",
        b"#!/bin/sh\necho hello\n",
        b"#!/usr/bin/env python3\n",
        b"#!/usr/bin/perl\n",
        b"#!python\n",
        b"#!/opt/python/bin/pythonic\n",
        b"\x7fELF",
        b"#!/opt/python/bin/python; touch pwned\n",
        b"#!/opt/b/python/bin/python\n'''doc'''\nfrom __future__ import annotations\n",
        b"#!/opt/b/python/bin/python\ndef broken(:\n",
    ],
)
def test_other_files_are_left_alone(content: bytes) -> None:
    assert relocatable_script(content) is None


def test_script_runs_from_anywhere_with_exact_arguments_and_flags(tmp_path: Path) -> None:
    folder = tmp_path / "a 'b' $(touch pwned) é" / "bin"
    folder.mkdir(parents=True)
    (folder / "python").symlink_to(Path(sys.executable).resolve())
    script = folder / "tool"
    made = relocatable_script(b"#!/opt/b/python/bin/python -I\nimport sys\nprint(sys.argv[1:], sys.flags.isolated)\n")
    assert made is not None
    script.write_bytes(made)
    script.chmod(0o755)
    finished = call(script, "$HOME", "a b", "", "'", cwd=tmp_path)
    assert finished.stdout == "['$HOME', 'a b', '', \"'\"] 1\n"
    assert not list(tmp_path.rglob("pwned"))


def fake_prefix(root: Path, *, windows: bool) -> tuple[Path, Path]:
    """The scripts folder, and a dist-info folder that owns `tool`."""
    scripts = root / "python" / ("Scripts" if windows else "bin")
    info = root / "python" / ("Lib/site-packages" if windows else "lib/python3.11/site-packages") / "tool-1.dist-info"
    scripts.mkdir(parents=True)
    info.mkdir(parents=True)
    return scripts, info


@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_record_states_the_new_hash_and_nothing_else_changes(tmp_path: Path, end: str) -> None:
    scripts, info = fake_prefix(tmp_path, windows=False)
    (scripts / "tool").write_bytes(PIP_PLAIN)
    (scripts / "tool").chmod(0o750)
    outside = tmp_path / "outside"
    outside.write_bytes(PIP_PLAIN)
    (scripts / "link").symlink_to(outside)
    os.link(outside, scripts / "hard")
    others = ['"a,b é.py",sha256=x,1', "tool-1.dist-info/RECORD,,"]
    record = info / "RECORD"
    record.write_bytes(end.join(["../../../bin/tool,sha256=old,7", *others, ""]).encode())
    assert make_relocatable(tmp_path, windows=False) == ["hard", "tool"]
    content = (scripts / "tool").read_bytes()
    digest = base64.urlsafe_b64encode(hashlib.sha256(content).digest()).rstrip(b"=").decode()
    wanted = end.join([f"../../../bin/tool,sha256={digest},{len(content)}", *others, ""])
    assert record.read_bytes().decode() == wanted
    assert outside.read_bytes() == PIP_PLAIN  # neither the link nor the hard link was written through
    assert (scripts / "link").is_symlink()
    assert (scripts / "tool").stat().st_mode & 0o777 == 0o750
    assert make_relocatable(tmp_path, windows=False) == []
    assert not [path for path in scripts.iterdir() if path.name.startswith(".")]


def launcher(shebang: bytes) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        archive.writestr("__main__.py", BODY)
    return resources.files("distlib").joinpath("t64.exe").read_bytes() + shebang + stream.getvalue()


RELATIVE = b"#!<launcher_dir>\\..\\python.exe\r\n"


@pytest.mark.parametrize(
    ("shebang", "wanted"),
    [
        (b"#!C:\\b\\python\\python.exe\r\n", RELATIVE),
        (b'#!"C:\\my bundle & co\\python\\python.exe"\r\n', RELATIVE),
        (b"#!C:\\b\\python\\Python.EXE\n", RELATIVE),
        (b"#!C:\\b\\python\\pythonw.exe -s\r\n", b"#!<launcher_dir>\\..\\pythonw.exe -s\r\n"),
    ],
)
def test_launchers_of_windows_start_the_python_above_them(shebang: bytes, wanted: bytes) -> None:
    made = relocatable_launcher(launcher(shebang))
    assert made == launcher(wanted)
    assert relocatable_launcher(made) is None
    with zipfile.ZipFile(io.BytesIO(made)) as archive:
        assert archive.read("__main__.py") == BODY


@pytest.mark.parametrize(
    "content",
    [
        b"MZ",
        b"MZ" + b"PK\5\6",
        launcher(RELATIVE),
        launcher(b"#!C:\\perl.exe\r\n"),
        launcher(b""),
        launcher(RELATIVE)[:-9],
    ],
)
def test_other_programs_are_left_alone(content: bytes) -> None:
    assert relocatable_launcher(content) is None


def test_windows_scripts_folder_is_treated_on_any_system(tmp_path: Path) -> None:
    scripts, info = fake_prefix(tmp_path, windows=True)
    (scripts / "tool.exe").write_bytes(launcher(b"#!C:\\b\\python\\python.exe\r\n"))
    (scripts / "text.py").write_bytes(PIP_PLAIN)
    (info / "RECORD").write_text("../../Scripts/tool.exe,sha256=old,7\n", encoding="utf-8")
    assert make_relocatable(tmp_path, windows=True) == ["tool.exe"]
    assert (info / "RECORD").read_text().endswith(f",{len(launcher(RELATIVE))}\n")
