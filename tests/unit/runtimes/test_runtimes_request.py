"""What is asked of a runtime, and what is refused: versions, targets, and Pythons that cannot be made portable."""

from __future__ import annotations

import dataclasses
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from packager import runtimes, targets
from packager.binaries.elf import find_patchelf
from packager.errors import InputError, PackagerError
from packager.process import run
from packager.runtimes import HostRuntime, RuntimeRequest
from packager.runtimes.interpreter import Interpreter, check_portable, describe
from packager.runtimes.protocol import check_version
from packager.targets import TARGETS


@pytest.mark.parametrize("wanted", [None, "3.11", "3.11.7", ">=3.11,<3.13", "~=3.11.2", " 3.11", "3", "==3.11.*"])
def test_version_fits(wanted: str | None) -> None:
    check_version(wanted, "3.11.7")


@pytest.mark.parametrize("wanted", ["3.1", "3.12", "3.11.8", "3.11.70", "<3.11", ">=3.12", "2"])
def test_version_does_not_fit(wanted: str) -> None:
    with pytest.raises(InputError, match=r"the one at hand is 3\.11\.7"):
        check_version(wanted, "3.11.7")


@pytest.mark.parametrize("wanted", ["", "latest", "3.11; rm -rf /", "--version", "3.11.x", "three", "3..11"])
def test_what_is_no_version_is_refused(wanted: str) -> None:
    with pytest.raises(InputError, match="is no Python version"):
        check_version(wanted, "3.11.7")


def test_unknown_runtime_lists_the_known() -> None:
    with pytest.raises(InputError, match=r"use one of .*host"):
        runtimes.get("hots")
    assert runtimes.get("host").name == "host"


def test_another_target_than_this_machine_is_refused() -> None:
    other = next(target for target in TARGETS.values() if target.name != targets.current().name)
    with pytest.raises(InputError, match="miniforge"):
        HostRuntime().inspect(RuntimeRequest(python=None, target=other))


@pytest.mark.parametrize("system", ["darwin", "win32"])
def test_other_systems_are_sent_to_miniforge(system: str, monkeypatch: pytest.MonkeyPatch) -> None:
    target = targets.current()
    monkeypatch.setattr(sys, "platform", system)
    with pytest.raises(InputError, match=r"Linux only.*\n.*miniforge"):
        HostRuntime().inspect(RuntimeRequest(python=None, target=target))


def test_inspect_refuses_a_version_this_python_is_not() -> None:
    with pytest.raises(InputError, match=r"Python 3\.9 is wanted"):
        HostRuntime().inspect(RuntimeRequest(python="3.9", target=targets.current()))


@pytest.mark.parametrize("program", ["true", "sh", "absent-program"])
def test_a_program_that_is_no_python_is_refused(program: str) -> None:
    path = shutil.which(program) or f"/nowhere/{program}"
    with pytest.raises(PackagerError, match=program):
        describe(Path(path))


def test_a_virtual_environment_stands_for_the_python_it_was_made_from(tmp_path: Path, running: Interpreter) -> None:
    run([sys.executable, "-m", "venv", "--without-pip", tmp_path / "venv"])
    assert describe(tmp_path / "venv" / "bin" / "python") == running


_STATED: list[tuple[dict[str, Any], str]] = [
    ({"implementation": "PyPy"}, "only CPython"),
    ({"abiflags": "t"}, "free-threaded"),
    ({"config": {"PYTHONFRAMEWORK": "Python"}}, "framework"),
    ({"exec_prefix": Path("/other")}, "two prefixes"),
    ({"platlibdir": "lib64"}, "lib64"),
    ({"schemes": ("rpm_prefix", "posix_prefix")}, "distribution"),
    ({"stdlib": Path("/usr/lib/python.zip")}, "not as files"),
]


@pytest.mark.parametrize(("changes", "why"), _STATED)
def test_builds_this_machine_does_not_have_are_refused(changes: dict[str, Any], why: str, running: Interpreter) -> None:
    other = dataclasses.replace(running, **changes)
    with pytest.raises(InputError, match=f"(?s){why}.*remedy.*Miniforge"):
        check_portable(other, arch=targets.current().arch)


def test_an_executable_for_another_processor_is_refused(running: Interpreter) -> None:
    with pytest.raises(InputError, match="the bundle for riscv64"):
        check_portable(running, arch="riscv64")


def test_a_wrapper_script_a_static_and_a_musl_executable_are_refused(
    running: Interpreter, compile_c: Callable[..., Path], tmp_path: Path
) -> None:
    script = tmp_path / "python"
    script.write_text("#!/bin/sh\nexec python3\n")
    main = "int main(void) { return 0; }"
    static = compile_c(tmp_path / "static", "-static", source=main)
    musl = compile_c(tmp_path / "musl", "-no-pie", source=main)
    run([find_patchelf(), "--set-interpreter", "/lib/ld-musl-x86_64.so.1", musl])
    for path, why in ((script, "no ELF file"), (static, "linked statically"), (musl, "musl")):
        with pytest.raises(InputError, match=why):
            check_portable(dataclasses.replace(running, executable=path), arch=targets.current().arch)


@pytest.mark.parametrize("prefix", ["/usr", "/usr/local", "/opt", "/python"])
def test_an_interpreter_that_shares_its_prefix_owns_its_standard_library_only(
    prefix: str, running: Interpreter
) -> None:
    stdlib = Path(prefix, "lib", "python3.99")
    assert dataclasses.replace(running, prefix=Path(prefix), stdlib=stdlib).build_paths == (str(stdlib),)
