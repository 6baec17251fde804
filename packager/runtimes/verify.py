"""Whether a copied CPython lives from its own files alone. It is run, with nothing of this environment."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from packager.binaries.system_libraries import system_libraries
from packager.errors import PackagerError
from packager.filesystem import walk_files
from packager.process import CommandError, run
from packager.runtimes.interpreter import Interpreter

_SELF_TEST = Path(__file__).with_name("self_test.py")


def verify_copy(prefix: Path, original: Interpreter) -> None:
    """Run the Python at `prefix`, a copy of `original`; raise PackagerError if it is another or not self-contained.

    Where bubblewrap works, the original's folders are hidden from it.
    """
    build_paths = original.build_paths
    python = prefix / "bin" / "python"
    try:
        finished = run(
            [*_hiding(build_paths, prefix), python, "-I", "-B", _SELF_TEST], cwd=Path("/"), env={}, timeout=300
        )
        facts = json.loads(finished.stdout)
    except (CommandError, ValueError) as error:
        raise PackagerError(f"the copied Python does not run: {error}", where=str(python)) from error
    problems = [*_problems(facts, prefix, original), *_leaks(prefix, build_paths)]
    if problems:
        raise PackagerError("the copied Python is not self-contained:\n  " + "\n  ".join(problems), where=str(prefix))


def _hiding(folders: Sequence[str], prefix: Path) -> list[str]:
    """The start of a command that runs the rest with `folders` empty; nothing where that is not possible."""
    needed = (prefix, _SELF_TEST)
    hidden = [folder for folder in folders if not any(path.resolve().is_relative_to(folder) for path in needed)]
    program = shutil.which("bwrap")
    if program is None or not hidden:
        return []
    command = [program, "--dev-bind", "/", "/", *(word for folder in hidden for word in ("--tmpfs", folder))]
    try:
        run([*command, "true"])
    except PackagerError:  # user namespaces are often forbidden in containers; what is mapped is checked in any case
        return []
    return command


def _problems(facts: dict[str, Any], prefix: Path, original: Interpreter) -> Iterator[str]:
    site_packages = prefix / "lib" / f"python{original.minor}" / "site-packages"
    expected = {
        "the version": (facts["version"], original.version),
        "the build": (facts["build"], original.build),
        "sys.prefix": (facts["prefix"], str(prefix)),
        "where packages go": (facts["purelib"], str(site_packages)),
        "where scripts go": (facts["scripts"], str(prefix / "bin")),
        "site.getsitepackages()": (facts["site_packages"], [str(site_packages)]),
    }
    for what, (found, wanted) in expected.items():
        if found != wanted:
            yield f"{what} is {found}, and should be {wanted}"
    yield from (f"sys.path holds {path}" for path in facts["path"] if path and not _inside(path, prefix))
    if str(site_packages) not in facts["path"]:
        yield f"sys.path lacks {site_packages}"
    yield from (f"module {name} does not import: {error}" for name, error in facts["failures"].items())
    system = system_libraries().always_present
    for path in facts["mapped"]:
        if not _inside(path, prefix) and Path(path).name not in system:
            yield f"it loads {path}, which belongs to this machine"


def _inside(path: str, folder: Path) -> bool:
    return Path(path).is_relative_to(folder)


def _leaks(prefix: Path, build_paths: Sequence[str]) -> Iterator[str]:
    needles = [path.encode() for path in build_paths]
    for path in walk_files(prefix):
        content = str(path.readlink()).encode() if path.is_symlink() else path.read_bytes()
        yield from (f"{path.relative_to(prefix)} holds {needle.decode()}" for needle in needles if needle in content)
