"""Whether the bundle still works after a change: what it imports, what pip says, whether the app starts.

Each check runs in a process of its own, writes no bytecode, and compares with what was before: what did not work then
is no fault of the change.
"""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from portable.bundle import WINDOWS, Bundle
from portable.layers import environment_of
from portable.programs import app_command

_LIMITS = Path(__file__).absolute().with_name("check_limits.json")
_FAILED_NODE = re.compile(
    r"^.*\((?:IMPORT|PRESTARTUP) FAILED\): (?P<path>.+?)\s*$|^IMPORT FAILED: (?P<own>.+?)\s*$", re.MULTILINE
)
_REASON = re.compile(r"^Cannot import (?P<path>.+?) module for custom nodes: ?(?P<reason>.*)$", re.MULTILINE)
_TAIL = 12  # lines of a log that are worth showing
_IMPORT = """\
import importlib, json, sys
for name in json.loads(sys.argv[1]):
    print(json.dumps([name, None]), flush=True)
    try:
        importlib.import_module(name)
        fault = ""
    except BaseException as error:
        fault = f"{type(error).__name__}: {error}"
    print(json.dumps([name, fault]), file=sys.__stdout__, flush=True)
"""


@dataclass(frozen=True, kw_only=True)
class Start:
    """How the app's quick test went. `failed` are the nodes that were not loaded, by name, each with the reason.

    `fault` tells why it did not even end as it should; empty if it did.
    """

    failed: Mapping[str, str]
    fault: str = ""

    def worse_than(self, before: Start) -> list[str]:
        """What failed now and did not before, as sentences."""
        if self.fault:
            return [] if before.fault else [f"ComfyUI does not start any more: {self.fault}"]
        return [
            f"the node {name} cannot be imported: {reason}"
            for name, reason in self.failed.items()
            if name not in before.failed
        ]


def import_faults(bundle: Bundle, modules: Sequence[str]) -> dict[str, str]:
    """Import `modules` in a fresh process; those that fail, each with its error."""
    if not modules:
        return {}
    limit = limits()["import_seconds"]
    command = [str(bundle.python), "-s", "-P"] if _knows_safe_path(bundle) else [str(bundle.python), "-s"]
    command += ["-B", "-c", _IMPORT, json.dumps(list(modules))]
    code, output, _ = _run(bundle, command, bundle.portable, limit)
    outcomes: dict[str, str | None] = {}
    for line in output.splitlines():
        try:
            name, fault = json.loads(line)
        except (ValueError, TypeError):
            continue
        outcomes[str(name)] = fault
    for name in modules:
        if outcomes.get(name) is None and name in outcomes:
            outcomes[name] = "took too long" if code is None else f"the process ended with {code}"
    return {name: fault for name, fault in outcomes.items() if fault}


def start_app(bundle: Bundle) -> Start:
    """Run ComfyUI's own quick test, which loads every node and ends."""
    limit = limits()["start_seconds"]
    command = app_command(bundle, ["--quick-test-for-ci", "--cpu"])
    code, output, errors = _run(bundle, [command[0], "-B", *command[1:]], bundle.app_dir, limit)
    log = f"{output}\n{errors}".replace("\r\n", "\n")
    if code != 0:
        tail = "\n".join(log.strip().splitlines()[-_TAIL:])
        return Start(failed={}, fault=f"{f'no end after {limit} s' if code is None else f'exit code {code}'}\n{tail}")
    reasons = {_base(found["path"]): found["reason"] for found in _REASON.finditer(log)}
    names = [_base(found["path"] or found["own"]) for found in _FAILED_NODE.finditer(log)]
    return Start(failed={name: reasons.get(name, "the log gives no reason") for name in names})


def _run(bundle: Bundle, command: Sequence[str], cwd: Path, limit: float) -> tuple[int | None, str, str]:
    """Exit code (None after `limit` seconds), stdout and stderr. Its whole process group ends with it."""
    env = {**environment_of(bundle), "PYTHONDONTWRITEBYTECODE": "1"}
    with subprocess.Popen(
        command, env=env, cwd=cwd, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        encoding="utf-8", errors="replace",
    ) as process:  # fmt: skip
        try:
            output, errors = process.communicate(timeout=limit)
        except subprocess.TimeoutExpired:
            kill(process)
            output, errors = process.communicate()
            return None, output, errors
        except BaseException:
            kill(process)
            raise
    return process.returncode, output, errors


def limits() -> dict[str, float]:
    """check_limits.json: how long things may take, in seconds."""
    loaded: dict[str, float] = json.loads(_LIMITS.read_text(encoding="utf-8"))
    return loaded


def kill(process: subprocess.Popen[str]) -> None:
    """End a process; on Windows with everything it started."""
    if WINDOWS:
        subprocess.run(["taskkill", "/F", "/T", "/PID", str(process.pid)], check=False, capture_output=True)
    process.kill()


def _knows_safe_path(bundle: Bundle) -> bool:
    """`-P` keeps the working directory out of sys.path; Python 3.11 and newer know it."""
    return tuple(int(part) for part in bundle.python_version.split(".")[:2]) >= (3, 11)


def _base(path: str) -> str:
    return re.split(r"[/\\]", path.rstrip("/\\"))[-1]
