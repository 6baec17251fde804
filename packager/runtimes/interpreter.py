"""An installed CPython: what it says of itself, and whether it can be copied to another machine."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from packager.binaries.elf import is_elf, read_elf
from packager.errors import InputError
from packager.process import CommandError, run
from packager.targets import minor_version

_PROBE = Path(__file__).with_name("probe.py")

REMEDY = "run packager with a Python made by pyenv, `uv python install` or Miniforge, or use runtime miniforge"

# Every system has files of its own below it, so to find its path in a bundle says nothing (FHS 3.0, 4.9).
_SHARED_PREFIX = Path("/usr/local")


@dataclass(frozen=True, kw_only=True)
class Interpreter:
    """A CPython outside of any virtual environment. Paths are absolute; `config` holds some sysconfig variables."""

    implementation: str
    version: str
    abiflags: str
    build: str
    executable: Path
    prefix: Path
    exec_prefix: Path
    platlibdir: str
    stdlib: Path
    include: Path
    schemes: tuple[str, ...]
    config: dict[str, Any]

    @property
    def minor(self) -> str:
        """Such as 3.11."""
        return minor_version(self.version)

    @property
    def own_folder(self) -> Path:
        """What belongs to it alone: its prefix, or its standard library if the prefix is a general one such as /usr."""
        general = len(self.prefix.parts) < 3 or self.prefix == _SHARED_PREFIX
        return self.stdlib if general else self.prefix

    @property
    def build_paths(self) -> tuple[str, ...]:
        """Its own folder, as given and with links resolved."""
        return tuple(dict.fromkeys((str(self.own_folder), str(self.own_folder.resolve()))))


def describe(executable: Path) -> Interpreter:
    """The interpreter behind `executable`: of a virtual environment, the one it was made from."""
    try:
        told = run([executable, "-I", "-B", _PROBE], timeout=60).stdout
        facts: dict[str, Any] = json.loads(told)
    except (CommandError, ValueError) as error:
        raise InputError(f"is no working Python: {error}", where=str(executable), remedy=REMEDY) from error
    for name in ("executable", "prefix", "exec_prefix", "stdlib", "include"):
        facts[name] = Path(facts[name])
    return Interpreter(**{**facts, "schemes": tuple(facts["schemes"])})


def check_portable(python: Interpreter, *, arch: str) -> None:
    """Raises InputError if a copy of `python` could not run elsewhere, or not as the layout of a bundle needs it."""
    if problem := _identity_problem(python) or _layout_problem(python) or _executable_problem(python, arch):
        raise InputError(f"this Python cannot be made portable: {problem}", where=str(python.executable), remedy=REMEDY)


def _identity_problem(python: Interpreter) -> str | None:
    if python.implementation != "CPython":
        return f"it is {python.implementation}, and only CPython is known here"
    if python.abiflags:
        return (
            f"its ABI is '{python.minor}{python.abiflags}' (a debug or free-threaded build), for which few wheels exist"
        )
    if python.config["PYTHONFRAMEWORK"]:
        return "it is a framework build"
    return None


def _layout_problem(python: Interpreter) -> str | None:
    if python.prefix != python.exec_prefix:
        return f"it is spread over two prefixes, {python.prefix} and {python.exec_prefix}"
    if python.platlibdir != "lib":
        return f"its libraries lie in '{python.platlibdir}' (a Fedora or SUSE system Python), not in 'lib'"
    if "rpm_prefix" in python.schemes:
        return "its distribution changed where packages are installed"
    expected = python.prefix / "lib" / f"python{python.minor}"
    if not (expected / "os.py").is_file() or expected.resolve() != python.stdlib.resolve():
        return f"its standard library is at {python.stdlib}, not as files at {expected}"
    if not any(expected.glob("_sysconfigdata*.py")):
        return "it lacks _sysconfigdata, which says how it was built"
    return None


def _executable_problem(python: Interpreter, arch: str) -> str | None:
    if not is_elf(python.executable):
        return "its executable is no ELF file"
    facts = read_elf(python.executable)
    if facts.machine != arch:
        return f"it is for {facts.machine}, and the bundle for {arch}"
    if facts.interpreter is None or not facts.dynamic:
        return "it is linked statically, so it cannot load extension modules"
    if "ld-musl" in facts.interpreter:
        return "it is linked against musl, and wheels of the manylinux kind need glibc"
    return None
