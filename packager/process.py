"""Running programs: never a shell, never an inherited stdin, no orphan left after Ctrl-C or a time limit."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from packager.errors import PackagerError

_TAIL = 4000  # characters of a program's output worth showing in an error
_WATCH = 0.2  # seconds between two looks at whether to go on


@dataclass(frozen=True, kw_only=True)
class Finished:
    """How a program ended. `returncode` is negative for a signal; `timed_out` tells a killed one from a crash."""

    command: tuple[str, ...]
    returncode: int
    stdout: str
    stderr: str
    timed_out: bool = False

    @property
    def output_tail(self) -> str:
        """The end of what it said, stderr first: what a person needs to see of a failure."""
        said = self.stderr.strip() or self.stdout.strip()
        return said[-_TAIL:]


class CommandError(PackagerError):
    """A program this one needs failed."""

    def __init__(self, finished: Finished, *, remedy: str | None = None) -> None:
        why = "took too long and was stopped" if finished.timed_out else f"exited with {finished.returncode}"
        super().__init__(f"`{' '.join(finished.command)}` {why}:\n{finished.output_tail}", remedy=remedy)
        self.finished = finished


def run(
    command: Sequence[str | os.PathLike[str]],
    *,
    cwd: Path | None = None,
    env: Mapping[str, str] | None = None,
    timeout: float | None = None,
    check: bool = True,
    watch: Callable[[], None] | None = None,
) -> Finished:
    """Run `command` and return how it ended, its output decoded as UTF-8 (undecodable bytes replaced).

    `env` is the whole environment (None: ours); `timeout` is in seconds; `watch` is called now and then while it runs
    and may raise to give up. Raises CommandError if `check` and it did not exit with 0, and PackagerError if it cannot
    be started. On any exception its whole process group is killed.
    """
    words = tuple(os.fspath(word) for word in command)
    try:
        process = subprocess.Popen(
            words,
            cwd=cwd,
            env=None if env is None else dict(env),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            encoding="utf-8",
            errors="replace",
            start_new_session=sys.platform != "win32",
        )
    except OSError as error:
        raise PackagerError(
            f"cannot start `{words[0]}`: {error.strerror}", remedy=f"install {Path(words[0]).name} and put it on PATH"
        ) from error
    timed_out = False
    try:
        stdout, stderr = _communicate(process, timeout, watch)
    except subprocess.TimeoutExpired:
        timed_out = True
        kill_group(process)
        stdout, stderr = process.communicate()
    except BaseException:
        kill_group(process)
        process.wait()
        raise
    finished = Finished(command=words, returncode=process.returncode, stdout=stdout, stderr=stderr, timed_out=timed_out)
    if check and (timed_out or process.returncode != 0):
        raise CommandError(finished)
    return finished


def _communicate(
    process: subprocess.Popen[str], timeout: float | None, watch: Callable[[], None] | None
) -> tuple[str, str]:
    if watch is None:
        return process.communicate(timeout=timeout)
    end = None if timeout is None else time.monotonic() + timeout
    while True:
        watch()
        try:
            return process.communicate(timeout=_WATCH)  # a later call loses no output (subprocess documentation)
        except subprocess.TimeoutExpired:
            if end is not None and time.monotonic() >= end:
                raise


def kill_group(process: subprocess.Popen[str]) -> None:
    """Kill `process` and whatever it started."""
    if sys.platform == "win32":
        process.kill()
        return
    try:
        os.killpg(process.pid, signal.SIGKILL)
    except ProcessLookupError:
        process.kill()
