"""Starting programs in the bundle's environment: becoming them where the system can, else waiting until they end."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from portable.bundle import WINDOWS, Bundle, python_of
from portable.environment import environment
from portable.errors import HelperError
from portable.layers import environment_of


def run_app(bundle: Bundle, arguments: Sequence[str]) -> int:
    """Start ComfyUI with `arguments`, after those of the recipe. Returns its exit code; on POSIX it never returns."""
    main = bundle.app_dir / "main.py"
    if not main.is_file():
        raise HelperError(f"{main} is missing: unzip the bundle again into an empty folder.")
    return _become(app_command(bundle, arguments), environment_of(bundle, guarded=True), cwd=bundle.app_dir)


def app_command(bundle: Bundle, arguments: Sequence[str], *, windows: bool = WINDOWS) -> list[str]:
    """The words that start ComfyUI. On Windows its `--windows-standalone-build` opens the browser and such."""
    standalone = ["--windows-standalone-build"] if windows else []
    return [str(bundle.python), "-s", str(bundle.app_dir / "main.py"), *standalone, *bundle.launch_args, *arguments]


def run_any(root: Path, command: Sequence[str], recipe_env: Mapping[str, str]) -> int:
    """Run `command` in the environment of the bundle in `root`; `python` and console scripts are the bundle's."""
    return _run(command, python_of(root), environment(root, os.environ, recipe_env=recipe_env))


def run_in(bundle: Bundle, command: Sequence[str]) -> int:
    """As `run_any`, in a bundle or an instance that is described. An instance's pip may look, and change nothing."""
    env = environment_of(bundle, guarded=True)
    if bundle.base and WINDOWS:  # a launcher would look for Python beside it; the zip at its end runs under any
        found = shutil.which(command[0], path=env["PATH"])
        if found and Path(found).is_relative_to(bundle.root / "python"):
            command = ["python", found, *command[1:]]
    return _run(command, bundle.python, env)


def _run(command: Sequence[str], python: Path, env: Mapping[str, str]) -> int:
    name, *arguments = command
    if name in ("python", "python3"):
        program: str | None = str(python)
    else:
        program = shutil.which(name, path=env["PATH"])
    if program is None or not Path(program).exists():
        raise HelperError(f"there is no program {name!r} in the bundle or on PATH.")
    return _become([program, *arguments], env, cwd=None)


def _become(command: Sequence[str], env: Mapping[str, str], *, cwd: Path | None) -> int:
    sys.stdout.flush()
    sys.stderr.flush()
    try:
        if WINDOWS:
            return _stand_by(command, env, cwd)
        if cwd is not None:
            os.chdir(cwd)
        os.execve(command[0], list(command), env)  # noqa: S606 - no shell is what is wanted
    except OSError as error:
        raise HelperError(f"{command[0]} cannot be started: {error.strerror}.") from error


def _stand_by(command: Sequence[str], env: Mapping[str, str], cwd: Path | None) -> int:
    """Windows has no exec that keeps the console: wait, and leave Ctrl-C, which reaches both, to the program."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    code = subprocess.run(command, env=env, cwd=cwd, check=False).returncode
    return code if code < 2**31 else code - 2**32  # an NTSTATUS such as 0xC000013A must fit sys.exit's C long
