"""Checks that start the app through the helper script a person uses: its quick test, and its server."""

from __future__ import annotations

import contextlib
import http.client
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

from packager.probes.app_log import AppLog, NodeFailure, parse
from packager.probes.pool import Running
from packager.process import Finished
from packager.proof.probing import why_it_ended
from packager.proof.site import Site, Verdict, failed, passed, remedies

_POLL = 0.2  # seconds
_REQUEST = 60  # seconds for one answer; /object_info of many nodes takes a while
_LOG_LINES = 30
_NO_REASON_KNOWN = "install what the node asks for through the recipe, or leave the node out"


def check_quick_test(site: Site) -> Verdict:
    """`run_comfyui --quick-test-for-ci --cpu` ends with 0 and every node was loaded.

    A node counts as loaded if the log tells its import time and no failure: exit code 0 says nothing of nodes.
    """
    helper = site.helper("run_comfyui")
    finished = site.run([helper, "--quick-test-for-ci", "--cpu"], timeout=site.limits.quick_test)
    log = parse(f"{finished.stdout}\n{finished.stderr}")
    if finished.timed_out or finished.returncode != 0:
        cause = log.tracebacks[-1] if log.tracebacks else ""
        why = why_it_ended(finished, site.limits.quick_test)
        return failed(f"{helper.name} --quick-test-for-ci --cpu {why}", remedy=remedies([cause, why]))
    if log.failures:
        return _failed_nodes(log)
    silent = sorted(set(_expected_nodes(site.tree.nodes)) - {item.name for item in log.imports})
    if silent:
        return failed(
            f"the app ended with 0, but its log does not tell that it loaded {', '.join(silent)}:\n{_tail(finished)}",
            remedy=f"{helper.name} must start main.py and pass its arguments on",
        )
    return passed(f"the app starts, {len(log.imports)} custom nodes are loaded")


def _failed_nodes(log: AppLog) -> Verdict:
    found = [f"{failure.name} (IMPORT FAILED): {failure.reason}" for failure in log.failures]
    return failed("\n".join(found), remedy=remedies([_all_of(failure) for failure in log.failures]) or _NO_REASON_KNOWN)


def _all_of(failure: NodeFailure) -> str:
    return f"{failure.reason}\n{failure.traceback}"


def _expected_nodes(folder: Path) -> list[str]:
    """What the app takes for a custom node: folders and .py files, unless disabled, hidden or Python's own."""
    if not folder.is_dir():
        return []
    return [
        path.name
        for path in folder.iterdir()
        if (path.is_dir() or path.suffix == ".py")
        and not path.name.startswith((".", "__"))
        and path.suffix != ".disabled"
    ]


def check_server(site: Site) -> Verdict:
    """The app listens on a free port, `/` and `/object_info` answer 200, and Ctrl-C ends it with no process left."""
    port = _free_port()
    command: list[str | Path] = [site.helper("run_comfyui"), "--cpu", "--listen", "127.0.0.1", "--port", str(port)]
    if "--auto-launch" in site.facts.get("launch", {}).get("args", ()):
        command.append("--disable-auto-launch")
    running = Running(site.sandbox.job("server", command, timeout=site.limits.server_start))
    try:
        fault = _wait_until_it_serves(running, port) or _answer_fault(port, "/object_info") or _stop(running, site)
    finally:
        finished = running.finish(timed_out=running.overdue())
    if fault:
        return failed(f"{fault}\n{_tail(finished)}", remedy=remedies([fault, finished.output_tail]))
    return passed("/ and /object_info answer 200; Ctrl-C ends the server and leaves no process")


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def _wait_until_it_serves(running: Running, port: int) -> str | None:
    while True:
        fault = _answer_fault(port, "/")
        if fault is None:
            return None
        if running.ended():
            return f"the server ended with exit code {running.process.returncode} before it answered"
        if running.overdue():
            return f"the server did not answer within {running.job.timeout:.0f} s: {fault}"
        time.sleep(_POLL)


def _answer_fault(port: int, path: str) -> str | None:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=_REQUEST)
    try:
        connection.request("GET", path)
        answer = connection.getresponse()
        answer.read()
    except (OSError, http.client.HTTPException) as error:
        return f"GET {path}: {type(error).__name__}: {error}"
    finally:
        connection.close()
    return None if answer.status == http.client.OK else f"GET {path}: {answer.status} {answer.reason}"


def _stop(running: Running, site: Site) -> str | None:
    """Send what Ctrl-C sends: SIGINT to every process of the group (Windows has no such thing between consoles)."""
    if sys.platform == "win32":
        running.process.terminate()
    else:
        for pid in group_members(running.process.pid):
            if not (site.sandbox.starter and pid == running.process.pid):  # bwrap itself would not pass it on
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGINT)
    try:
        running.process.wait(site.limits.server_stop)
    except subprocess.TimeoutExpired:
        return f"the server did not end within {site.limits.server_stop:.0f} s of Ctrl-C"
    left = [] if sys.platform == "win32" else group_members(running.process.pid)
    return f"the server ended, but left {len(left)} process(es) running" if left else None


def group_members(group: int) -> list[int]:
    """Processes of a process group that have not ended; zombies, which wait for a parent to ask, are left out."""
    if Path("/proc/self/stat").exists():
        stats = (_read_stat(folder / "stat") for folder in Path("/proc").glob("[0-9]*"))
        # proc(5): "pid (name) state ppid pgrp ...", where the name may hold spaces and parentheses
        rows = [[*stat.split(None, 1)[:1], *stat.rpartition(")")[2].split()] for stat in stats if stat]
        members = [(pid, pgrp, state) for pid, state, _, pgrp, *_ in rows]
    else:
        listed = subprocess.run(["ps", "-A", "-o", "pid=,pgid=,stat="], check=True, capture_output=True, text=True)
        members = [(pid, pgrp, state) for pid, pgrp, state in map(str.split, listed.stdout.splitlines())]
    return [int(pid) for pid, pgrp, state in members if int(pgrp) == group and not state.startswith("Z")]


def _read_stat(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:  # it has ended meanwhile
        return ""


def _tail(finished: Finished) -> str:
    return "\n".join(f"{finished.stdout}\n{finished.stderr}".strip().splitlines()[-_LOG_LINES:])
