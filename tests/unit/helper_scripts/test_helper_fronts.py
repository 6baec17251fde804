"""The fronts on POSIX, under every shell a user may have, with hostile folder names, arguments and environments."""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from fake_bundles import REPOSITORY, call

from packager.bundle import BundleTree

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="shell scripts are for POSIX")
MakeBundle = Callable[..., BundleTree]

FRONTS = {"run_comfyui": "run", "run_comfyui_cpu": "run --cpu", "install_package": "install", "manage": ""}
SHELLS = {"dash": ["dash"], "bash": ["bash"], "busybox": ["busybox", "ash"]}
HOSTILE_NAMES = [
    "with space",
    "ünïcödé 音",
    'quote\'s "double"',
    "$(touch pwned)",
    "`touch pwned`",
    "a;touch pwned;b",
    "a&b|c>d<e",
    "-n",
    "*",
    "back\\slash\\n",
    "trailing newline\n",
    "%PATH% !x! ^",
    "(paren) {brace} [bracket]",
    "~",
]
HOSTILE_ARGUMENTS = [
    "",
    " ",
    "a b",
    "'",
    '"',
    "\\",
    "$HOME",
    "$(touch pwned)",
    "`touch pwned`",
    "; touch pwned",
    "&& touch pwned",
    "*",
    "--",
    "-c",
    "-m",
    "--help",
    "@file",
    "a\nb",
    "é音",
    "%PATH%",
    "!x!",
    "\udcff\udcfe",
]


@pytest.fixture(params=SHELLS)
def shell(request: pytest.FixtureRequest) -> list[str]:
    command = SHELLS[request.param]
    if not shutil.which(command[0]):
        pytest.skip(f"{command[0]} is not installed")
    return command


def start_of(finished: subprocess.CompletedProcess[str]) -> dict[str, Any]:
    assert finished.returncode == 0, finished.stderr
    said: dict[str, Any] = json.loads(finished.stdout)
    said["arguments"] = [bytes.fromhex(word).decode("utf-8", "surrogateescape") for word in said["arguments"]]
    return said


def test_arguments_arrive_exactly_and_start_nothing(make_bundle: MakeBundle, shell: list[str], tmp_path: Path) -> None:
    tree = make_bundle()
    said = start_of(call(*shell, tree.root / "run_comfyui.sh", *HOSTILE_ARGUMENTS, cwd=tmp_path))
    assert said["arguments"] == HOSTILE_ARGUMENTS
    assert not list(tmp_path.rglob("pwned"))


def test_works_in_folders_with_hostile_names(make_bundle: MakeBundle, shell: list[str], tmp_path: Path) -> None:
    for name in HOSTILE_NAMES:
        tree = make_bundle(name)
        said = start_of(
            call(*shell, f"{name}/run_comfyui.sh" if name[0] != "-" else f"./{name}/run_comfyui.sh", cwd=tmp_path)
        )
        assert said["cwd"] == str(tree.app), name
    assert not list(tmp_path.rglob("pwned"))


def test_works_through_chains_of_links_and_ignores_cdpath(
    make_bundle: MakeBundle, shell: list[str], tmp_path: Path
) -> None:
    tree = make_bundle("the bundle\n")
    other = tmp_path / "else where"
    (tmp_path / "bundle").mkdir()  # what `cd bundle` would find through CDPATH
    (other / "sub").mkdir(parents=True)
    (other / "sub" / "first link\n").symlink_to("../../the bundle\n/run_comfyui.sh")
    (other / "-second").symlink_to("sub/first link\n")
    (other / "absolute").symlink_to(tree.root / "run_comfyui.sh")
    (other / "bundle").symlink_to(tree.root)
    for path in ("./-second", "absolute", "bundle/run_comfyui.sh", "sub/../bundle/run_comfyui.sh"):
        said = start_of(call(*shell, path, cwd=other, CDPATH=f"{tmp_path}:/usr"))
        assert said["cwd"] == str(tree.app), path
        assert said["executable"] == str(tree.python), path
        assert said["environment"]["CDPATH"] == f"{tmp_path}:/usr"


def test_runs_by_its_own_mode_and_shebang_and_by_bare_name(make_bundle: MakeBundle, tmp_path: Path) -> None:
    tree = make_bundle()
    assert start_of(call(tree.root / "run_comfyui.sh", cwd=tmp_path))["cwd"] == str(tree.app)
    assert start_of(call("sh", "run_comfyui.sh", cwd=tree.root))["cwd"] == str(tree.app)


def test_cpu_front_adds_its_argument_before_those_of_the_user(make_bundle: MakeBundle) -> None:
    tree = make_bundle(launch={"args": ["--from-recipe", "a b"]})
    said = start_of(call(tree.root / "run_comfyui_cpu.sh", "--port", "1"))
    assert said["arguments"] == ["--from-recipe", "a b", "--cpu", "--port", "1"]


def test_the_app_gets_the_bundle_environment_and_no_variable_of_the_front(make_bundle: MakeBundle) -> None:
    tree = make_bundle()
    users = {"root": "mine", "self": "mine", "python": "mine", "link": "mine", "PYTHONPATH": "/elsewhere"}
    environment = start_of(call(tree.root / "run_comfyui.sh", **users))["environment"]
    assert {name: environment[name] for name in ("root", "self", "python", "link")} == dict.fromkeys(
        ("root", "self", "python", "link"), "mine"
    )
    assert "PYTHONPATH" not in environment
    assert environment["RECIPE_SAYS"] == "hello & é"
    assert not [name for name in environment if name.startswith("bundle_")]


def test_a_hostile_python_environment_cannot_reach_the_helper(make_bundle: MakeBundle, tmp_path: Path) -> None:
    """PYTHONPATH, PYTHONHOME, PYTHONINSPECT; json.py in the working directory, the bundle's root and portable/."""
    tree = make_bundle()
    for folder in (tmp_path, tree.root, tree.portable):
        (folder / "json.py").write_text("raise SystemExit('hijacked')", encoding="utf-8")
    hostile = {"PYTHONPATH": str(tmp_path), "PYTHONHOME": str(tmp_path), "PYTHONINSPECT": "1", "PYTHONSTARTUP": "x"}
    finished = call(tree.root / "manage.sh", "info", "--json", cwd=tmp_path, **hostile)
    assert finished.returncode == 0, finished.stderr
    assert json.loads(finished.stdout)["location"] == str(tree.root)


def test_exit_code_reaches_the_caller(make_bundle: MakeBundle, shell: list[str]) -> None:
    tree = make_bundle()
    assert call(*shell, tree.root / "run_comfyui.sh", EXIT_CODE="73").returncode == 73


@pytest.mark.parametrize(("sent", "code"), [(signal.SIGINT, 42), (signal.SIGTERM, -signal.SIGTERM)])
def test_signals_reach_the_app_which_is_the_same_process(
    make_bundle: MakeBundle, shell: list[str], sent: signal.Signals, code: int
) -> None:
    tree = make_bundle()
    command = [*shell, str(tree.root / "run_comfyui.sh"), "--wait"]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, start_new_session=True)
    try:
        assert process.stdout is not None
        said = json.loads(process.stdout.readline())
        assert said["pid"] == process.pid
        process.send_signal(sent)
        assert process.wait(30) == code
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.communicate()


@pytest.mark.parametrize("front", FRONTS)
@pytest.mark.parametrize("lost", ["python", "portable", "python/bin/python", "portable/__main__.py"])
def test_a_bundle_unzipped_in_part_is_told_plainly(make_bundle: MakeBundle, front: str, lost: str) -> None:
    tree = make_bundle()
    path = tree.root / lost
    shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink()
    finished = call(tree.root / f"{front}.sh")
    assert finished.returncode == 1
    assert "Unzip all of it" in finished.stderr
    assert finished.stderr.count("\n") == 1


def test_lost_app_is_told_plainly(make_bundle: MakeBundle) -> None:
    tree = make_bundle()
    (tree.app / "main.py").unlink()
    finished = call(tree.root / "run_comfyui.sh")
    assert finished.returncode == 1
    assert (
        finished.stderr == f"error: {tree.app / 'main.py'} is missing: unzip the bundle again into an empty folder.\n"
    )


def test_quarantine_is_lifted_on_macos_alone(make_bundle: MakeBundle, tmp_path: Path) -> None:
    """`uname` and `xattr` are stand-ins: no macOS here."""
    tree = make_bundle()
    programs = tmp_path / "programs"
    programs.mkdir()
    log = tmp_path / "log"
    for name, text in {"uname": 'echo "$SYSTEM"', "xattr": f'printf "%s|" "$@" >> "{log}"'}.items():
        (programs / name).write_text(f"#!/bin/sh\n{text}\n", encoding="utf-8")
        (programs / name).chmod(0o755)
    path = f"{programs}:{os.environ['PATH']}"
    start_of(call(tree.root / "run_comfyui.sh", PATH=path, SYSTEM="Linux"))
    assert not log.exists()
    start_of(call(tree.root / "run_comfyui.sh", PATH=path, SYSTEM="Darwin"))
    assert log.read_text() == f"-p|com.apple.quarantine|{tree.python}|-dr|com.apple.quarantine|{tree.root}|"


def test_works_with_an_empty_environment(make_bundle: MakeBundle) -> None:
    tree = make_bundle()
    finished = subprocess.run(
        ["/usr/bin/env", "-i", tree.root / "run_comfyui.sh"], capture_output=True, text=True, check=False
    )
    assert start_of(finished)["cwd"] == str(tree.app)


def test_shellcheck_finds_nothing() -> None:
    program = shutil.which("shellcheck", path=f"{Path(sys.executable).parent}:{os.environ['PATH']}")
    if not program:
        pytest.skip("shellcheck is not installed")
    scripts = sorted((REPOSITORY / "helper_scripts").glob("*.sh"))
    finished = call(program, "--shell=sh", *scripts)
    assert finished.returncode == 0, finished.stdout


@pytest.mark.parametrize("suffix", ["sh", "bat"])
def test_fronts_differ_by_their_command_and_comment_alone(suffix: str) -> None:
    bodies = set()
    for name, words in FRONTS.items():
        text = (REPOSITORY / "helper_scripts" / f"{name}.{suffix}").read_text(encoding="ascii")
        start = re.escape('portable"' + (f" {words}" if words else "")) + r' ("\$@"|%\*)\n'
        assert re.search(start, text), name
        bodies.add(re.sub(start, "START\n", re.sub(r"(?m)^(# |rem )\w.*\.$", "COMMENT", text, count=1)))
    assert len(bodies) == 1
