"""Many jobs at once, their results in order, no more of them waiting than a budget allows.

Threads, not processes: libdeflate, zlib, hashlib and file reads all release the GIL, results need no copy between
processes, and there is nothing that could be left running after Ctrl-C.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

Job = TypeVar("Job")
Result = TypeVar("Result")


def ordered(
    jobs: Iterable[Job],
    work: Callable[[Job], Result],
    *,
    threads: int,
    budget: int,
    cost: Callable[[Job], int],
) -> Generator[Result, None, None]:
    """`work(job)` for each of `jobs`, in their order, by `threads` threads; one is the caller's own.

    Jobs under way or done and not yet taken cost at most `budget` together (one job may cost more alone). Whatever ends
    the iteration (an exception, Ctrl-C, `close()`): jobs not begun are dropped and those under way are waited for.
    """
    if threads == 1:
        yield from map(work, jobs)
        return
    executor = ThreadPoolExecutor(max_workers=threads, thread_name_prefix="archive")
    waiting: deque[tuple[Future[Result], int]] = deque()
    spent = 0
    try:
        for job in jobs:
            price = cost(job)
            while waiting and (spent + price > budget or waiting[0][0].done()):
                future, paid = waiting.popleft()
                yield future.result()
                spent -= paid
            waiting.append((executor.submit(work, job), price))
            spent += price
        while waiting:
            yield waiting.popleft()[0].result()
    finally:
        executor.shutdown(wait=True, cancel_futures=True)
