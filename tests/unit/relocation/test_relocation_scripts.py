"""POSIX scripts: every kind is recognised, and what comes out runs from wherever it lies, in every shell."""

from __future__ import annotations

import os
import shlex
import shutil
import stat
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from relocation_trees import SHELLS, find_python, run

from packager.errors import InputError
from packager.relocation.scripts import relocatable_script, without_shebang

BODY = b"import sys\nprint(*sys.argv[1:], sep='|')\n"
ODD = 'it\'s a "möved" földer $HOME `x` \\n %s & (1)'

PYTHON_KINDS = {
    "pip": (b"#!/build/python/bin/python3.11\n", ()),
    "flags": (b"#!/build/python/bin/python -s -E\n", ("-s", "-E")),
    "flag with value": (b"#!/build/bin/python3 -X utf8\n", ("-X", "utf8")),
    "isolated": (b"#! /build/bin/python3.12 -I\n", ("-I",)),
    "windows newline": (b"#!/build/bin/python\r\n", ()),
    "free-threaded": (b"#!/build/bin/python3.13t\n", ()),
    "gui": (b"#!/build/bin/pythonw\n", ()),
    "space in path": (b"#!/build with space/python/bin/python3\n", ()),
    "wheel placeholder": (b"#!python\n", ()),
    "conda-pack": (b"#!/usr/bin/env python3.11\n", ()),
    "env with -S": (b"#!/usr/bin/env -S python3 -s\n", ("-s",)),
    "pip long": (b"#!/bin/sh\n'''exec' /a/very/long/python3.11 \"$0\" \"$@\"\n' '''\n", ()),
    "pip long quoted": (b"#!/bin/sh\n'''exec' \"/a b/python\" -s \"$0\" \"$@\"\n' '''\n", ("-s",)),
    "uv quoted": (b"#!/bin/sh\n'''exec' '/a b/v'\"'\"'q/bin/python' \"$0\" \"$@\"\n' '''\n", ()),
    "uv relocatable": (
        b"#!/bin/sh\n'''exec' \"$(dirname -- \"$(realpath -- \"$0\")\")\"/'python3' \"$0\" \"$@\"\n' '''\n",
        (),
    ),
    "mamba": (b"#!/bin/sh\n'''exec' \"/long/bin/python3.11\" \"$0\" \"$@\" #'''\n", ()),
}


def install(folder: Path, content: bytes, python: str = sys.executable) -> Path:
    """A script in `folder`/bin beside a link to a Python that needs nothing else."""
    bin_folder = folder / "bin"
    bin_folder.mkdir(parents=True, exist_ok=True)
    if not os.path.lexists(bin_folder / "python"):
        (bin_folder / "python").symlink_to(python)
    script = bin_folder / "demo"
    script.write_bytes(content)
    script.chmod(0o755)
    return script


@pytest.mark.parametrize("kind", PYTHON_KINDS)
def test_python_script_of_every_kind_is_rewritten_with_its_flags_once(kind: str) -> None:
    start, flags = PYTHON_KINDS[kind]
    made = relocatable_script(start + BODY)
    assert made is not None
    assert made.startswith(b"#!/bin/sh\n")
    assert made.endswith(BODY)
    assert (f')" {shlex.join(flags)} "$0" "$@"\n' if flags else ')" "$0" "$@"\n').encode() in made
    assert b"/build" not in made
    assert relocatable_script(made) is None


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"#!",
        b"#!/bin/sh\necho python\n",
        b"#!/bin/bash -e\n",
        b"#!/usr/bin/perl\n",
        b"#!/usr/bin/env node\n",
        b"#!/usr/bin/python2.7\n",
        b"#!/opt/python/bin/tool\n",
        b"#!/bin/sh\n'''exec' /usr/bin/perl \"$0\" \"$@\"\n' '''\n",
        b"#!/bin/sh\n'''exec' /b/python \"$0\" \"$@\"\nno end\n",
        b"import sys\n#!/build/bin/python\n",
        b"\xef\xbb\xbf#!/build/bin/python\n",
        b"\x7fELF\x02",
        b"#!" + b"/" * 5_000_000 + b"python\n",
    ],
)
def test_what_python_does_not_start_is_left_alone(content: bytes) -> None:
    assert relocatable_script(content) is None


def test_flag_that_sh_could_read_otherwise_is_refused() -> None:
    with pytest.raises(InputError, match="cannot be carried over"):
        relocatable_script(b"#!/build/bin/python -c$(reboot)\n")


def test_script_runs_in_every_shell_from_an_odd_folder_with_its_arguments_exact(
    tmp_path: Path, shell: list[str]
) -> None:
    content = relocatable_script(b"#!/gone/bin/python -s\n" + BODY)
    assert content is not None
    script = install(tmp_path / ODD, content)
    words = ["", "a b", "$x", "`y`", "*", "'", '"', "é", "-s", "a\nb"]
    done = run([*shell, str(script), *words], cwd="/")
    assert (done.stdout, done.stderr, done.returncode) == ("|".join(words) + "\n", "", 0)
    done = run([*shell, "demo", "x"], cwd=script.parent)
    assert (done.stdout, done.stderr) == ("x\n", "")


def test_script_runs_through_links_to_file_and_folder(tmp_path: Path, shell: list[str]) -> None:
    """Hostile: a relative link to an absolute link to the script, in a linked folder, beside a foreign `python`."""
    content = relocatable_script(b"#!/gone/bin/python\nimport sys\nprint(sys.executable)\n")
    assert content is not None
    script = install(tmp_path / ODD, content)
    other = tmp_path / "other place"
    (other / "deep").mkdir(parents=True)
    (other / "python").write_text("#!/bin/sh\necho wrong Python\n")
    (other / "python").chmod(0o755)
    (other / "absolute").symlink_to(script)
    (other / "deep" / "relative").symlink_to("../absolute")
    (tmp_path / "linked").symlink_to(other / "deep")
    (tmp_path / "bin link").symlink_to(script.parent)
    for path in (other / "absolute", tmp_path / "linked" / "relative", tmp_path / "bin link" / "demo"):
        done = run([*shell, str(path)], cwd=other)
        assert (done.stdout.strip(), done.stderr) == (str(script.parent / "python"), ""), path


def test_script_needs_no_realpath_and_leaves_the_environment_as_it_was(tmp_path: Path, shell: list[str]) -> None:
    content = relocatable_script(b"#!/gone/python\nimport os\nprint(os.environ['path'], os.environ['link'])\n")
    assert content is not None
    script = install(tmp_path / "a", content)
    (tmp_path / "link").symlink_to(script)
    tools = tmp_path / "tools"
    tools.mkdir()
    (tools / "readlink").symlink_to(shutil.which("readlink") or "")
    program = shutil.which(shell[0]) or ""
    env = {"PATH": str(tools), "path": "kept", "link": "too", "CDPATH": "/:/tmp"}
    done = run([program, *shell[1:], str(tmp_path / "link")], env=env)
    assert (done.stdout, done.stderr) == ("kept too\n", "")


def test_script_started_by_the_kernel_from_path(tmp_path: Path) -> None:
    content = relocatable_script(b"#!/gone/python\n" + BODY)
    assert content is not None
    script = install(tmp_path / ODD.replace(":", ""), content)
    done = run(["demo", "x"], env={"PATH": f"{script.parent}:/usr/bin:/bin"})
    assert (done.stdout, done.stderr) == ("x\n", "")


def test_exit_code_and_missing_python_are_told(tmp_path: Path) -> None:
    content = relocatable_script(b"#!/gone/python\nimport sys\nsys.exit(7)\n")
    assert content is not None
    script = install(tmp_path, content)
    assert run([script]).returncode == 7
    (script.parent / "python").unlink()
    done = run([script])
    assert done.returncode in (126, 127)
    assert "python" in done.stderr


FOLDER_NAMES = st.text(
    st.characters(blacklist_characters="/\0", blacklist_categories=["Cs"]), min_size=1, max_size=40
).filter(lambda name: name not in {".", ".."} and len(name.encode()) < 200)


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(name=FOLDER_NAMES, words=st.lists(FOLDER_NAMES, max_size=3), kind=st.sampled_from(sorted(SHELLS)))
def test_any_folder_name_and_any_argument_work(tmp_path: Path, name: str, words: list[str], kind: str) -> None:
    content = relocatable_script(b"#!/gone/python\n")
    assert content is not None
    folder = tmp_path / name
    bin_folder = folder / "bin"
    bin_folder.mkdir(parents=True, exist_ok=True)
    fake = bin_folder / "python"
    fake.write_bytes(b'#!/bin/sh\nprintf \'%s\\0\' "$0" "$@"\n')
    fake.chmod(0o755)
    script = bin_folder / "demo"
    script.write_bytes(content)
    script.chmod(0o755)
    starter = SHELLS[kind] if shutil.which(SHELLS[kind][0]) else []
    done = subprocess.run([*starter, script, *words], capture_output=True, check=True)
    wanted = [os.fsencode(fake.resolve()), os.fsencode(script), *(word.encode() for word in words)]
    assert done.stdout.split(b"\0")[:-1] == wanted
    shutil.rmtree(folder)


@pytest.mark.parametrize("version", ["3.10", "3.11", "3.12", "3.13"])
def test_prologue_of_a_script_means_the_same_to_each_python(tmp_path: Path, version: str) -> None:
    """Encoding line, docstring, `__future__` over several lines, and what follows a semicolon."""
    python = find_python(version)
    if python is None:
        pytest.skip(f"no Python {version} on this machine")
    source = (
        "#!/gone/bin/python\n# -*- coding: latin-1 -*-\n\n# comment\n"
        '"""Grüße,\n  usage"""  # doc\n'
        "from __future__ import (annotations,\n    division)\n"
        "from __future__ import generator_stop; import sys\n"
        "def f(x: Undefined): pass\n"
        "print(__doc__ == 'Gr\\u00fc\\u00dfe,\\n  usage', 'é' == '\\u00e9', annotations.compiler_flag > 0)\n"
        "print(sys.argv[1])\n"
    )
    content = relocatable_script(source.encode("latin-1"))
    assert content is not None
    assert relocatable_script(content) is None
    script = install(tmp_path, content, str(python))
    done = run([script, "x"])
    assert (done.stdout, done.stderr) == ("True True True\nx\n", "")


@pytest.mark.parametrize(
    "body",
    [
        b"b'bytes'\n",
        b"f'{1}'\n",
        b"'text'.strip()\n",
        b"x = '''a\n",
        b"\xff\xfe broken\n",
        b"# -*- coding: no-such-codec -*-\n'doc'\n",
        b"'\xff'\n",
    ],
)
def test_a_body_without_docstring_or_that_python_cannot_read_stays_byte_for_byte(body: bytes) -> None:
    made = relocatable_script(b"#!/gone/python\n" + body)
    assert made is not None
    assert made.endswith(body.partition(b"\n")[2] if b"coding" in body else body)


def test_script_of_50_megabytes_is_rewritten(tmp_path: Path) -> None:
    payload = b"DATA = '" + b"x" * 50_000_000 + b"'\nprint(len(DATA))\n"
    content = relocatable_script(b"#!/gone/python\n" + payload)
    assert content is not None
    assert len(content) < len(payload) + 1000
    assert run([install(tmp_path, content)]).stdout == "50000000\n"


def test_script_far_from_its_interpreter_finds_it(tmp_path: Path) -> None:
    install(tmp_path, b"")
    content = relocatable_script(b"#!/gone/python\n" + BODY, python="../../bin/python")
    assert content is not None
    script = tmp_path / "lib" / "tools" / "demo"
    script.parent.mkdir(parents=True)
    script.write_bytes(content)
    script.chmod(stat.S_IRWXU)
    assert run([script, "x"]).stdout == "x\n"
    moved = relocatable_script(content, python="../bin/python")
    assert moved is not None
    assert relocatable_script(moved, python="../../bin/python") == content


@pytest.mark.parametrize("python", ["", "a b/python", "/abs/python", "$(x)/python", "a'/python"])
def test_path_to_the_interpreter_that_sh_could_read_otherwise_is_a_fault_of_the_caller(python: str) -> None:
    with pytest.raises(ValueError, match="not a path"):
        relocatable_script(b"#!/gone/python\n", python=python)


@pytest.mark.parametrize("first", [b"#!C:\\build\\python.exe\r\n", b'#!"C:\\b d\\pythonw.exe" -s\n', b"#!/b/python\n"])
def test_script_of_a_windows_launcher_loses_its_shebang(first: bytes) -> None:
    assert without_shebang(first + BODY) == BODY
    assert without_shebang(BODY) is None
    assert without_shebang(b"#!C:\\perl.exe\n") is None
