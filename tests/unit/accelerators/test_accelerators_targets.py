"""The torch family for each target, from an index whose files are named as on torch's own: PEP 691 with PEP 658."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from simple_index import SimpleIndex, serve

from packager import targets
from packager.cli import main
from packager.console import Console
from packager.errors import ResolveError
from packager.lock import Lock, load_lock
from packager.locking import Locking
from packager.origins import Origins
from packager.recipe import load_recipe
from packager.resolve import resolve
from packager.runtimes import HostRuntime

LINUX, ARM, WINDOWS = "manylinux_2_28_x86_64", "manylinux_2_28_aarch64", "win_amd64"
# Families made for each other, as accelerators.yml has them.
FAMILIES = (("2.9.1", "0.24.1", "2.9.1"), ("2.11.0", "0.26.0", "2.11.0"))
RUNTIME = {"name": "miniforge", "python": "3.12.11"}


def _tags(*platforms: str) -> list[str]:
    return [f"cp{minor}-cp{minor}-{platform}" for minor in (311, 312, 313) for platform in platforms]


def _publish(index: SimpleIndex, label: str, *platforms: str) -> None:
    """The family with its local label, as on torch's index; torch asks for its CUDA there on Linux alone."""
    for torch, vision, audio in FAMILIES:
        cuda = ["nvidia-cuda-runtime ; platform_system == 'Linux'"] if label.startswith("+cu") else []
        index.add("torch", f"{torch}{label}", *_tags(*platforms), requires=["filelock", *cuda])
        index.add("torchvision", f"{vision}{label}", *_tags(*platforms), requires=[f"torch=={torch}", "numpy"])
        index.add("torchaudio", f"{audio}{label}", *_tags(*platforms), requires=[f"torch=={torch}"])


@pytest.fixture
def served(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[str, SimpleIndex]]:
    """`pypi` has the family without a label for every system; the others are torch's, cu130 with an older filelock."""
    with serve("pypi", "cu130", "cpu") as (pypi, cu130, cpu):
        _publish(pypi, "", LINUX, ARM, WINDOWS, "macosx_11_0_arm64")
        _publish(cu130, "+cu130", LINUX, ARM, WINDOWS)
        _publish(cpu, "+cpu", LINUX, ARM, WINDOWS)
        for index in (pypi, cu130):
            index.add("nvidia-cuda-runtime", "13.0.48", f"py3-none-{LINUX}", f"py3-none-{ARM}")
        for name in ("pip", "filelock", "numpy"):
            pypi.add(name, "2.0")
        cu130.add("filelock", "1.0")
        monkeypatch.setenv("UV_DEFAULT_INDEX", pypi.address)
        monkeypatch.setenv("UV_CACHE_DIR", str(tmp_path / "uv-cache"))
        yield {"pypi": pypi, "cu130": cu130, "cpu": cpu}


@pytest.fixture
def write_recipe(tmp_path: Path) -> Callable[..., Path]:
    app = tmp_path / "app"
    app.mkdir()
    (app / "main.py").write_text("")
    (app / "requirements.txt").write_text("torch\ntorchvision\ntorchaudio\nfilelock\n")
    node = tmp_path / "node"
    node.mkdir()
    (node / "requirements.txt").write_text("torch==2.9.1\nnumpy\n")

    def write(**fields: object) -> Path:
        path = tmp_path / "recipe.json"
        nodes = [{"repo": str(node), "name": "a-node"}]
        value = {"schema_version": 2, "version_id": "t", "comfy": {"repo": str(app)}, "custom_nodes": nodes, **fields}
        path.write_text(json.dumps(value))
        return path

    return write


@pytest.fixture
def locked(
    write_recipe: Callable[..., Path], origins: Origins, console: Console, tmp_path: Path
) -> Callable[..., Lock]:
    def lock(target: str, **fields: object) -> Lock:
        recipe = load_recipe(write_recipe(**fields))
        place = targets.get(target)
        work = tmp_path / "resolve"
        return resolve(recipe, target=place, runtime=RUNTIME, origins=origins, work=work, console=console)

    return lock


def versions(lock: Lock) -> dict[str, str]:
    return {package.name: package.version for package in lock.packages}


@pytest.mark.parametrize("target", ["linux-x86_64", "linux-aarch64", "windows-x86_64"])
@pytest.mark.parametrize("build", ["cu130", "cpu"])
def test_the_family_has_the_build_and_index_of_the_accelerator(
    locked: Callable[..., Lock], served: dict[str, SimpleIndex], target: str, build: str
) -> None:
    lock = locked(target, accelerator=build, torch={"index": served[build].address})
    found = {package.name: package for package in lock.packages}
    label = f"+{build}"
    assert {name: found[name].version for name in ("torch", "torchvision", "torchaudio")} == {
        "torch": f"2.11.0{label}",
        "torchvision": f"0.26.0{label}",
        "torchaudio": f"2.11.0{label}",
    }
    assert {found[name].index for name in ("torch", "torchvision", "torchaudio")} == {served[build].address}
    assert (found["filelock"].version, found["filelock"].index) == ("2.0", served["pypi"].address)
    assert ("nvidia-cuda-runtime" in found) == (build == "cu130" and target.startswith("linux"))
    assert all(package.hashes for package in lock.packages)
    (decision,) = [item for item in lock.decisions if item.package == "torch"]
    assert (decision.rule, decision.chosen) == ("special: torch", f"torch==2.11.0{label}")
    assert [str(wish) for wish in decision.overruled] == ["a-node wants 'torch==2.9.1' (a-node/requirements.txt:1)"]


def test_macos_takes_the_default_index_and_no_label(
    locked: Callable[..., Lock], served: dict[str, SimpleIndex]
) -> None:
    lock = locked("macos-arm64", accelerator="mps")
    assert versions(lock)["torch"] == "2.11.0"
    assert {package.index for package in lock.packages} == {served["pypi"].address}
    assert "nvidia-cuda-runtime" not in versions(lock)


@pytest.mark.parametrize(("wanted", "vision"), [("2.9.1", "0.24.1"), ("2.9.1+cu130", "0.24.1")])
def test_a_version_of_the_recipe_brings_its_companions_with_the_label(
    locked: Callable[..., Lock], served: dict[str, SimpleIndex], wanted: str, vision: str
) -> None:
    torch = {"index": served["cu130"].address}
    lock = locked("windows-x86_64", accelerator="cu130", torch=torch, constraints=[f"torch=={wanted}"])
    assert versions(lock)["torch"] == "2.9.1+cu130"
    assert versions(lock)["torchvision"].startswith(vision)
    assert next(package.index for package in lock.packages if package.name == "torch") == served["cu130"].address


def test_metadata_alone_is_read_and_two_locks_agree(
    locked: Callable[..., Lock], served: dict[str, SimpleIndex], tmp_path: Path
) -> None:
    fields = {"accelerator": "cu130", "torch": {"index": served["cu130"].address}}
    first, second = (locked("linux-x86_64", **fields) for _ in range(2))
    assert first == second
    first.save(tmp_path / "one.json")
    assert load_lock(tmp_path / "one.json").digest == first.digest
    asked = [path for index in served.values() for path in index.served]
    assert any(path.endswith(".whl.metadata") for path in asked)
    assert not [path for path in asked if path.endswith(".whl")]


def test_a_platform_the_index_has_no_wheel_for_is_an_error_with_the_line(
    locked: Callable[..., Lock], served: dict[str, SimpleIndex]
) -> None:
    del served["cu130"].wheels["torch"]
    with pytest.raises(ResolveError, match=r"torch.*\+cu130") as caught:
        locked("windows-x86_64", accelerator="cu130", torch={"index": served["cu130"].address})
    assert caught.value.exit_code == 4
    assert "ComfyUI wants 'torch' (ComfyUI/requirements.txt:1)" in str(caught.value)


def test_a_lock_is_stale_when_the_build_of_torch_changes_and_refreshed_in_place(
    write_recipe: Callable[..., Path], served: dict[str, SimpleIndex], origins: Origins, tmp_path: Path
) -> None:
    def locking(build: str) -> Locking:
        path = write_recipe(accelerator=build, torch={"index": served[build].address})
        target = targets.get("windows-x86_64")
        console = Console(quiet=True)
        parts = {"runtime": RUNTIME, "origins": origins, "work": tmp_path / "work", "console": console}
        return Locking(recipe=load_recipe(path), target=target, **parts)

    first = locking("cpu")
    first.refresh(first.beside_recipe)
    before = first.beside_recipe.read_bytes()
    first.refresh(first.beside_recipe)
    assert first.beside_recipe.read_bytes() == before
    assert first.staleness(load_lock(first.beside_recipe)) is None
    second = locking("cu130")
    assert second.beside_recipe.name == "recipe.windows-x86_64-cu130.lock.json", "each build of torch has its own lock"
    lock = first.beside_recipe
    assert second.staleness(load_lock(lock)) == "the recipe has changed since it was made"
    other = dataclasses.replace(first, runtime={**RUNTIME, "python": "3.12.12"}, recipe=first.recipe)
    assert other.staleness(load_lock(lock)) == "the Python has changed since it was made"
    second.refresh(lock)
    assert versions(load_lock(lock))["torch"] == "2.11.0+cu130"


def test_upgrading_torch_alone_leaves_the_rest(
    write_recipe: Callable[..., Path],
    served: dict[str, SimpleIndex],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """By the command line: a newer numpy is there too, and only what is named moves."""
    here = targets.current().name
    identity = {"name": "host", "python": RUNTIME["python"]}
    monkeypatch.setattr(HostRuntime, "identify", lambda *_: identity)
    monkeypatch.setenv("PACKAGER_CONFIG", str(tmp_path / "none.yml"))
    (tmp_path / "none.yml").write_text("{}\n")
    path = write_recipe(runtime="host", torch={"index": served["cpu"].address, "version": "2.9.1"})
    words = ["lock", str(path), "--work", str(tmp_path / "work"), "--quiet", "--json"]
    assert main(words) == 0
    served["pypi"].add("numpy", "3.0")
    served["pypi"].add("filelock", "3.0")
    assert main([*words, "--upgrade", "numpy"]) == 0
    lock = load_lock(tmp_path / f"recipe.{here}.lock.json")
    assert (versions(lock)["numpy"], versions(lock)["filelock"]) == ("3.0", "2.0")
    assert versions(lock)["torch"].startswith("2.9.1")
    capsys.readouterr()
