"""The follower's hash is that of the file as it ends up, whatever lay beyond the settled bytes when it read them."""

from __future__ import annotations

import hashlib
import threading
import time
from pathlib import Path

import pytest

from packager.archive import follower
from packager.archive.follower import Follower


def test_bytes_that_are_not_settled_yet_are_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(follower, "_STEP", 1)
    path = tmp_path / "a.zip"
    with path.open("w+b") as stream, Follower(stream) as following:
        stream.write(b"settled" * 1000 + b"a header to be written again")
        stream.flush()
        following.settled(7000)
        while following.hashed < 7000:
            time.sleep(0.01)
        stream.seek(7000)
        stream.write(b"the header as it is to stay, ")
        sha256 = following.finish()
    assert sha256 == hashlib.sha256(path.read_bytes()).hexdigest()


def test_an_error_in_the_thread_reaches_the_writer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(follower, "_STEP", 1)
    with (tmp_path / "a.zip").open("w+b") as stream, Follower(stream) as following:
        stream.write(b"short")
        with pytest.raises(OSError, match="shorter"):  # noqa: PT012 -- whichever call comes after it
            for _ in range(500):
                following.settled(1000)
                time.sleep(0.01)


def test_ctrl_c_while_the_thread_begins_leaves_no_thread(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The interpreter would wait for it at its end, for ever."""
    started = threading.Thread.start

    def start(self: threading.Thread) -> None:
        self.daemon = True  # so that a failing test ends
        started(self)
        raise KeyboardInterrupt

    monkeypatch.setattr(threading.Thread, "start", start)
    with (tmp_path / "a").open("wb") as stream, pytest.raises(KeyboardInterrupt):
        Follower(stream).__enter__()
    for thread in threading.enumerate():
        if thread.name == "archive-follower":
            thread.join(timeout=5)
            assert not thread.is_alive()
