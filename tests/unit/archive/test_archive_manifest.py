"""The manifest: what scan sees and refuses, and what a hostile document may not say."""

from __future__ import annotations

import hashlib
import io
import json
import os
import socket
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from packager.archive.archive_tree import archive_tree
from packager.archive.extract import extract
from packager.archive.manifest import Entry, Manifest, from_json
from packager.archive.names import MAX_DEPTH
from packager.archive.scan import scan
from packager.console import Console
from packager.errors import InputError


def test_scan_sees_files_links_and_empty_folders_in_bytewise_order(tree: Path) -> None:
    manifest = scan(tree, threads=2, bundle={"name": "b"})
    paths = [entry.path for entry in manifest.entries]
    assert paths == sorted(paths, key=str.encode)
    entries = {entry.path: entry for entry in manifest.entries}
    assert entries["ComfyUI/input/3d"] == Entry(path="ComfyUI/input/3d", kind="directory", mode=0o755)
    assert "ComfyUI/input" not in entries
    assert entries["lib64"] == Entry(path="lib64", kind="link", mode=0o777, target="lib")
    assert entries["bin/run.sh"].mode == 0o755
    assert entries["README.txt"] == Entry(
        path="README.txt", kind="file", mode=0o644, size=6, sha256=hashlib.sha256(b"hello\n").hexdigest()
    )
    assert manifest.longest_path == "lib/" + "d" * 120 + "/" + "n" * 120 + ".txt"
    assert manifest.total_size == sum(
        p.stat().st_size for p in tree.rglob("*") if p.is_file() and not p.is_symlink() and "lib64" not in p.parts
    )


def test_json_and_back(tree: Path) -> None:
    manifest = scan(tree, threads=2, bundle={"name": "b", "n\u00e4me": ["x", 1, None]})
    text = manifest.to_json()
    again = from_json(text, where="manifest.json")
    assert again == manifest
    assert again.to_json() == text
    assert len(text.splitlines()) == len(manifest.entries) + 2
    empty = Manifest(bundle={}, entries=())
    assert from_json(empty.to_json(), where="x") == empty


def test_compare_names_what_differs() -> None:
    def file(path: str, **facts: Any) -> Entry:
        return Entry(**{"path": path, "kind": "file", "mode": 0o644, "size": 1, "sha256": "0" * 64, **facts})

    old = Manifest(bundle={}, entries=(file("a"), file("b"), file("c"), file("d")))
    new = Manifest(bundle={"x": 1}, entries=(file("a"), file("b", sha256="1" * 64), file("c", mode=0o755), file("e")))
    difference = old.compare(new)
    assert (difference.added, difference.removed, difference.changed) == (("e",), ("d",), ("b", "c"))
    assert difference
    same_elsewhere = Manifest(bundle={}, entries=tuple(file(name, part=2) for name in "abcd"))
    assert not old.compare(same_elsewhere)


def _fifo(path: Path) -> None:
    os.mkfifo(path)


def _socket(path: Path) -> None:
    here = Path.cwd()
    os.chdir(path.parent)  # a socket's path may have about 100 characters
    try:
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind(path.name)
    finally:
        os.chdir(here)


def _link(target: str) -> Callable[[Path], None]:
    return lambda path: path.symlink_to(target)


def _way_out_by_a_chain(path: Path) -> None:
    """Each link is harmless by its spelling: `step` goes down, `odd` back up by more than `step` is deep."""
    (path.parent / "deep/er").mkdir(parents=True)
    (path.parent / "deep/er/top").symlink_to("../..")
    path.symlink_to("deep/er/top/../x")


def _file(name: str) -> Callable[[Path], None]:
    return lambda path: (path.parent / name).write_bytes(b"")


@pytest.mark.skipif(sys.platform == "win32", reason="needs POSIX file kinds and names")
@pytest.mark.parametrize(
    ("make", "message"),
    [
        (_fifo, "odd: it is a socket, fifo or device"),
        (_socket, "odd: it is a socket, fifo or device"),
        (_link("/etc/passwd"), "odd: it is an absolute link, to /etc/passwd"),
        (_link("../outside"), "odd: it leads out"),
        (_link("a/../../b"), "odd: it leads out"),
        (_link("odd"), "odd: it is a link that turns in a circle"),
        (_link("C:/Windows"), "odd: it is an absolute link"),
        (_link("a\\b"), "backslash"),
        (_way_out_by_a_chain, "odd: it leads out"),
        (_file("back\\slash"), "backslash"),
        (_file("new\nline"), "control character"),
        (_file("not\udcffutf8"), "UTF-8"),
        (_file("C:drive"), "absolute"),
    ],
)
def test_scan_refuses_and_names_the_file(make: Callable[[Path], None], message: str, tmp_path: Path) -> None:
    make(tmp_path / "odd")
    with pytest.raises(InputError, match=message) as caught:
        scan(tmp_path, threads=1)
    assert caught.value.remedy
    str(caught.value).encode()


def test_what_is_archived_can_be_unpacked_however_deep_it_lies(tmp_path: Path) -> None:
    deepest = tmp_path / "tree" / "/".join("d" * (MAX_DEPTH - 2))
    deepest.mkdir(parents=True)
    (deepest / "file").write_bytes(b"x")
    quiet = Console(stream=io.StringIO())
    archive_tree(tmp_path / "tree", tmp_path / "t.zip", console=quiet, epoch=315532800)
    extract(tmp_path / "t.zip", tmp_path / "out", console=quiet)
    assert (tmp_path / "out/tree" / deepest.relative_to(tmp_path / "tree") / "file").read_bytes() == b"x"
    (deepest / "d").mkdir()
    with pytest.raises(InputError, match="nested more than 126 deep"):
        archive_tree(tmp_path / "tree", tmp_path / "u.zip", console=quiet, epoch=315532800)
    assert not (tmp_path / "u.zip").exists()


def test_links_are_judged_as_the_file_system_of_the_target_follows_them(tmp_path: Path) -> None:
    """Where `DEEP` is the link `deep`, `odd` leads out, and the archive would be refused there."""
    (tmp_path / "p/q").mkdir(parents=True)
    (tmp_path / "p/q/deep").symlink_to("../..")
    (tmp_path / "odd").symlink_to("p/q/DEEP/../y")
    assert scan(tmp_path, threads=1).links["odd"]
    with pytest.raises(InputError, match="odd: it leads out"):
        scan(tmp_path, threads=1, case_insensitive=True)


def test_a_link_through_a_folder_link_is_followed_as_the_kernel_does(tmp_path: Path) -> None:
    """Spelled `a/../x` it stays inside; but `a` is a link two folders down, so it is `deep/x`: fine as well."""
    (tmp_path / "deep/er").mkdir(parents=True)
    (tmp_path / "a").symlink_to("deep/er")
    (tmp_path / "ok").symlink_to("a/../../file")
    (tmp_path / "file").write_bytes(b"x")
    assert (tmp_path / "ok").read_bytes() == b"x"
    assert scan(tmp_path, threads=1).links["ok"] == "a/../../file"


def test_scan_needs_a_folder(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="not a folder"):
        scan(tmp_path / "absent", threads=1)


def _document(**changes: Any) -> dict[str, Any]:
    entry = {"path": "a", "kind": "file", "mode": "0644", "size": 1, "sha256": "0" * 64, "part": 1, **changes}
    return {"format": 1, "bundle": {}, "total_size": 1, "longest_path": entry["path"], "entries": [entry]}


def _entries(*entries: dict[str, Any]) -> dict[str, Any]:
    longest = max((entry["path"] for entry in entries), key=len)
    return {"format": 1, "bundle": {}, "total_size": 0, "longest_path": longest, "entries": list(entries)}


def _link_entry(path: str, target: str) -> dict[str, Any]:
    return {"path": path, "kind": "link", "mode": "0777", "target": target, "part": 1}


def _folder_entry(path: str) -> dict[str, Any]:
    return {"path": path, "kind": "directory", "mode": "0755", "part": 1}


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "{}",
        "[" * 100_000,
        json.dumps(_document() | {"format": 2}),
        json.dumps(_document() | {"more": 1}),
        json.dumps(_document() | {"total_size": 2}),
        json.dumps(_document() | {"longest_path": "b"}),
        *(
            json.dumps(_document(path=path))
            for path in ("/a", "../a", "a/../b", "a//b", "a\\b", "C:a", "", "a\0b", "./a")
        ),
        json.dumps(_document(size=-1)),
        json.dumps(_document(size=1.5)),
        json.dumps(_document(mode="4755")),
        json.dumps(_document(sha256="0" * 63)),
        json.dumps(_document(kind="device")),
        json.dumps(_document(part=0)),
        json.dumps(_document(target="b")),
        json.dumps(_entries(_folder_entry("a"), _folder_entry("a"))),
        json.dumps(_entries(_folder_entry("b"), _folder_entry("a"))),
        json.dumps(_entries(_link_entry("a", "b"), _folder_entry("a/c"))),
        json.dumps(_entries(_folder_entry("a"), _folder_entry("a/c"))),
        json.dumps(_entries(_link_entry("a", "/etc"))),
        json.dumps(_entries(_link_entry("a", "../x"))),
        json.dumps(_entries(_link_entry("a", "b"), _link_entry("b", "a"))),
    ],
)
def test_a_hostile_manifest_is_refused(text: str) -> None:
    with pytest.raises(InputError, match=r"manifest\.json"):
        from_json(text, where="manifest.json")
