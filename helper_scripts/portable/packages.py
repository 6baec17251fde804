"""Installing packages into the bundle with its own pip, held by the bundle's lock."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from portable.bundle import Bundle
from portable.environment import environment
from portable.errors import HelperError, UsageError
from portable.scripts import make_relocatable

_REMEDIES = Path(__file__).absolute().with_name("pip_remedies.json")
_NAME = re.compile(r"[A-Za-z0-9]+(?:[._-]+[A-Za-z0-9]+)*")


@dataclass(frozen=True, kw_only=True)
class Request:
    """What to install. `requirements` are specifiers or wheel files, `files` requirement files.

    With `wheels_dir` only wheels of that folder are used, all of them if nothing else is named. `force` ignores the
    lock.
    """

    requirements: tuple[str, ...] = ()
    files: tuple[str, ...] = ()
    wheels_dir: str | None = None
    force: bool = False


def install(bundle: Bundle, request: Request) -> None:
    """Install what `request` names, then show what no longer fits. Raises HelperError if pip failed."""
    env = environment(bundle.root, os.environ, recipe_env=bundle.env)
    command = pip_command(bundle, request)
    before = _complaints(bundle, env)
    try:
        code, said = _run_showing_errors(command, env)
    finally:
        make_relocatable(bundle.root)  # also after Ctrl-C: pip may have got half-way
    if code != 0:
        pins = [] if request.force else held_by_lock(bundle, request.requirements)
        held = [f"The lock of this bundle holds {', '.join(pins)}."] if pins else []
        raise HelperError("\n".join(["pip did not install it.", *held, *explain(said)]))
    after = _complaints(bundle, env)
    if new := [line for line in after if line not in before]:
        print("warning: installed, but these packages do not fit together any more:", file=sys.stderr)
        for line in new:
            print(f"  {line}", file=sys.stderr)


def pip_command(bundle: Bundle, request: Request) -> list[str]:
    """The words that run pip. Nothing the user names can become an option: all of it follows `--` or its own option.

    Raises UsageError if there is nothing to install, HelperError if the lock or a folder is missing.
    """
    lock = bundle.portable / "lock.txt"
    words = [*_pip(bundle), "install", "--no-input", "--upgrade-strategy", "only-if-needed"]
    if not request.force:
        if not lock.is_file():
            raise HelperError(f"{lock} is missing: unzip the bundle again, or add --force to install without the lock.")
        words += ["--constraint", str(lock)]
    names = list(request.requirements)
    if request.wheels_dir is not None:
        folder = Path(request.wheels_dir).absolute()
        wheels = sorted(str(path) for path in folder.glob("*.whl"))
        if not wheels:
            raise HelperError(f"{folder} holds no wheels (*.whl).")
        words += ["--no-index", "--find-links", str(folder)]
        if not names and not request.files:
            names = wheels
    for name in request.files:
        words += ["--requirement", name]
    if not names and not request.files:
        raise UsageError("name a package, a wheel, -r FILE or --wheels-dir DIR.")
    return [*words, "--", *names]


def held_by_lock(bundle: Bundle, requirements: Sequence[str]) -> list[str]:
    """The lines of the lock that pin what is asked for by name or as a wheel. Names compare as in PEP 503."""
    asked = set()
    for requirement in requirements:
        file = Path(requirement).name
        found = _NAME.match(file.split("-")[0] if file.endswith(".whl") else requirement)
        asked.add(_normalise(found[0]) if found else "")
    lock = (bundle.portable / "lock.txt").read_text(encoding="utf-8")
    return [line.strip() for line in lock.splitlines() if _normalise(line.partition("==")[0]) in asked - {""}]


def explain(said: str) -> list[str]:
    """A plain sentence on what pip `said`, none if nothing in it is known."""
    remedies = json.loads(_REMEDIES.read_text(encoding="utf-8"))
    return [entry["remedy"] for entry in remedies if re.search(entry["pattern"], said)][:1]


def _normalise(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name.strip()).lower()


def _pip(bundle: Bundle) -> list[str]:
    return [str(bundle.python), "-I", "-X", "utf8", "-m", "pip"]


def _complaints(bundle: Bundle, env: Mapping[str, str]) -> list[str]:
    """The lines of `pip check`, empty if all fits."""
    finished = subprocess.run(
        [*_pip(bundle), "check"], env=env, check=False, capture_output=True, encoding="utf-8", errors="replace"
    )
    return finished.stdout.splitlines() if finished.returncode != 0 else []


def _run_showing_errors(command: Sequence[str], env: Mapping[str, str]) -> tuple[int, str]:
    """Exit code and errors of `command`; its output goes straight to the terminal, its errors on the way as well."""
    with subprocess.Popen(
        command, env=env, stdin=subprocess.DEVNULL, stderr=subprocess.PIPE, encoding="utf-8", errors="replace"
    ) as process:
        lines = []
        for line in process.stderr or ():
            lines.append(line)
            sys.stderr.write(line)
    return process.returncode, "".join(lines)
