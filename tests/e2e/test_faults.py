"""Nothing the user does can lose a working setup: helpers killed at random points, and everything else that goes wrong.

FAULT_POINTS=200 (`make faults`) tries so many points in all, spread over the operations; FAULT_BUNDLE=ZIP takes that
bundle instead of building one.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "unit" / "helper_scripts"))
sys.path.insert(0, str(Path(__file__).parent))

from failing_index import Index
from fake_bundles import make_wheel
from fault_points import Operation, call, copy, prepare, start_app, tree_digest, try_point

pytestmark = pytest.mark.e2e

fcntl = pytest.importorskip("fcntl", reason="locks and signals of POSIX")

_POINTS = int(os.environ.get("FAULT_POINTS", "24"))
_QUICK = ("--no-smoke",)


def operations(wheels: Path, archive: Path) -> list[Operation]:
    """What is killed. `wheels` is a folder that gets the wheels they need, `archive` the zip the bundle came in."""
    many = {f"extra/part_{number}.py": f"VALUE = {number}\n" for number in range(12)}
    make_wheel(wheels, "thing", "1.0", files={**many, "extra/__init__.py": ""})
    make_wheel(wheels, "thing", "2.0", files={**many, "extra/__init__.py": "NEW = 1\n", "extra/more.py": ""})
    make_wheel(wheels, "wanted", requires=("thing>=1",))
    node = {f"nodes/part_{number}.py": f"VALUE = {number}\n" for number in range(8)}
    node |= {"__init__.py": "import thing\nNODE_CLASS_MAPPINGS = {}\n", "requirements.txt": "thing==1.0\n"}
    node |= {"install.py": "open('made.txt', 'w').write('made')\n"}
    with zipfile.ZipFile(wheels / "some-node.zip", "w") as packed:
        for name, text in node.items():
            packed.writestr(zipfile.ZipInfo(f"some-node-main/{name}"), text)
    source = ("--wheels-dir", str(wheels), *_QUICK)
    first, second = ("install", *source, "thing==1.0"), ("install", *source, "thing==2.0")
    return [
        Operation(name="install", command=("install", *source, "wanted")),
        Operation(name="upgrade", setup=(first,), command=second),
        Operation(name="rollback", setup=(first, second), command=("rollback",)),
        Operation(name="uninstall", setup=(first,), command=("uninstall", *_QUICK, "thing")),
        Operation(name="repair", setup=(("exec", "--", "python", "-c", _HARM),), command=("repair", str(archive))),
        Operation(name="node add", command=("node", "add", *source, str(wheels / "some-node.zip"))),
    ]


_NAMES = ("install", "upgrade", "rollback", "uninstall", "repair", "node add")
# Lost, overwritten by another file, cut short, not executable any more; nothing that the app needs to start.
_HARM = """\
import os, pathlib, sys
root = pathlib.Path(os.path.abspath(sys.executable)).parents[2]
lost = sorted((root / "licenses").rglob("*.*"))[:8]
info = next(root.glob("python/lib/python3*/site-packages/segno-*.dist-info"))
harmed = {info / "RECORD": "cut", root / "README.txt": "another", root / "portable/footprint.json": "ruined"}
for path in (info / "METADATA", *lost, *harmed):
    if not path.is_dir():
        path.unlink()
for path, text in harmed.items():
    path.write_text(text)
mode = root / "install_package.sh"
text = mode.read_bytes()
mode.unlink()
mode.write_bytes(text)
"""


@pytest.fixture(scope="session")
def archive(request: pytest.FixtureRequest) -> Path:
    """The zip of the quickstart bundle, or $FAULT_BUNDLE."""
    return Path(os.environ.get("FAULT_BUNDLE") or request.getfixturevalue("built").zip)


@pytest.fixture(scope="session")
def bundle(archive: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """It, unzipped where it has run once."""
    folder = tmp_path_factory.mktemp("faults")
    subprocess.run(["unzip", "-q", archive, "-d", folder], check=True)
    root = next(path for path in folder.iterdir() if (path / "portable").is_dir())
    start_app(root, "unzipped")
    return root


@pytest.mark.parametrize("name", _NAMES)
def test_a_killed_helper_leaves_the_state_before_or_after(
    bundle: Path, archive: Path, tmp_path: Path, name: str
) -> None:
    operation = next(item for item in operations(tmp_path / "wheels", archive) if item.name == name)
    prepared = prepare(bundle, operation, tmp_path)
    assert prepared.touches > 50
    ended = [try_point(prepared, seed, tmp_path) for seed in range(-(-_POINTS // len(_NAMES)))]
    assert len(ended) * len(_NAMES) >= _POINTS
    if len(ended) > 20:
        assert set(ended) == {"before", "after"}


def test_every_operation_is_listed(tmp_path: Path) -> None:
    assert tuple(item.name for item in operations(tmp_path, tmp_path)) == _NAMES


# -- everything else that goes wrong -----------------------------------------------------------------------------------


@pytest.fixture
def site(bundle: Path, tmp_path: Path) -> Path:
    """A bundle of the test's own, in a folder with a space and a non-ASCII letter."""
    return copy(bundle, tmp_path / "my bündle")


def failed(site: Path, *words: str | Path, says: str, env: dict[str, str] | None = None) -> str:
    """Run a command of portable that must fail, say so plainly and change nothing; returns what it wrote to stderr."""
    before = tree_digest(site)
    done = subprocess.run(
        [site / "manage.sh", *map(str, words)],
        env={**os.environ, **(env or {})},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 1, done.stderr
    assert says in done.stderr, done.stderr
    assert 'Traceback (most recent call last):\n  File "<frozen runpy>' not in done.stderr
    assert tree_digest(site) == before
    assert not (site / "portable/state/active").exists()
    return done.stderr


def test_a_package_that_breaks_the_start_of_the_app_is_taken_out_again(site: Path, tmp_path: Path) -> None:
    """It imports, and pip is content; only the app notices. Another breaks one node."""
    hook = "import sys; sys.modules['{}'] = None\n"
    make_wheel(tmp_path, "breaker", files={"breaker_start.pth": hook.format("aiohttp")})
    make_wheel(tmp_path, "spoiler", files={"spoiler_start.pth": hook.format("segno")})
    failed(site, "install", tmp_path / "breaker-1.0-py3-none-any.whl", says="ComfyUI does not start any more")
    said = failed(site, "install", tmp_path / "spoiler-1.0-py3-none-any.whl", says="the node hello-node cannot be")
    assert "import of segno halted" in said


def test_a_package_that_does_not_import_or_cannot_be_built(site: Path, tmp_path: Path) -> None:
    make_wheel(tmp_path, "broken", files={"broken/__init__.py": "raise RuntimeError('not today')"})
    failed(site, "install", "--no-smoke", tmp_path / "broken-1.0-py3-none-any.whl", says="RuntimeError: not today")
    index = Index(tmp_path / "index")
    index.add_sdist("hopeless", "raise SystemExit('no compiler here')")
    with index.serving() as env:
        failed(site, "install", "hopeless", says="cannot", env=env)


def test_what_breaks_the_pin_of_torch_is_refused(site: Path, tmp_path: Path) -> None:
    """By asking for another torch, by bringing one along, and by changing what the torch that is there needs."""
    wheels = tmp_path / "wheels"
    for version in ("2.0", "1.0"):
        make_wheel(wheels, "torch", version, requires=("part<2",))
    for version in ("1.0", "2.0"):
        make_wheel(wheels, "part", version)
    make_wheel(wheels, "greedy", requires=("torch==1.0",))
    source = ("--wheels-dir", str(wheels), "--no-smoke")
    assert call(site, "install", *source, "torch==2.0").returncode == 0
    lock = site / "portable" / "lock.txt"
    text = lock.read_text(encoding="utf-8")
    lock.unlink()
    lock.write_text(f"{text}torch==2.0\n", encoding="utf-8")
    failed(site, "install", *source, "torch==1.0", says="downgrade torch 2.0 -> 1.0   (the lock holds 2.0; protected")
    failed(site, "install", *source, "greedy", says="downgrade torch 2.0 -> 1.0")
    failed(site, "install", *source, "part==2.0", says="torch 2.0 has requirement part<2, but you have part 2.0")
    forced = call(site, "install", *source, "--force", "greedy")
    assert forced.returncode == 0, forced.stderr
    assert call(site, "rollback").returncode == 0
    assert "torch 2.0" in call(site, "list").stdout


def test_network_that_is_lost_and_a_wheel_with_another_hash(site: Path, tmp_path: Path) -> None:
    index = Index(tmp_path / "index")
    index.add_wheel(make_wheel(tmp_path, "first", requires=("second",)))
    index.add_wheel(make_wheel(tmp_path, "second"))
    index.add_wheel(make_wheel(tmp_path, "forged"), sha256="0" * 64)
    with index.serving() as env:
        failed(site, "install", "forged", "--no-smoke", says="HASH", env=env)
    with index.serving(dies_after="second-1.0") as env:
        failed(site, "install", "first", "--no-smoke", says="Nothing was changed", env=env)
    with index.serving() as env:
        done = subprocess.run(
            [site / "manage.sh", "install", "first", "--no-smoke"],
            env={**os.environ, **env},
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
    assert "first 1.0" in call(site, "list").stdout
    assert call(site, "rollback").returncode == 0  # offline: nothing serves any more


@pytest.mark.skipif(os.geteuid() != 0, reason="mounting needs root")
@pytest.mark.parametrize("options", ["size=190m", "ro"])
def test_full_disk_and_read_only_folder(bundle: Path, tmp_path: Path, options: str) -> None:
    """A tmpfs in which the bundle just fits, and one that cannot be written any more."""
    mounted = tmp_path / "small disk"
    mounted.mkdir()
    size = "size=2g" if options == "ro" else options
    if subprocess.run(["mount", "-t", "tmpfs", "-o", size, "tmpfs", mounted], check=False).returncode:
        pytest.skip("this sandbox may not mount a tmpfs")
    try:
        site = mounted / "bundle"
        subprocess.run(["cp", "-a", bundle, site], check=True)
        big = {"big.bin": "x" * 60_000_000}
        wheel = make_wheel(tmp_path, "large", files=big)
        if options == "ro":
            subprocess.run(["mount", "-o", "remount,ro", mounted], check=True)
        says = "read-only medium" if options == "ro" else "free"
        failed(site, "install", "--no-smoke", wheel, says=says)
        start_app(site, options)
        assert call(site, "info").returncode == 0
    finally:
        subprocess.run(["umount", "-l", mounted], check=True)


def test_two_helpers_and_a_running_app_do_not_fight(site: Path, tmp_path: Path) -> None:
    wheel = make_wheel(tmp_path, "thing")
    app = subprocess.Popen(
        [site / "run_comfyui.sh", "--cpu", "--port", "0"], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
    )
    try:
        holder = site / f"portable/state/locks/run-{app.pid}.json"
        assert app.stderr is not None
        while "http://" not in (line := app.stderr.readline()):  # loaded, so that it writes no more bytecode
            assert line, "the app has ended"
        assert holder.exists()
        said = failed(site, "install", "--no-smoke", wheel, says="ComfyUI is running from this bundle")
        assert f"process {app.pid}: run --cpu --port 0" in said
        done = call(site, "install", "--no-smoke", "--force", str(wheel))
        assert done.returncode == 0, done.stderr
    finally:
        app.kill()
        app.communicate()
    with (site / "portable/state/locks/change.lock").open("ab") as other:
        fcntl.flock(other, fcntl.LOCK_EX)
        failed(site, "uninstall", "--force", "thing", says="Another helper is changing this bundle")
        started = subprocess.run(
            [site / "run_comfyui.sh", "--quick-test-for-ci", "--cpu"], capture_output=True, text=True, check=False
        )
        assert started.returncode == 1
        assert "is being changed" in started.stderr


def test_a_named_snapshot_brings_back_what_others_changed(site: Path, tmp_path: Path) -> None:
    """pip itself, as ComfyUI-Manager calls it, takes a package away and brings another: no helper knows of either."""
    before = tree_digest(site)
    assert call(site, "snapshot", "good").returncode == 0
    assert call(site, "snapshot", "good").returncode == 2
    wheel = make_wheel(tmp_path, "intruder")
    pip = ("exec", "--", "python", "-B", "-m", "pip")
    assert call(site, *pip, "install", "--no-index", "--no-compile", str(wheel)).returncode == 0
    assert call(site, *pip, "uninstall", "--yes", "segno").returncode == 0
    assert tree_digest(site) != before
    done = call(site, "rollback", "good")
    assert done.returncode == 0, done.stderr
    assert tree_digest(site) == before
    start_app(site, "rolled back")
    assert call(site, "rollback").returncode == 0  # undoes the rollback itself
    assert "intruder" in call(site, "list").stdout
    assert call(site, "snapshots", "--delete", "good").returncode == 0


def test_verify_knows_what_helpers_changed(site: Path, tmp_path: Path) -> None:
    wheel = make_wheel(tmp_path, "segno", "1.7.0", files={"segno/__init__.py": "def make(): ...\n"})
    done = call(site, "install", "--force", "--no-smoke", str(wheel))
    assert done.returncode == 0, done.stderr
    checked = call(site, "verify", "--json")
    found = json.loads(checked.stdout)
    assert found["damage"] == []
    assert {item["detail"] for item in found["changed"]} == {"changed by install #1"}
    changed = next(site.rglob("site-packages/segno/__init__.py"))
    changed.write_text("ruined", encoding="utf-8")
    found = json.loads(call(site, "verify", "--json").stdout)
    assert [item["path"].rpartition("/")[2] for item in found["damage"]] == ["__init__.py"]
    assert "and again since" in found["damage"][0]["detail"]
