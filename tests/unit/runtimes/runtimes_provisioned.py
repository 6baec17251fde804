"""Pythons made self-contained by runtime `host`, to look at from outside."""

from __future__ import annotations

import dataclasses
import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from packager import targets
from packager.bundle import BundleTree
from packager.console import Console
from packager.runtimes import HostRuntime, RuntimeFacts, RuntimeRequest
from packager.runtimes.interpreter import Interpreter, describe


@dataclasses.dataclass(frozen=True, kw_only=True)
class Provisioned:
    """`original` was copied to `tree`, which was moved since; `facts` is what the runtime said of it."""

    original: Interpreter
    tree: BundleTree
    facts: RuntimeFacts
    warnings: tuple[str, ...]

    def run(self, *arguments: str, **settings: object) -> subprocess.CompletedProcess[str]:
        """Run it from / with an empty environment and, where that is possible, without the original."""
        command = [*hiding([self.original.own_folder]), str(self.tree.python), "-B", *arguments]
        options: dict[str, object] = {"cwd": "/", "env": {}, "text": True, "capture_output": True, "timeout": 120}
        finished = subprocess.run(command, check=False, **{**options, **settings})  # type: ignore[call-overload]
        assert finished.returncode == 0, finished.stderr
        return finished


def provision(executable: Path, root: Path, *, move_to: Path | None = None) -> Provisioned:
    runtime = HostRuntime(executable=executable)
    target = targets.current()
    facts = runtime.inspect(RuntimeRequest(python=None, target=target))
    tree = BundleTree(root=root, target=target, python_version=facts.python_version)
    console = Console(quiet=True)
    facts = runtime.provision(tree, facts, console=console)
    if move_to is not None:
        root.rename(move_to)
        tree = dataclasses.replace(tree, root=move_to)
    return Provisioned(original=describe(executable), tree=tree, facts=facts, warnings=tuple(console.warnings))


def hiding(folders: Sequence[Path]) -> list[str]:
    """Command words that run the rest with `folders` empty; none where bubblewrap does not work."""
    program = shutil.which("bwrap")
    command = [
        program or "",
        "--dev-bind",
        "/",
        "/",
        *(word for folder in folders for word in ("--tmpfs", str(folder))),
    ]
    if program is None or subprocess.run([*command, "true"], check=False, capture_output=True).returncode != 0:
        return []
    return command


def other_interpreters() -> list[Path]:
    """Besides the running one: the distribution's, and the oldest and the newest of those that pyenv keeps."""
    own = Path(sys.base_prefix).resolve()
    pyenv = Path(os.environ.get("PYENV_ROOT", "~/.pyenv")).expanduser()
    kept = [path for minor in range(10, 20) for path in sorted(pyenv.glob(f"versions/3.{minor}.*/bin/python3.{minor}"))]
    found = [Path("/usr/bin/python3"), *kept[:1], *kept[-1:]]
    return [path for path in dict.fromkeys(found) if path.exists() and path.resolve().parents[1] != own]
