"""Several jobs at once: the first error stops the others, and every error is told."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from typing import TypeVar

from packager.errors import FetchError, InputError, MismatchError, PackagerError

T = TypeVar("T")
Job = Callable[[threading.Event], T]

_GRACE = 2.0  # seconds a job has to notice that it is cancelled; what waits for a dead host is left behind
_POLL = 0.2


class Cancelled(Exception):  # noqa: N818 - not an error: the wish of another job
    """Raised inside a job that was told to stop."""


def check(cancel: threading.Event) -> None:
    """Raise Cancelled if the job was told to stop."""
    if cancel.is_set():
        raise Cancelled


def run_all(jobs: Sequence[Job[T]], *, workers: int, thorough: bool = False) -> list[T]:
    """Run every job in at most `workers` threads and return their results in order.

    Each job is given the event that tells it to stop: after the first error no job begins and those at work give up.
    With `thorough` all are done to their end, so that every error is known. Raises that error alone, or if there are
    several an error that holds them all. The threads are daemons and Ctrl-C sets the event too, so that a host which
    doesn't answer keeps nobody waiting.
    """
    cancel = threading.Event()
    results: dict[int, T] = {}
    errors: dict[int, BaseException] = {}
    waiting = iter(range(len(jobs)))
    turn = threading.Lock()

    def work(ended: threading.Event) -> None:
        try:
            while not cancel.is_set():
                with turn:
                    number = next(waiting, None)
                if number is None:
                    return
                try:
                    results[number] = jobs[number](cancel)
                except Cancelled:
                    return
                except BaseException as error:  # it is raised again in the caller's thread
                    errors[number] = error
                    if not thorough or not isinstance(error, PackagerError):
                        cancel.set()
        finally:
            ended.set()

    # Not Thread.join: interrupted by Ctrl-C it takes the thread for ended (CPython 3.10 to 3.12).
    ends = [threading.Event() for _ in range(min(workers, len(jobs)))]
    for ended in ends:
        threading.Thread(target=work, args=[ended], daemon=True).start()
    try:
        while not all(ended.wait(_POLL) for ended in ends) and not cancel.is_set():
            pass
    finally:
        cancel.set()
        deadline = time.monotonic() + _GRACE
        for ended in ends:
            ended.wait(max(0.0, deadline - time.monotonic()))
    if errors:
        raise _joined([errors[number] for number in sorted(errors)])
    return [results[number] for number in range(len(jobs))]


def _joined(errors: Sequence[BaseException]) -> BaseException:
    for error in errors:
        if len(errors) == 1 or not isinstance(error, PackagerError):
            return error
    kind: type[PackagerError] = FetchError
    if any(isinstance(error, MismatchError) for error in errors):
        kind = MismatchError
    elif all(isinstance(error, InputError) for error in errors):
        kind = InputError
    return kind("several things could not be had:\n" + "\n".join(f"- {error}" for error in errors))
