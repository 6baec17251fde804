"""Jobs by many threads: results in order, and no more of them at once than the budget allows."""

from __future__ import annotations

import random
import threading
import time
import weakref
from contextlib import closing
from pathlib import Path

import pytest
from archive_trees import real_text

from packager.archive import packing
from packager.archive.manifest import Entry
from packager.archive.pipeline import ordered
from packager.archive.scan import scan


class _Result:
    def __init__(self, job: int) -> None:
        self.job = job


@pytest.mark.parametrize("threads", [1, 2, 5])
def test_results_come_in_order_and_the_one_in_hand_counts(threads: int) -> None:
    """The caller still holds a result while it asks for the next one."""
    alive = peak = 0
    lock = threading.Lock()

    def gone() -> None:
        nonlocal alive
        with lock:
            alive -= 10

    def work(job: int) -> _Result:
        nonlocal alive, peak
        with lock:
            alive += 10
            peak = max(peak, alive)
        time.sleep(random.Random(job).random() / 500)
        result = _Result(job)
        weakref.finalize(result, gone)
        return result

    with closing(ordered(range(60), work, threads=threads, budget=40, cost=lambda _: 10)) as results:
        taken = [result.job for result in results]
    assert taken == list(range(60))
    assert peak <= 40


def test_jobs_are_in_the_order_of_their_files_also_where_a_batch_may_hold_more_than_a_block(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(packing, "BLOCK", 1000)
    for name, size in {"a": 10, "b": 2500, "c": 999, "d": 1001, "e": 3}.items():
        (tmp_path / name).write_bytes(real_text(size))
    entries: tuple[Entry, ...] = scan(tmp_path, threads=1).entries
    found = [(entry.path, job.start) for job in packing.jobs(tmp_path, entries) for entry in job.entries]
    blocks = [("b", 0), ("b", 1000), ("b", 2000)]
    assert found == [("a", None), *blocks, ("c", None), ("d", 0), ("d", 1000), ("e", None)]
