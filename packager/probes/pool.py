"""Many short programs at once, each in its own process group with its own time limit; none outlives an exception."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from packager.process import Finished, kill_group

_POLL = 0.02  # seconds
_NOT_FOUND, _NOT_EXECUTABLE = 127, 126  # a shell's exit codes for a program that cannot be started


@dataclass(frozen=True, kw_only=True)
class Job:
    """A program to run: `name` is its key in the result, `env` its whole environment, `timeout` in seconds."""

    name: str
    command: tuple[str, ...]
    cwd: Path
    env: Mapping[str, str]
    timeout: float


class Running:
    """A started job. Its output goes to files: a grandchild that keeps a pipe open cannot make us wait.

    Raises OSError if it cannot be started.
    """

    def __init__(self, job: Job) -> None:
        self.job = job
        self.started = time.monotonic()
        self._stdout: IO[bytes] = tempfile.TemporaryFile()  # noqa: SIM115 - closed by finish()
        self._stderr: IO[bytes] = tempfile.TemporaryFile()  # noqa: SIM115
        try:
            self.process = subprocess.Popen(
                job.command,
                cwd=job.cwd,
                env=dict(job.env),
                stdin=subprocess.DEVNULL,
                stdout=self._stdout,
                stderr=self._stderr,
                text=True,
                start_new_session=sys.platform != "win32",
                preexec_fn=None if sys.platform == "win32" else _heed_ctrl_c,  # noqa: PLW1509 - starts no thread
            )
        except BaseException:
            self._close()
            raise

    def ended(self) -> bool:
        return self.process.poll() is not None

    def overdue(self) -> bool:
        return time.monotonic() - self.started > self.job.timeout

    def finish(self, *, timed_out: bool = False) -> Finished:
        """Kill what is left of its process group and take its output."""
        kill_group(self.process)
        returncode = self.process.wait()
        stdout, stderr = _content(self._stdout), _content(self._stderr)
        self._close()
        return Finished(
            command=self.job.command, returncode=returncode, stdout=stdout, stderr=stderr, timed_out=timed_out
        )

    def _close(self) -> None:
        self._stdout.close()
        self._stderr.close()


def run_all(
    jobs: Sequence[Job], *, workers: int | None = None, advance: Callable[[int], None] | None = None
) -> dict[str, Finished]:
    """Run `jobs`, at most `workers` (None: one per core) at a time; how each ended, by its name.

    A program that cannot be started counts as ended with 127 or 126, as in a shell. `advance` is called with 1 for
    each job that ended. On any exception, Ctrl-C among them, what still runs is killed.
    """
    limit = workers or os.cpu_count() or 1
    waiting = list(reversed(jobs))
    running: list[Running] = []
    finished: dict[str, Finished] = {}

    def end(name: str, how: Finished) -> None:
        finished[name] = how
        if advance:
            advance(1)

    try:
        while waiting or running:
            while waiting and len(running) < limit:
                job = waiting.pop()
                try:
                    running.append(Running(job))
                except OSError as error:
                    end(job.name, _not_started(job, error))
            for one in [one for one in running if one.ended() or one.overdue()]:
                running.remove(one)
                end(one.job.name, one.finish(timed_out=not one.ended()))
            time.sleep(_POLL)
    finally:
        for one in running:
            one.finish()
    return finished


def run_one(job: Job) -> Finished:
    """run_all for a single job."""
    return run_all([job])[job.name]


def _not_started(job: Job, error: OSError) -> Finished:
    code = _NOT_FOUND if isinstance(error, FileNotFoundError) else _NOT_EXECUTABLE
    return Finished(command=job.command, returncode=code, stdout="", stderr=f"{job.command[0]}: {error.strerror}")


def _heed_ctrl_c() -> None:
    """What a shell starts in the background is deaf to SIGINT, and so would be all that it starts in turn."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def _content(stream: IO[bytes]) -> str:
    stream.seek(0)
    return stream.read().decode("utf-8", errors="replace")
