"""runtime: miniforge end to end: a local channel, a local installer, no network; moved, relocated, killed, compared."""

from __future__ import annotations

import functools
import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from packager import targets
from packager.bundle import BundleTree
from packager.console import Console
from packager.runtimes import HostRuntime, RuntimeRequest

from .conftest import Packager

pytestmark = [pytest.mark.e2e, pytest.mark.skipif(sys.platform != "linux", reason="Linux alone has namespaces")]
pytest.importorskip("rattler", reason="py-rattler has no wheel for this machine")

_UNIT = Path(__file__).parents[1] / "unit"
sys.path.insert(0, str(_UNIT / "runtimes"))

from conda_channel import PLACEHOLDER, index, make_channel, make_installer  # noqa: E402
from conda_prefixed import NEUTRAL, PLAIN, SCRIPTS, SHELL_SCRIPTS, make_prefixed  # noqa: E402

# Every word of a first line is the tool's own; nothing of the caller's environment but what starts a shell.
_CLEAN = {"PATH": "/usr/bin:/bin", "LANG": "C.UTF-8"}


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
            command, cwd="/", env={**_CLEAN, **env}, capture_output=True, text=True, timeout=120, check=False
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


@pytest.fixture(scope="module")
def road(tmp_path_factory: pytest.TempPathFactory) -> Road:
    folder = tmp_path_factory.mktemp("miniforge")
    _make_world(folder)
    recipe = {
        "schema_version": 2,
        "version_id": "trial",
        "python": ".".join(map(str, sys.version_info[:2])),
        "runtime": "miniforge",
        "channels": [(folder / "channel").as_uri()],
        "conda_packages": ["prefixed"],
        "comfy": {"repo": str(_UNIT / "proof/bundle_parts/app")},
        "custom_nodes": [{"repo": str(_UNIT / "proof/bundle_parts/app/custom_nodes/good_node"), "name": "good_node"}],
    }
    (folder / "trial.json").write_text(json.dumps(recipe))
    bundled = next(Path(sys.base_prefix).glob("lib/python3*/ensurepip/_bundled"))
    shutil.copytree(bundled, folder / "wheels")
    packager = Packager(folder=folder)
    words = ["build", "trial.json", "--wheels-dir", "wheels", "--mirror", f"https://github.com/={folder / 'github'}/"]
    command = packager.command(*words, "--offline", "-o", "dist", "--work", "work", "--json")
    closed = without_network(command)
    environment = {**os.environ, "PACKAGER_CACHE_DIR": str(folder / "cache"), "UV_CACHE_DIR": str(folder / "uv")}
    done = subprocess.run(closed, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-5000:]
    report = json.loads(done.stdout)
    return Road(
        packager=packager,
        zip=folder / report["archives"][0],
        report=report,
        has_network=closed == command,
        environment=next((folder / "cache/miniforge/envs").glob("*/conda-meta")).parent,
    )


def _make_world(folder: Path) -> None:
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
    index(folder / "channel")
    make_installer(folder / "github" / "conda-forge/miniforge/releases/latest/download")
    shutil.rmtree(folder / "host")


@pytest.fixture
def places(tmp_path: Path) -> Iterator[list[Path]]:
    """A short folder, one whose bundle's path has 200 characters, one with spaces and other letters."""
    short = Path(tempfile.mkdtemp(dir="/tmp", prefix=""))
    long = tmp_path / "long"
    long /= "x" * (200 - len(f"{long}//trial"))
    yield [short / "s", long, tmp_path / "with  spaces ünd 文字"]
    shutil.rmtree(short)


def move(bundle: Moved, folder: Path) -> Moved:
    folder.mkdir(parents=True)
    return Moved(root=bundle.root.rename(folder / "trial"))


def test_the_build_was_proved_without_a_network(road: Road) -> None:
    if road.has_network:
        pytest.skip("a network namespace can only be made by root")
    assert road.report["proof"]["passed"]


def test_the_table_holds_what_conda_knows_of_and_nothing_else(road: Road, tmp_path: Path) -> None:
    bundle = road.unzip(tmp_path / "b")
    schema = Path(__file__).parents[2] / "packager/relocation/prefixes.schema.json"
    jsonschema.validate(bundle.table, json.loads(schema.read_text()))
    entries = {entry["path"].removeprefix("python/"): entry for entry in bundle.table["files"]}
    python = (bundle.prefix / "bin/python").resolve().relative_to(bundle.prefix).as_posix()
    wanted = {"etc/settings.conf", "etc/several.conf", "lib/table.bin", "lib/several.bin", python}
    wanted |= {"bin/tell-twice", "bin/by-own-shell", "bin/prefixed-config"}
    assert set(entries) == wanted
    assert len(entries["etc/several.conf"]["places"]) == 3  # not the package's own /portable/python
    assert [len(string["places"]) for string in entries["lib/several.bin"]["strings"]] == [2, 1, 1]
    assert bundle.table["skipped"] == {"a licence stays as its author wrote it": 1}
    for entry in bundle.table["files"]:
        assert hashlib.sha256((bundle.root / entry["path"]).read_bytes()).hexdigest() == entry["sha256"]


@pytest.mark.parametrize("relocate", [False, True], ids=["as it is", "relocated after each move"])
def test_three_moves_in_a_row(road: Road, places: list[Path], tmp_path: Path, relocate: bool) -> None:
    bundle = road.unzip(tmp_path / "first")
    for folder in places:
        bundle = move(bundle, folder)
        if relocate:
            assert bundle.relocate()["skipped"] == {}
            assert set().union(*bundle.held().values()) == {os.fsencode(bundle.prefix)}
            assert bundle.relocate()["changed"] == []
            config = (bundle.prefix / "etc/several.conf").read_text()
            here = str(bundle.prefix)
            assert config == f"a={here}/a\nown={NEUTRAL}/mine\nroot=/ tmp=/tmp t=/t\nb={here}:{here}/b\n"
            assert bundle.call(bundle.prefix / "bin/prefixed-config") == f"-L{here}/lib -I{here}/include"
        bundle.check()
        for name, text in PLAIN.items():
            assert (bundle.prefix / name).read_text() == text
    assert len(str(places[1] / "trial")) == 200


def test_nothing_needs_relocation(road: Road, tmp_path: Path) -> None:
    """Certificates, virtual environments and sysconfig in a bundle that was moved and not relocated."""
    bundle = move(road.unzip(tmp_path / "first"), tmp_path / "second place ü")
    run = [bundle.root / "manage.sh", "exec", "--"]
    code = (
        "import ssl; c = ssl.create_default_context(); print(len(c.get_ca_certs()), ssl.get_default_verify_paths()[0])"
    )
    count, file = bundle.call(*run, "python", "-c", code).split(" ", 1)
    assert int(count) > 50
    assert Path(file).is_relative_to(bundle.root)
    bundle.call(*run, "python", "-m", "venv", "--without-pip", tmp_path / "venv")
    said = bundle.call(tmp_path / "venv/bin/python", "-c", "import sys, ssl; print(sys.base_prefix, sys.prefix)")
    assert said == f"{bundle.prefix} {tmp_path / 'venv'}"
    code = (
        "import sys, sysconfig; p = sysconfig.get_paths(); v = sysconfig.get_config_vars();"
        "assert all(x.startswith(sys.prefix) for x in p.values()), p;"
        "assert not [x for x in v.values() if isinstance(x, str) and ('placehold' in x or '/portable/python' in x)], v;"
        "print(v['prefix'], v['LIBDIR'])"
    )
    assert bundle.call(*run, "python", "-c", code) == f"{bundle.prefix} {bundle.prefix / 'lib'}"


def test_killed_at_any_step_no_file_is_corrupted_and_the_next_run_completes(road: Road, tmp_path: Path) -> None:
    bundle = road.unzip(tmp_path / "0")
    driver = Path(__file__).with_name("relocate_and_die.py")
    shipped = set().union(*bundle.held().values())
    allowed, number = shipped, 0
    while True:
        number += 1
        bundle = move(bundle, tmp_path / ("n" * (number * 7 % 40 + 1)) / str(number))
        allowed = allowed | {os.fsencode(bundle.prefix)}
        command = [bundle.prefix / "bin/python", "-I", driver, bundle.root, str(number)]
        done = subprocess.run(command, env=_CLEAN, capture_output=True, text=True, check=False)
        held = bundle.held()
        assert all(len(found) == 1 and found <= allowed for found in held.values()), held
        assert bundle.call(bundle.prefix / "bin/where-am-i") == str(bundle.prefix)
        assert json.loads(bundle.call(bundle.root / "manage.sh", "verify", "--json"))["damage"] == []
        if done.returncode == 0:
            break
        assert done.returncode == -signal.SIGKILL, done.stderr
        if number % 4 == 0:
            assert bundle.relocate()["skipped"] == {}
            assert set().union(*bundle.held().values()) == {os.fsencode(bundle.prefix)}
            allowed = {os.fsencode(bundle.prefix)}
    assert number > 2 * len(bundle.table["files"]), "the kill came before all files were written"
    assert not (bundle.prefix / ".relocating").exists()
    bundle.check()


def test_read_only_media(road: Road, tmp_path: Path) -> None:
    bundle = road.unzip(tmp_path / "disc")
    if not shutil.which("bwrap"):
        pytest.skip("bubblewrap is absent")
    inside = ["bwrap", "--dev-bind", "/", "/", "--ro-bind", bundle.root, bundle.root]
    if subprocess.run([*inside, "true"], check=False, capture_output=True).returncode:
        pytest.skip("no namespaces here")
    done = subprocess.run(
        [*inside, bundle.root / "manage.sh", "relocate"], env=_CLEAN, capture_output=True, text=True, check=False
    )
    assert done.returncode == 1
    assert "read-only media" in done.stderr
    assert "nothing has to be done" in done.stderr
    assert done.stderr.count("\n") == 1
    bundle.call(*inside, bundle.prefix / "bin/tell")
