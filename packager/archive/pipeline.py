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
    """`work(job)` for each of `jobs`, in their order, by `threads` threads beside the caller's; by it alone if 1.

    Jobs under way, those done and not yet taken, and the one taken last, which the caller may hold while it asks for
    the next, cost at most `budget` together (one job under way may cost more, with the one taken last). Whatever ends
    the iteration (an exception, Ctrl-C, `close()`): jobs not begun are dropped and those under way are waited for.
    """
    if threads == 1:
        yield from map(work, jobs)
        return
    executor = ThreadPoolExecutor(max_workers=threads, thread_name_prefix="archive")
    waiting: deque[tuple[Future[Result], int]] = deque()
    spent = held = 0
    try:
        for job in jobs:
            price = cost(job)
            while waiting and (spent + price > budget or waiting[0][0].done()):
                spent -= held
                future, held = waiting.popleft()
                result = future.result()
                del future  # it holds the result
                yield result
                del result
            waiting.append((executor.submit(work, job), price))
            spent += price
        while waiting:
            yield waiting.popleft()[0].result()
    finally:
        executor.shutdown(wait=True, cancel_futures=True)
