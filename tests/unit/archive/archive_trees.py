"""A tree with everything an archive must carry, and helpers to see what came out."""

from __future__ import annotations

import hashlib
import io
import os
import random
import stat
import sysconfig
from collections.abc import Callable
from pathlib import Path

import pytest

from packager.archive.archive_tree import Archived, archive_tree
from packager.archive.codec import BLOCK
from packager.console import Console

EPOCH = 1_700_000_000


@pytest.fixture
def console() -> Console:
    return Console(quiet=True, stream=io.StringIO())


def real_text(size: int) -> bytes:
    """`size` bytes of Python source, the standard library's, over and over."""
    sources = sorted(Path(sysconfig.get_path("stdlib")).glob("*.py"))
    text = b"".join(path.read_bytes() for path in sources)
    return (text * (size // len(text) + 1))[:size]


def make_tree(root: Path, *, reverse: bool = False) -> Path:
    """Files of every kind below `root`; `reverse` makes them in the opposite order."""
    noise = random.Random(6)
    files = {
        "README.txt": b"hello\n",
        "empty.txt": b"",
        "bin/run.sh": b"#!/bin/sh\necho hi\n",
        "lib/package/\u00fcml\u00e4ut \u65e5\u672c.py": b"print('\xc3\xbc')\n" * 50,
        "lib/package/random.bin": noise.randbytes(300_000),
        "lib/blocks.py": real_text(BLOCK * 2 + 12_345),
        "lib/noise.bin": noise.randbytes(BLOCK + 777),
        "lib/" + "d" * 120 + "/" + "n" * 120 + ".txt": b"deep",
        "models/exactly_one_block": bytes(BLOCK),
    }
    makers: list[Callable[[], object]] = [lambda p=p, c=c: _write(root / p, c) for p, c in files.items()]
    makers += [lambda p=p: (root / p).mkdir(parents=True) for p in ("ComfyUI/input/3d", "ComfyUI/output")]
    links = {"lib64": "lib", "bin/again": "run.sh", "bin/up": "../README.txt", "bin/nowhere": "not/there"}
    makers += [lambda p=p, t=t: _link(root / p, t) for p, t in links.items()]
    for make in reversed(makers) if reverse else makers:
        make()
    (root / "bin/run.sh").chmod(0o755)
    return root


def _write(path: Path, content: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    path.chmod(0o644)


def _link(path: Path, target: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.symlink_to(target)


@pytest.fixture(scope="session")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_tree(tmp_path_factory.mktemp("tree") / "tree")


@pytest.fixture(scope="session")
def archived(tree: Path, tmp_path_factory: pytest.TempPathFactory) -> Archived:
    """The tree as a zip whose root folder is `bundle`, with the manifest inside."""
    return archive_tree(
        tree,
        tmp_path_factory.mktemp("out") / "bundle-1.0.zip",
        console=Console(quiet=True),
        epoch=EPOCH,
        root_name="bundle",
        bundle={"name": "bundle", "version": "1.0"},
        manifest_member="portable/manifest.json",
    )


def inventory(root: Path) -> dict[str, str]:
    """Path -> kind, permission bits and content of everything below `root`, folders included."""
    found = {}
    for path in root.rglob("*"):
        name = path.relative_to(root).as_posix()
        if path.is_symlink():
            found[name] = f"link to {os.readlink(path)}"  # noqa: PTH115 -- as it is spelled
        elif path.is_dir():
            found[name] = "folder"
        else:
            mode = stat.S_IMODE(path.stat().st_mode)
            found[name] = f"file {mode:04o} {hashlib.sha256(path.read_bytes()).hexdigest()}"
    return found


def expected_inventory(tree: Path, archived: Archived) -> dict[str, str]:
    """What unpacking `archived` must give below its root folder."""
    manifest = archived.manifest_path.read_bytes()
    return inventory(tree) | {
        "portable": "folder",
        "portable/manifest.json": f"file 0644 {hashlib.sha256(manifest).hexdigest()}",
    }
