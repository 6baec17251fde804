"""runtime: miniforge end to end: a local channel, a local installer, no network; moved, relocated, killed, compared."""

from __future__ import annotations

import fnmatch
import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import jsonschema
import pytest

pytestmark = [pytest.mark.e2e, pytest.mark.skipif(sys.platform != "linux", reason="Linux alone has namespaces")]
pytest.importorskip("rattler", reason="py-rattler has no wheel for this machine")

from packager import targets  # noqa: E402
from packager.filesystem import walk_files  # noqa: E402
from packager.relocation.apply import apply_relocation  # noqa: E402
from packager.relocation.plan import plan_relocation  # noqa: E402
from packager.relocation.prefix_table import plan_prefix_table  # noqa: E402
from packager.runtimes.packing import pack  # noqa: E402

from .miniforge_world import CLEAN, NEUTRAL, PLAIN, Road, fill_bundle, move  # noqa: E402

# What `conda-pack --dest-prefix X` makes otherwise than we do at X, and why. Every line must explain something.
_ONLY_THEIRS = {
    "bin/activate*": "shells are not set up for a bundle: its helpers make the environment",
    "bin/deactivate": "as bin/activate",
    "conda-meta/history": "says when the environment was made, and by which command",
    "tmp*": "a temporary file that conda-pack leaves behind",
}
_DIFFERENT = {
    "bin/tell*": "a script finds its Python by its own place, and so survives the next move",
    "bin/where-am-i": "as bin/tell*",
    "bin/by-own-shell": "a first line may hold no space: the interpreter is found on PATH",
    "libexec/by-own-shell-too": "as bin/by-own-shell",
    "libexec/tell-aside": "as bin/tell*",
    "lib/pkgconfig/prefixed.pc": "pkg-config finds the prefix by the file's own place",
    "conda-meta/*.json": "the original names folders of the build machine",
    "share/licenses/*": "a licence stays as its author wrote it (relocation/rules.yml)",
    "lib/static.a": "a static library's paths are for a debugger (relocation/rules.yml)",
}
_ONLY_OURS = {"share/licenses/*": "conda keeps a package's licence texts in its cache, and a bundle ships them"}


@pytest.fixture
def places(tmp_path: Path) -> Iterator[list[Path]]:
    """A short folder, one whose bundle's path has 200 characters, one with spaces and other letters."""
    short = Path(tempfile.mkdtemp(dir="/tmp", prefix=""))
    long = tmp_path / "long"
    long /= "x" * (200 - len(f"{long}//trial"))
    yield [short / "s", long, tmp_path / "with  spaces ünd 文字"]
    shutil.rmtree(short)


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
        done = subprocess.run(command, env=CLEAN, capture_output=True, text=True, check=False)
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
        [*inside, bundle.root / "manage.sh", "relocate"], env=CLEAN, capture_output=True, text=True, check=False
    )
    assert done.returncode == 1
    assert "read-only media" in done.stderr
    assert "nothing has to be done" in done.stderr
    assert done.stderr.count("\n") == 1
    bundle.call(*inside, bundle.prefix / "bin/tell")


def test_against_conda_pack_at_the_same_place(road: Road, tmp_path: Path) -> None:
    """The environment packed by `conda-pack --dest-prefix X`, and by us, relocated at X."""
    tree = fill_bundle(tmp_path / "bundle", targets.current())
    files = pack(road.environment, tree.prefix, known_as=tree.prefix)
    apply_relocation(plan_relocation(tree, build_paths=[str(road.environment)]))
    (tree.portable / "prefixes.json").write_text(json.dumps(plan_prefix_table(tree, files)))
    done = subprocess.run([tree.root / "manage.sh", "relocate"], env=CLEAN, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    theirs = tmp_path / "theirs"
    program = [sys.executable, "-c", "from conda_pack.cli import main; main()", "--quiet", "--format", "no-archive"]
    words = ["--prefix", road.environment, "--dest-prefix", tree.prefix, "--output", theirs]
    subprocess.run([*program, *words], check=True, cwd=tmp_path)

    ours = {name: facts for name, facts in _described(tree.prefix).items() if not name.endswith(".pyc")}  # it has run
    others = _described(theirs)
    used = set()
    for name in sorted(ours.keys() | others.keys()):
        if ours.get(name) == others.get(name):
            continue
        reasons = _DIFFERENT if name in ours and name in others else _ONLY_THEIRS if name in others else _ONLY_OURS
        found = next((pattern for pattern in reasons if fnmatch.fnmatchcase(name, pattern)), None)
        assert found, f"{name} differs: {ours.get(name)}, {others.get(name)}"
        used.add(found)
    assert used == _DIFFERENT.keys() | _ONLY_THEIRS.keys() | _ONLY_OURS.keys()


def _described(prefix: Path) -> dict[str, tuple[str, bool]]:
    """Each file's link target or hash, and whether it may be run."""
    return {
        path.relative_to(prefix).as_posix(): (
            str(path.readlink()) if path.is_symlink() else hashlib.sha256(path.read_bytes()).hexdigest(),
            path.is_symlink() or (os.access(path, os.X_OK) and bool(path.stat().st_mode & 0o100)),
        )
        for path in walk_files(prefix)
    }
