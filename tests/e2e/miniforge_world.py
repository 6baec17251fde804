"""A world without a network: a conda channel, a Miniforge installer, and bundles that were built from them."""

from __future__ import annotations

import functools
import json
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from packager import targets
from packager.bundle import BundleTree
from packager.console import Console
from packager.runtimes import HostRuntime, RuntimeRequest

from .conftest import Packager

_UNIT = Path(__file__).parents[1] / "unit"
sys.path.insert(0, str(_UNIT / "runtimes"))
sys.path.insert(0, str(_UNIT / "helper_scripts"))

from conda_channel import PLACEHOLDER, index, make_channel, make_installer, make_package  # noqa: E402
from conda_prefixed import NEUTRAL, PLAIN, SCRIPTS, SHELL_SCRIPTS, make_prefixed  # noqa: E402
from fake_bundles import fill_bundle, make_wheel  # noqa: E402

__all__ = ["NEUTRAL", "PLAIN", "fill_bundle", "make_wheel"]

# Nothing of the caller's environment but what starts a shell.
CLEAN = {"PATH": "/usr/bin:/bin", "LANG": "C.UTF-8"}


@dataclass(frozen=True, kw_only=True)
class Road:
    """`zip` was built by `packager` where `has_network` says; `environment` is what conda had made."""

    packager: Packager
    zip: Path
    report: dict[str, Any]
    has_network: bool
    environment: Path

    def unzip(self, folder: Path) -> Moved:
        folder.mkdir(parents=True)
        subprocess.run(["unzip", "-q", self.zip, "-d", folder], check=True)
        return Moved(root=folder / "trial")


@dataclass(frozen=True, kw_only=True)
class Moved:
    root: Path

    @property
    def prefix(self) -> Path:
        return self.root / "python"

    @functools.cached_property
    def table(self) -> dict[str, Any]:
        table: dict[str, Any] = json.loads((self.root / "portable/prefixes.json").read_text())
        return table

    def call(self, *command: str | Path, code: int = 0, **env: str) -> str:
        done = subprocess.run(
            command, cwd="/", env={**CLEAN, **env}, capture_output=True, text=True, timeout=120, check=False
        )
        assert done.returncode == code, (command, done.stdout, done.stderr)
        return done.stdout.strip()

    def relocate(self) -> dict[str, Any]:
        value: dict[str, Any] = json.loads(self.call(self.root / "manage.sh", "relocate", "--json"))
        return value

    def held(self) -> dict[str, set[bytes]]:
        """What stands at the places of each file of the table, found by its length alone: no code of the project."""
        found = {}
        for entry in self.table["files"]:
            content = (self.root / entry["path"]).read_bytes()
            if entry["kind"] == "text":
                width, rest = divmod(len(content) - entry["size"], len(entry["places"]))
                assert rest == 0, entry["path"]
                size = len(entry["placeholder"]) + width
                places = [place + width * number for number, place in enumerate(entry["places"])]
                found[entry["path"]] = {content[place : place + size] for place in places}
            else:
                assert len(content) == entry["size"], entry["path"]
                texts = [content[s["start"] : s["start"] + s["length"]].split(b"\0")[0] for s in entry["strings"]]
                pairs = zip(texts, entry["strings"], strict=True)
                found[entry["path"]] = {text[: self._width(text, s, entry)] for text, s in pairs}
        return found

    @staticmethod
    def _width(text: bytes, string: dict[str, Any], entry: dict[str, Any]) -> int:
        count = len(string["places"])
        return (len(text) - string["length"] + count * len(entry["placeholder"])) // count

    def check(self) -> None:
        """Every script that was shipped runs on this Python, by its own path and by PATH."""
        ran = 0
        own = {f"{self.prefix}/{name}" for name in (*SCRIPTS, *SHELL_SCRIPTS)}
        for name in SCRIPTS:
            assert self.call(self.prefix / name).split(" 1")[0] == str(self.prefix), name
        for name in SHELL_SCRIPTS:  # found on PATH, which the helpers set
            said = self.call(self.root / "manage.sh", "exec", "--", self.prefix / name)
            assert said.splitlines()[-1] == "by-own-shell"
        for script in sorted((self.prefix / "bin").iterdir()):
            if script.is_file() and not script.is_symlink() and script.read_bytes().startswith(b"#!"):
                if str(script) not in own:
                    words = ["--help"] if script.name not in ("where-am-i", "prefixed-config") else []
                    self.call(script, *words)
                ran += 1
        assert ran > 5
        assert self.call(self.root / "manage.sh", "exec", "--", "where-am-i") == str(self.prefix)
        assert json.loads(self.call(self.root / "manage.sh", "verify", "--json"))["damage"] == []
        assert "app" in json.loads(self.call(self.root / "manage.sh", "info", "--json"))


def without_network(command: list[str]) -> list[str]:
    """`command` in a network namespace with nothing but loopback; as it is where that cannot be made."""
    inside = ["unshare", "-n", "sh", "-c", 'ip link set lo up && exec "$@"', "sh"]
    works = os.geteuid() == 0 and subprocess.run([*inside, "true"], capture_output=True, check=False).returncode == 0
    return [*inside, *command] if works else command


def build_road(folder: Path) -> dict[str, Any]:
    """Build a bundle of the world in `folder`, which `make_world` has filled; returns what `built_road` wants."""
    recipe = write_recipe(folder, packages=["prefixed"])
    command = Packager(folder=folder).command(
        "build", recipe, *options(folder), "-o", "dist", "--work", "work", "--json"
    )
    closed = without_network(command)
    environment = {**os.environ, "PACKAGER_CACHE_DIR": str(folder / "cache"), "UV_CACHE_DIR": str(folder / "uv")}
    done = subprocess.run(closed, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-5000:]
    return {"report": json.loads(done.stdout), "has_network": closed == command}


def built_road(folder: Path, facts: dict[str, Any]) -> Road:
    """What `build_road` made in `folder`."""
    return Road(
        packager=Packager(folder=folder),
        zip=folder / facts["report"]["archives"][0],
        report=facts["report"],
        has_network=facts["has_network"],
        environment=next((folder / "cache/miniforge/envs").glob("*/conda-meta")).parent,
    )


def make_world(folder: Path) -> None:
    """A channel whose python has its prefix compiled in, and an installer that makes environments from it."""
    target = targets.current()
    host = HostRuntime().inspect(RuntimeRequest(python=None, target=target))
    tree = BundleTree(root=folder / "host", target=target, python_version=host.python_version)
    tree.root.mkdir()
    HostRuntime().provision(tree, host, console=Console(quiet=True))
    python = tree.python.resolve()
    with python.open("ab") as stream:  # behind the segments of the program, which runs as before
        stream.write(b"\0" + f"{PLACEHOLDER}/lib:{PLACEHOLDER}\0".encode())
    name = python.relative_to(tree.prefix.resolve()).as_posix()
    make_channel(folder / "channel", tree.prefix, host.python_version, folder / "w", placeholders={name: "binary"})
    make_prefixed(folder / "channel", folder / "prefixed")
    make_installer(folder / "github" / "conda-forge/miniforge/releases/latest/download")
    shutil.rmtree(folder / "host")
    bundled = next(Path(sys.base_prefix).glob("lib/python3*/ensurepip/_bundled"))
    shutil.copytree(bundled, folder / "wheels")
    _make_more(folder / "channel", folder / "more")
    index(folder / "channel")


def _make_more(channel: Path, work: Path) -> None:
    """`toolish`, a Python package such as pip could replace; `conda`, which must not be in a bundle."""
    information = work / "toolish/site-packages/toolish-1.0.dist-info"
    information.mkdir(parents=True)
    (information / "METADATA").write_text("Metadata-Version: 2.1\nName: toolish\nVersion: 1.0\n")
    (information / "INSTALLER").write_text("conda\n")
    (information.parent / "toolish.py").write_text("def main():\n    print(1)\n")
    record = "toolish.py,,\n" + "".join(
        f"{information.name}/{name},,\n" for name in ("METADATA", "INSTALLER", "RECORD")
    )
    (information / "RECORD").write_text(record)
    make_package(
        channel,
        work / "toolish",
        name="toolish",
        version="1.0",
        subdir="noarch",
        depends=["python"],
        python_package=True,
    )
    (work / "conda/share").mkdir(parents=True)
    (work / "conda/share/conda.txt").write_text("conda\n")
    subdir = targets.current().conda_subdir
    make_package(channel, work / "conda", name="conda", version="99.0", subdir=subdir, depends=["python"])


def write_recipe(folder: Path, *, packages: list[str], name: str = "trial") -> Path:
    recipe = {
        "schema_version": 2,
        "version_id": "trial",
        "python": ".".join(map(str, sys.version_info[:2])),
        "runtime": "miniforge",
        "channels": [(folder / "channel").as_uri()],
        "conda_packages": packages,
        "comfy": {"repo": str(_UNIT / "proof/bundle_parts/app")},
        "custom_nodes": [{"repo": str(_UNIT / "proof/bundle_parts/app/custom_nodes/good_node"), "name": "good_node"}],
    }
    path = folder / f"{name}.json"
    path.write_text(json.dumps(recipe))
    return path


def options(folder: Path) -> list[str]:
    """Of `packager build`: everything from the world in `folder`."""
    return [
        "--offline",
        "--wheels-dir",
        str(folder / "wheels"),
        "--mirror",
        f"https://github.com/={folder / 'github'}/",
    ]


def move(bundle: Moved, folder: Path) -> Moved:
    folder.mkdir(parents=True)
    return Moved(root=bundle.root.rename(folder / "trial"))
