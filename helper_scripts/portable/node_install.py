"""Running a node's install.py in its folder, and seeing what it did."""

from __future__ import annotations

import re
import subprocess
import tempfile
import threading
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from pathlib import Path

from portable import checks, node_files
from portable.bundle import Bundle
from portable.changes import STATE, sha256_of
from portable.disk import remove_tree
from portable.distributions import installed
from portable.layers import environment_of

Say = Callable[[str], None]
_WOULD = re.compile(r"Would install (?P<names>[^\r\n]+)")
_TAIL = 8  # lines of what it printed that are worth telling


@dataclass(frozen=True, kw_only=True)
class Ran:
    """How install.py ended. `missing` are the packages, NAME==VERSION, that it asked pip for and that are not there."""

    missing: frozenset[str]
    warnings: tuple[str, ...]


def run(bundle: Bundle, name: str, *, wheels_dir: str | None, say: Say) -> Ran | None:
    """Run install.py of node `name`, if it has one. Its pip installs nothing, and says what it would (pip's dry run).

    With `wheels_dir` its pip knows that folder alone, as the transaction does. The files it makes in the node's folder
    count as the node's own from now on.
    """
    folder = node_files.nodes_folder(bundle) / name
    if not (folder / "install.py").is_file():
        return None
    say(f"running install.py of {name}")
    theirs = set(node_files.strays(bundle, name))
    before = {key: package.version for key, package in installed(bundle.root).items()}
    for left in (bundle.root / STATE).glob("install-py-*"):
        remove_tree(left)
    with tempfile.TemporaryDirectory(prefix="install-py-", dir=bundle.root / STATE) as scratch:
        log = Path(scratch, "pip.log")
        env = {**environment_of(bundle), "PYTHONDONTWRITEBYTECODE": "1", "PIP_DRY_RUN": "1", "PIP_LOG": str(log)}
        if wheels_dir is not None:
            env |= {"PIP_NO_INDEX": "1", "PIP_FIND_LINKS": Path(wheels_dir).absolute().as_uri()}
        if (bundle.portable / "lock.txt").is_file():  # an address, for a space divides paths here
            env["PIP_CONSTRAINT"] = (bundle.portable / "lock.txt").as_uri()
        code, output = _run([str(bundle.python), "-s", "install.py"], folder, env, say)
        text = log.read_text(encoding="utf-8", errors="replace") if log.exists() else ""
    missing = frozenset(
        "==".join(word.rsplit("-", 1))
        for found in _WOULD.finditer(text)
        for word in found["names"].split()
        if "-" in word
    )
    _count_as_own(bundle, name, theirs)
    warnings = []
    if code != 0:
        tail = "".join(f"\n    {line}" for line in output[-_TAIL:])
        warnings.append(f"install.py of {name} {'took too long' if code is None else f'ended with {code}'}{tail}")
    after = {key: package.version for key, package in installed(bundle.root).items()}
    if changed := sorted(key for key in before.keys() | after.keys() if before.get(key) != after.get(key)):
        warnings.append(
            f"install.py of {name} itself changed {', '.join(changed)}, which no rollback knows: `manage verify`"
        )
    return Ran(missing=missing, warnings=tuple(warnings))


def _run(command: list[str], folder: Path, env: Mapping[str, str], say: Say) -> tuple[int | None, list[str]]:
    """Exit code, None if it took too long; and the lines it printed, which are told as they come."""
    lines: list[str] = []
    late = threading.Event()

    def end() -> None:
        late.set()
        checks.kill(process)

    with subprocess.Popen(
        command, cwd=folder, env=env, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        encoding="utf-8", errors="replace",
    ) as process:  # fmt: skip
        timer = threading.Timer(checks.limits()["start_seconds"], end)
        timer.start()
        try:
            for line in process.stdout or ():
                lines.append(line.rstrip())
                say(f"  {lines[-1]}")
        except BaseException:
            checks.kill(process)
            raise
        finally:
            timer.cancel()
    return (None if late.is_set() else process.returncode), lines


def _count_as_own(bundle: Bundle, name: str, theirs: Collection[str]) -> None:
    """Add what install.py made to the record; `theirs`, what the user had in the folder before, stays the user's."""
    folder, known = node_files.nodes_folder(bundle) / name, node_files.known(bundle, name)
    if known.origin is None or known.files is None:
        return
    files = {path: digest for path, digest in known.files.items() if path in theirs}
    for path in node_files.walk(folder):
        if path not in theirs and not (folder / path).is_symlink():
            files[path] = sha256_of(folder / path)
    node_files.write_record(folder, known.origin, files)
