"""Calling the bundle's own pip, and a plain sentence on what it says."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from portable.bundle import Bundle
from portable.errors import HelperError
from portable.layers import environment_of

_REMEDIES = Path(__file__).absolute().with_name("pip_remedies.json")


@dataclass(frozen=True, kw_only=True)
class Said:
    """How pip ended, and what it wrote to stderr."""

    code: int
    errors: str


def call(bundle: Bundle, *words: str | Path, cwd: Path, show: bool = True) -> Said:
    """Run pip with `words` in `cwd`; what it prints goes to stderr as it comes if `show`."""
    env = environment_of(bundle)
    command = [*base_command(bundle), *map(str, words)]
    output = sys.stderr.fileno() if show and _has_descriptor() else subprocess.DEVNULL
    with subprocess.Popen(
        command, env=env, cwd=cwd, stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.PIPE,
        encoding="utf-8", errors="replace",
    ) as process:  # fmt: skip
        lines = []
        try:
            for line in process.stderr or ():
                lines.append(line)
                if show:
                    sys.stderr.write(line)
        except BaseException:
            process.kill()
            raise
    return Said(code=process.returncode, errors="".join(lines))


def complaints(bundle: Bundle) -> list[str]:
    """The lines of `pip check`, empty if all fits."""
    env = environment_of(bundle)
    finished = subprocess.run(
        [*base_command(bundle), "check"],
        env=env,
        cwd=bundle.portable,
        check=False,
        capture_output=True,
        encoding="utf-8",
        errors="replace",
    )
    if finished.returncode != 0 and not finished.stdout.strip():
        raise HelperError(f"pip cannot be run: {finished.stderr.strip()[-500:]}")
    return finished.stdout.splitlines() if finished.returncode != 0 else []


def base_command(bundle: Bundle) -> list[str]:
    """The words that start pip. Bytecode is not written: what a check leaves behind would have to be put back."""
    alone = "-I" if bundle.base is None else "-s"  # -I does not let an instance's packages be seen
    return [str(bundle.python), alone, "-B", "-X", "utf8", "-m", "pip"]


def explain(said: str) -> list[str]:
    """A plain sentence on what pip `said`, none if nothing in it is known."""
    remedies = json.loads(_REMEDIES.read_text(encoding="utf-8"))
    return [entry["remedy"] for entry in remedies if re.search(entry["pattern"], said)][:1]


def failure(what: str, said: Said, *more: Sequence[str]) -> HelperError:
    """The error that ends a call that failed: what was tried, pip's own last words, and the way out."""
    own = [line for line in said.errors.splitlines() if line.startswith("ERROR:")][-3:]
    return HelperError(
        "\n".join(
            [f"{what} Nothing was changed.", *own, *(line for part in more for line in part), *explain(said.errors)]
        )
    )


def _has_descriptor() -> bool:
    try:
        sys.stderr.fileno()
    except (OSError, ValueError, AttributeError):
        return False
    return True
