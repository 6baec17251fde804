from __future__ import annotations

import hashlib
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from packager.errors import FetchError, PackagerError
from packager.fetch.cache import Cache, Remembered, default_cache_root

CONTENT = b"content"
SHA = hashlib.sha256(CONTENT).hexdigest()


def put(cache: Cache, content: bytes = CONTENT) -> str:
    part = cache.part_path("x")
    part.parent.mkdir(parents=True, exist_ok=True)
    part.write_bytes(content)
    digest = hashlib.sha256(content).hexdigest()
    cache.add(part, digest)
    return digest


def test_the_root_is_named_by_the_environment_else_by_platformdirs(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("PACKAGER_CACHE_DIR", str(tmp_path / "here"))
    assert default_cache_root() == tmp_path / "here"
    monkeypatch.delenv("PACKAGER_CACHE_DIR")
    assert default_cache_root().name == "comfyui-portable-packager"


def test_a_blob_is_copied_never_linked(cache: Cache, tmp_path: Path) -> None:
    put(cache)
    assert cache.place(SHA, tmp_path / "out/deep/file")
    placed = tmp_path / "out/deep/file"
    assert placed.stat().st_nlink == 1
    placed.write_bytes(b"patched in place")
    assert cache.place(SHA, tmp_path / "second")
    assert (tmp_path / "second").read_bytes() == CONTENT
    assert sorted(path.name for path in (tmp_path / "out/deep").iterdir()) == ["file"]


def test_a_damaged_blob_is_found_and_removed(cache: Cache, tmp_path: Path) -> None:
    put(cache)
    cache.blob_path(SHA).write_bytes(b"c0ntent")
    assert not cache.place(SHA, tmp_path / "file")
    assert not (tmp_path / "file").exists()
    assert not cache.blob_path(SHA).exists()
    put(cache)
    cache.blob_path(SHA).write_bytes(b"")
    assert not cache.holds(SHA)
    assert not cache.blob_path(SHA).exists()


def test_nothing_is_written_through_a_link_that_lies_in_wait(cache: Cache, tmp_path: Path) -> None:
    put(cache)
    victim = tmp_path / "victim"
    victim.write_text("mine")
    (tmp_path / "out").mkdir()
    (tmp_path / "out/.file.part").symlink_to(victim)
    (tmp_path / "out/file").symlink_to(victim)
    assert cache.place(SHA, tmp_path / "out/file")
    assert victim.read_text() == "mine"
    assert not (tmp_path / "out/file").is_symlink()


def test_what_a_url_gave_is_remembered_without_the_url(cache: Cache) -> None:
    url = "https://example.org/a?token=geheim"
    note = Remembered(sha256=SHA, etag='"1"', last_modified=None)
    assert cache.remembered(url) is None
    cache.remember(url, note)
    assert cache.remembered(url) == note
    index = [path for path in (cache.root / "index").rglob("*") if path.is_file()]
    assert len(index) == 1
    assert "geheim" not in index[0].read_text() + str(index[0])
    for rubbish in ("", "[]", "{}", "\xff", '{"sha256": 1}'):
        index[0].write_text(rubbish)
        assert cache.remembered(url) is None


def test_info_counts_and_clear_removes(cache: Cache) -> None:
    assert cache.info().size == 0
    put(cache)
    put(cache, b"other")
    cache.remember("https://example.org/", Remembered(sha256=SHA, etag=None, last_modified=None))
    cache.part_path("half").write_bytes(b"12345")
    repository = cache.repository_path("https://example.org/a/b.git")
    (repository / "objects").mkdir(parents=True)
    (repository / "HEAD").write_text("ref")
    kinds = cache.info().kinds
    assert (kinds["blobs"].count, kinds["blobs"].size) == (2, len(CONTENT) + 5)
    assert kinds["index"].count == 1
    assert (kinds["parts"].count, kinds["parts"].size) == (1, 5)
    assert (kinds["git"].count, kinds["git"].size) == (1, 3)
    cache.clear()
    assert cache.info().size == 0
    assert {usage.count for usage in cache.info().kinds.values()} == {0}
    assert put(cache) == SHA


def test_repositories_of_different_places_have_different_names(cache: Cache) -> None:
    places = [
        "https://example.org/a/b.git",
        "https://example.org/c/b.git",
        "https://example.org/a/b",
        "/srv/b",
        "/",
        "/..",
    ]
    paths = {cache.repository_path(place) for place in places}
    assert len(paths) == len(places)
    assert {path.parent for path in paths} == {cache.root / "git"}


HOLDER = """
import sys, time
from pathlib import Path
from packager.fetch.cache import Cache
with Cache(Path(sys.argv[1])).lock("name"):
    print("held", flush=True)
    time.sleep(60)
"""


def test_a_lock_outlives_nobody(cache: Cache) -> None:
    """Held by another process: we wait. That process is killed with -9: we go on."""
    with subprocess.Popen([sys.executable, "-c", HOLDER, str(cache.root)], stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        waits = 0

        def waiting() -> None:
            nonlocal waits
            waits += 1
            if waits == 2:
                os.kill(holder.pid, signal.SIGKILL)

        with cache.lock("other", waiting=waiting):
            assert waits == 0
        with cache.lock("name", waiting=waiting):
            assert waits >= 2


def test_a_lock_holds_between_threads_and_a_waiter_can_give_up(cache: Cache) -> None:
    class GiveUpError(Exception):
        pass

    def give_up() -> None:
        raise GiveUpError

    outcome: list[str] = []

    def other() -> None:
        try:
            with cache.lock("name", waiting=give_up):
                outcome.append("entered")
        except GiveUpError:
            outcome.append("waited")

    with cache.lock("name"):
        thread = threading.Thread(target=other)
        thread.start()
        thread.join()
    assert outcome == ["waited"]


PUTTER = """
import sys
from pathlib import Path
from packager.fetch.cache import Cache, Remembered
cache = Cache(Path(sys.argv[1]))
for number in range(60):
    with cache.lock("part-x"):
        part = cache.part_path("x")
        part.parent.mkdir(parents=True, exist_ok=True)
        part.write_bytes(b"content")
        cache.add(part, sys.argv[2])
    cache.remember("https://example.org/", Remembered(sha256=sys.argv[2], etag=str(number), last_modified=None))
    assert cache.place(sys.argv[2], Path(sys.argv[3]))
    assert cache.remembered("https://example.org/") is not None
"""


def test_two_processes_share_it(cache: Cache, tmp_path: Path) -> None:
    commands = [[sys.executable, "-c", PUTTER, str(cache.root), SHA, str(tmp_path / name)] for name in "ab"]
    processes = [subprocess.Popen(command, stderr=subprocess.PIPE, text=True) for command in commands]
    assert [(process.communicate()[1], process.returncode) for process in processes] == [("", 0)] * 2
    assert cache.info().kinds["blobs"].count == 1
    assert not list(cache.root.rglob("*.tmp"))


def test_a_full_disk_is_named(cache: Cache, small_disk: Path) -> None:
    digest = put(cache, os.urandom(3 * 1024 * 1024))
    with pytest.raises(FetchError, match=r"3\.0 MiB needed") as caught:
        cache.place(digest, small_disk / "sub/file")
    assert str(small_disk) in str(caught.value)
    assert caught.value.exit_code == 3
    assert not any((small_disk / "sub").iterdir()), "the half copy is gone"
    assert cache.holds(digest)


def test_a_cache_that_is_a_file_is_an_error_with_a_remedy(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(PackagerError, match="PACKAGER_CACHE_DIR"), Cache(tmp_path / "file").lock("x"):
        pass
