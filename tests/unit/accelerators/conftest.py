"""Indexes on 127.0.0.1 that stand for torch's own and for the default one, and an empty environment to install into."""

from __future__ import annotations

import http.server
import io
import platform
import threading
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import pytest
from local_indexes import Indexes, torch_version_py, vision_version_py

from packager import process, targets, uv
from packager.additions import Means
from packager.bundle import BundleTree
from packager.console import Console
from packager.fetch.cache import Cache
from packager.fetch.mirrors import Mirrors
from packager.origins import Origins
from packager.resolution.settle_additions import Looking
from packager.settings import Settings


@pytest.fixture
def indexes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Indexes]:
    """`pypi` is the default index, with torch for CUDA 13 and no label as on the real one; the others are torch's."""
    folder = tmp_path / "indexes"

    class Handler(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *_: object) -> None:
            pass

    folder.mkdir()
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), partial(Handler, directory=str(folder)))
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    served = Indexes(folder=folder, url=f"http://127.0.0.1:{server.server_port}")
    for label, index, cuda in ((None, "pypi", "13.0"), ("cu128", "cu128", "12.8"), ("cpu", "cpu", None)):
        shown = label or "cu130"
        suffix = f"+{label}" if label else ""
        served.add(
            index, "torch", f"2.11.0{suffix}", requires=["filelock"], version__py=torch_version_py(shown, cuda=cuda)
        )
        for name, version in (("torchvision", "0.26.0"), ("torchaudio", "2.11.0")):
            text = vision_version_py(f"{version}+{shown}")
            served.add(index, name, f"{version}{suffix}", requires=["torch==2.11.0"], version__py=text)
    served.add("pypi", "filelock", "3.20")
    served.add("cu128", "filelock", "3.13")
    monkeypatch.setenv("UV_DEFAULT_INDEX", served.index("pypi"))
    monkeypatch.setenv("UV_CACHE_DIR", str(tmp_path / "uv-cache"))
    yield served
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.fixture
def console() -> Console:
    return Console(quiet=True, stream=io.StringIO())


@pytest.fixture
def origins(tmp_path: Path) -> Origins:
    return Origins(settings=Settings(), cache=Cache(tmp_path / "cache"), mirrors=Mirrors.parse([]))


@pytest.fixture
def tree(tmp_path: Path) -> BundleTree:
    """A bundle tree with nothing but an environment of the running Python."""
    tree = BundleTree(root=tmp_path / "root", target=targets.current(), python_version=platform.python_version())
    process.run([uv.uv.find_uv_bin(), "venv", "--quiet", str(tree.prefix)])
    return tree


@pytest.fixture
def means(tree: BundleTree, origins: Origins, console: Console, indexes: Indexes, tmp_path: Path) -> Means:
    return Means(
        tree=tree,
        origins=origins,
        indexes=tuple(indexes.index(name) for name in ("cu128", "cpu")),
        folder=tmp_path / "additional-wheels",
        console=console,
    )


@pytest.fixture
def looking(origins: Origins, console: Console, tmp_path: Path) -> Looking:
    """Looks for this machine, as a lock does."""
    return Looking(
        target=targets.current(),
        python=platform.python_version(),
        options=(),
        excludes=(),
        origins=origins,
        folder=tmp_path / "looking",
        console=console,
    )


@pytest.fixture
def put(tree: BundleTree, indexes: Indexes) -> Callable[..., None]:
    """Install into the tree, without any of our own checks: put("cpu", "torch==2.11.0")."""

    def install(index: str, *lines: str) -> None:
        command = ["pip", "install", "--quiet", "--python", str(tree.python), "--no-deps"]
        uv.run_uv([*command, "--default-index", indexes.index(index), *lines])

    return install
