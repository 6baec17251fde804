"""Run as a program: for each line on stdin, do a piece of clean-up in a process of its own that dies at its Nth step.

A line is a JSON list: root, quarantine, what to do (apply, restore, purge), N. Steps are renames, removals, new folders
and changed times; at the Nth the process gets SIGKILL (0: never). Answers with a JSON list: exit status, steps counted.
"""

from __future__ import annotations

import json
import os
import signal
import sys
from pathlib import Path

from packager.cleanup import apply, detect_layout, load_rules, plan_cleanup, purge, restore

STEPS = {"os.rename", "os.rmdir", "os.remove", "os.mkdir", "shutil.rmtree", "os.utime"}


def work(root: Path, quarantine: Path, what: str, last: int, counter: int) -> None:
    plan = plan_cleanup(detect_layout(root), RULES)
    seen = 0

    def count(event: str, _: tuple[object, ...]) -> None:
        nonlocal seen
        if event in STEPS:
            seen += 1
            os.pwrite(counter, f"{seen:6}".encode(), 0)
            if seen == last:
                os.kill(os.getpid(), signal.SIGKILL)

    sys.addaudithook(count)
    if what == "apply":
        apply(plan, quarantine)
    elif what == "restore":
        restore(root, quarantine)
    else:
        purge(quarantine)


RULES = load_rules()
for line in sys.stdin:
    root, quarantine, what, last = json.loads(line)
    counter = os.memfd_create("steps")
    child = os.fork()
    if child == 0:
        try:
            work(Path(root), Path(quarantine), what, last, counter)
        except BaseException as error:
            print(error, file=sys.stderr, flush=True)
            os._exit(1)
        os._exit(0)
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    print(json.dumps([status, int(os.pread(counter, 6, 0) or b"0")]), flush=True)
    os.close(counter)
