"""The lock carries the right build and index for the torch family, and the install takes each package from its own."""

from __future__ import annotations

import dataclasses
import json
import platform
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml
from local_indexes import Indexes

from packager import targets
from packager.bundle import BundleTree
from packager.cli import main
from packager.console import Console
from packager.distributions import installed
from packager.errors import ResolveError
from packager.install import add, install_packages
from packager.lock import Lock, load_lock
from packager.origins import Origins
from packager.recipe import load_recipe
from packager.resolve import resolve

Resolve = Callable[..., Lock]


@pytest.fixture
def app(tmp_path: Path) -> Path:
    folder = tmp_path / "app"
    folder.mkdir()
    (folder / "main.py").write_text("")
    (folder / "requirements.txt").write_text("torch\ntorchvision\nfilelock\n")
    return folder


@pytest.fixture
def write_recipe(tmp_path: Path, app: Path, indexes: Indexes) -> Callable[..., Path]:
    indexes.add("pypi", "pip", "25.0")
    indexes.add("pypi", "onnxruntime_gpu", "1.23")
    indexes.add("pypi", "sageattention", "1.0.6")

    def write(**fields: object) -> Path:
        path = tmp_path / "recipe.json"
        own = {"schema_version": 2, "version_id": "t", "runtime": "host", "comfy": {"repo": str(app)}}
        path.write_text(json.dumps({**own, **fields}))
        return path

    return write


@pytest.fixture
def locked(write_recipe: Callable[..., Path], origins: Origins, console: Console, tmp_path: Path) -> Resolve:
    def lock(*, target: str | None = None, wheels: Path | None = None, offline: bool = False, **fields: object) -> Lock:
        return resolve(
            load_recipe(write_recipe(**fields)),
            target=targets.get(target) if target else targets.current(),
            runtime={"name": "host", "python": platform.python_version()},
            origins=dataclasses.replace(origins, wheels=wheels, offline=offline),
            work=tmp_path / "resolve",
            console=console,
        )

    return lock


def versions(lock: Lock) -> dict[str, str]:
    return {package.name: package.version for package in lock.packages}


def test_family_comes_from_its_index_and_the_rest_from_the_default(locked: Resolve, indexes: Indexes) -> None:
    lock = locked(accelerator="cu128", torch={"index": indexes.index("cu128")})
    assert versions(lock)["torch"] == "2.11.0+cu128"
    assert versions(lock)["torchvision"] == "0.26.0+cu128"
    assert versions(lock)["filelock"] == "3.20"  # torch's index has an older one
    assert "torchaudio" not in versions(lock)  # nobody asks for it
    by_index = {package.name: package.index for package in lock.packages}
    assert by_index["torch"] == by_index["torchvision"] == indexes.index("cu128")
    assert by_index["filelock"] == indexes.index("pypi")
    assert all(package.hashes for package in lock.packages)
    assert [name for package in lock.packages for name in package.via if name.startswith("from")] == []


def test_two_locks_agree_and_survive_saving(locked: Resolve, indexes: Indexes, tmp_path: Path) -> None:
    fields = {"accelerator": "cu128", "torch": {"index": indexes.index("cu128")}}
    first, second = locked(**fields), locked(**fields)
    assert first == second
    first.save(tmp_path / "lock.json")
    assert load_lock(tmp_path / "lock.json") == first


def test_node_that_wants_another_torch_does_not_get_it(locked: Resolve, indexes: Indexes, app: Path) -> None:
    (app / "requirements.txt").write_text("torch<2\ntorchvision\n")
    lock = locked(accelerator="cpu", torch={"index": indexes.index("cpu")}, overrides=["torch<3", "filelock==3.20"])
    assert versions(lock)["torch"] == "2.11.0+cpu"


def test_recipe_that_wants_a_version_the_index_has_not(locked: Resolve, indexes: Indexes) -> None:
    with pytest.raises(ResolveError, match=r"torch==2\.9\.1\+cu128"):
        locked(accelerator="cu128", torch={"index": indexes.index("cu128"), "version": "2.9.1"})


def test_offline_from_a_folder_of_wheels(locked: Resolve, indexes: Indexes, tmp_path: Path) -> None:
    wheels = tmp_path / "wheels"
    wheels.mkdir()
    for name in ("cu128/torch", "cu128/torchvision", "cpu/torch", "pypi/torch", "pypi/filelock", "pypi/pip"):
        for wheel in (indexes.folder / name).glob("*.whl"):
            (wheels / wheel.name).write_bytes(wheel.read_bytes())
    index = {"index": "https://unreachable.invalid/whl/cu128"}
    lock = locked(accelerator="cu128", torch=index, wheels=wheels, offline=True)
    assert versions(lock)["torch"] == "2.11.0+cu128"
    assert {package.index for package in lock.packages} == {"wheels"}


def test_each_package_is_installed_from_its_index_over_another_build(
    locked: Resolve, indexes: Indexes, tree: BundleTree, put: Callable[..., None], origins: Origins, tmp_path: Path
) -> None:
    """The CPU build of the same version is there already: pip and uv would call it satisfied by 2.11.0."""
    put("cpu", "torch==2.11.0")
    assert installed(tree.site_packages)["torch"] == "2.11.0+cpu"
    lock = locked(accelerator="cu128", torch={"index": indexes.index("cu128")})
    console = Console(quiet=True)
    recipe = load_recipe(tmp_path / "recipe.json")
    install_packages(lock, recipe, tree=tree, origins=origins, work=tmp_path, console=console)
    assert installed(tree.site_packages) == versions(lock)


def test_native_package_leaves_the_lock_as_it_is(
    locked: Resolve,
    indexes: Indexes,
    tree: BundleTree,
    origins: Origins,
    console: Console,
    tmp_path: Path,
) -> None:
    """xformers' newest release wants another torch: the release for this one is taken, or none."""
    fields = {
        "accelerator": "cu128",
        "torch": {"index": indexes.index("cu128")},
        "native_packages": [{"name": "xformers"}],
        "excludes": ["opencv-python"],
    }
    indexes.add("cu128", "torch", "2.12.0+cu128")
    indexes.add("cu128", "xformers", "0.0.35", requires=["torch==2.12.0"])
    indexes.add("cu128", "xformers", "0.0.34", requires=["torch==2.11.0", "opencv-python"])
    lock = locked(**fields)
    (addition,) = lock.additions
    assert [item.pin for item in addition.packages] == ["xformers==0.0.34"]
    lock.save(tmp_path / "lock.json")
    assert load_lock(tmp_path / "lock.json") == lock
    recipe = load_recipe(tmp_path / "recipe.json")
    install_packages(lock, recipe, tree=tree, origins=origins, work=tmp_path, console=console)
    _, (native,) = add(lock, recipe, tree=tree, origins=origins, work=tmp_path, console=console)
    assert native.changes == {"xformers": ("", "0.0.34")}  # and not opencv-python, which the recipe excludes
    assert native.chosen == f"xformers from {indexes.index('cu128')}"
    assert installed(tree.site_packages) == {**versions(lock), "xformers": "0.0.34"}


def test_label_of_torch_from_the_default_index_is_that_of_its_cuda(
    locked: Resolve, indexes: Indexes, app: Path
) -> None:
    """It has none of its own: the runtime it requires says which CUDA it is for."""
    (app / "requirements.txt").write_text("torch==2.13.0\n")
    indexes.add("pypi", "torch", "2.13.0", requires=["nvidia-cuda-runtime-cu12==12.8.90"])
    indexes.add("pypi", "torch", "2.14.0")
    indexes.add("pypi", "nvidia_cuda_runtime_cu12", "12.8.90")
    with_it = locked(native_packages=[{"name": "sageattention"}])
    assert with_it.additions[0].chosen == "sageattention==1.0.6"
    (app / "requirements.txt").write_text("torch==2.14.0\n")
    without = locked(native_packages=[{"name": "sageattention"}])
    assert without.additions[0].chosen is None


def test_auto_is_settled_on_the_command_line(
    write_recipe: Callable[..., Path],
    indexes: Indexes,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """`lock` and `build --dry-run` say what was found, lock for it, and refuse the lock on a machine that has less."""
    monkeypatch.setenv("PACKAGER_CONFIG", str(tmp_path / "config.yml"))
    (tmp_path / "config.yml").write_text(yaml.safe_dump({}))
    fake = tmp_path / "bin"
    fake.mkdir()
    (fake / "nvidia-smi").write_text("#!/bin/sh\necho '570.124.06, 8.9, NVIDIA L4'\n")
    (fake / "nvidia-smi").chmod(0o755)
    monkeypatch.setenv("PATH", str(fake), prepend=":")
    if targets.current().os != "linux":
        pytest.skip("the fake nvidia-smi is a POSIX script, and macOS asks none")
    path = write_recipe(
        accelerator="auto",
        torch={"index": indexes.index("cu128")},
        patches=[{"uninstall": ["onnxruntime"], "install": ["onnxruntime-gpu"], "when": "sys_platform == 'linux'"}],
        native_packages=[{"name": "sageattention"}],
    )
    work = str(tmp_path / "work")
    assert main(["lock", str(path), "--work", work, "--no-progress"]) == 0
    captured = capsys.readouterr()
    assert "accelerator cu128: nvidia-smi shows driver 570.124.06 and NVIDIA L4" in captured.err
    assert "sageattention: sageattention==1.0.6" in captured.out
    (lock,) = tmp_path.glob("recipe.*.lock.json")
    assert load_lock(lock).accelerator == "cu128"
    for name, why in (("onnxruntime-gpu", "patches[0] > onnxruntime-gpu==1.23"), ("sageattention", "native: sage")):
        assert main(["lock", str(path), "--work", work, "--quiet", "--explain", name]) == 0
        assert why in capsys.readouterr().out
    held = lock.read_bytes()
    assert main(["lock", str(path), "--work", work, "--quiet", "--upgrade", "sageattention", "patches[0]"]) == 0
    assert lock.read_bytes() == held, "there is nothing newer"
    capsys.readouterr()
    assert main(["build", str(path), "--work", work, "--dry-run", "--no-progress"]) == 0
    shown = capsys.readouterr().out
    assert f"torch==2.11.0+cu128 from {indexes.index('cu128')}" in shown
    assert "patches[0]: uninstall onnxruntime; install onnxruntime-gpu\n    takes out onnxruntime" in shown
    assert f"    onnxruntime-gpu==1.23 from {indexes.index('pypi')} sha256:" in shown
    assert f"sageattention: sageattention==1.0.6\n    sageattention==1.0.6 from {indexes.index('pypi')} sha" in shown
    (fake / "nvidia-smi").write_text("#!/bin/sh\nexit 9\n")
    assert main(["build", str(path), "--work", work, "--lock", str(lock), "--dry-run", "--no-progress"]) == 2
    assert "the accelerator has changed" in capsys.readouterr().err
