"""The patch stage: planned for the target, then applied with uv to a real environment."""

from __future__ import annotations

import dataclasses
import json
import os
import shutil
import sys
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path

import pytest
from local_indexes import Indexes
from packaging.markers import Marker, default_environment

from packager import targets
from packager.additions import Means, apply_patches
from packager.bundle import BundleTree
from packager.distributions import installed
from packager.errors import DocumentError, FetchError, InputError, ResolveError
from packager.lock import LockedPackage
from packager.recipe import Recipe, load_recipe
from packager.resolution.markers import marker_environment
from packager.resolution.patches import PatchStep, plan_patches
from packager.resolution.settle_additions import Looking

WINDOWS = targets.get("windows-x86_64")
LINUX = targets.get("linux-x86_64")
FACES = "https://example.org/insightface-0.7.3-{0}-{0}-win_amd64.whl"


@pytest.fixture
def recipe(tmp_path: Path) -> Callable[..., Recipe]:
    def load(*patches: dict[str, object]) -> Recipe:
        path = tmp_path / "recipe.json"
        document = {"schema_version": 2, "version_id": "t", "comfy": {"repo": "https://example.org/c"}}
        path.write_text(json.dumps({**document, "patches": patches}))
        return load_recipe(path)

    return load


def test_nvidia_patch_is_planned_for_each_target_and_python(recipe: Callable[..., Recipe]) -> None:
    """The classic one: torch of another index, onnxruntime for the GPU, insightface by CPython version."""
    loaded = recipe(
        {
            "uninstall": ["torch", "torchvision", "onnxruntime", "insightface"],
            "install": ["torch", "torchvision"],
            "index": "https://download.pytorch.org/whl/cu126",
        },
        {"install": ["onnxruntime-gpu>=1.20"]},
        {
            "wheels": {tag: FACES.format(tag) for tag in ("cp311", "cp312")},
            "when": "sys_platform == 'win32' and platform_machine == 'AMD64' and python_version >= '3.11'",
        },
    )
    swap = "uninstall torch torchvision onnxruntime insightface; install torch torchvision"
    assert str(plan_patches(loaded, WINDOWS, "3.12.4")).splitlines() == [
        f"patches[0]: {swap} from https://download.pytorch.org/whl/cu126",
        "patches[1]: install onnxruntime-gpu>=1.20",
        f"patches[2]: install {FACES.format('cp312')}",
    ]
    assert plan_patches(loaded, WINDOWS, "3.11.9").steps[2].wheels == (FACES.format("cp311"),)
    assert plan_patches(loaded, LINUX, "3.12.4").steps[2].skipped
    assert plan_patches(loaded, WINDOWS, "3.10.11").steps[2].skipped
    with pytest.raises(InputError, match=r"patches\[2\]\.wheels: has no wheel for cp313, only for cp311, cp312"):
        plan_patches(loaded, WINDOWS, "3.13.0")


@pytest.mark.parametrize(
    ("marker", "target", "true"),
    [
        ("platform_machine == 'aarch64' and os_name == 'posix'", "linux-aarch64", True),
        ("platform_machine == 'arm64' and platform_system == 'Darwin'", "macos-arm64", True),
        ("sys_platform == 'linux'", "windows-x86_64", False),
        ("python_full_version < '3.12.5' and implementation_name == 'cpython'", "linux-x86_64", True),
        ("python_version < '3.9'", "linux-x86_64", False),  # as versions, not as texts
        ("extra == 'gpu'", "linux-x86_64", False),
    ],
)
def test_markers_are_those_of_the_target(marker: str, target: str, true: bool) -> None:
    assert Marker(marker).evaluate(marker_environment(targets.get(target), "3.12.4")) is true


@pytest.mark.skipif(sys.platform not in ("linux", "darwin", "win32"), reason="no target of that system")
def test_marker_environment_agrees_with_packaging_on_this_machine() -> None:
    real = default_environment()
    ours = marker_environment(targets.current(), real["python_full_version"])
    unknowable = {"platform_release", "platform_version"}
    assert {name: ours[name] for name in ours.keys() - unknowable - {"extra"}} == {
        name: real[name] for name in real.keys() - unknowable - {"extra"}
    }


@pytest.mark.parametrize(
    ("patch", "field"),
    [
        ({"uninstall": ["-r requirements.txt"]}, "uninstall[0]"),
        ({"uninstall": ["../torch"]}, "uninstall[0]"),
        ({"uninstall": ["torch\n--yes"]}, "uninstall[0]"),
        ({"install": ["--index-url=https://example.org"]}, "install[0]"),
        ({"install": ["torch --pre"]}, "install[0]"),
        ({"install": ["file:///etc/x-1.0-py3-none-any.whl"]}, "install[0]"),
        ({"install": ["/etc/x-1.0-py3-none-any.whl"]}, "install[0]"),
        ({"install": ["x @ file:///etc/x-1.0-py3-none-any.whl"]}, "install[0]"),
        ({"install": ["git+https://example.org/x.git"]}, "install[0]"),
        ({"install": ["x[extra] @ https://example.org/y-1.0-py3-none-any.whl"]}, "install[0]"),
        ({"install": ["http://example.org/x-1.0-py3-none-any.whl"]}, "install[0]"),
        ({"install": ["http://127.0.0.1.example.org/x-1.0-py3-none-any.whl"]}, "install[0]"),
        ({"install": ["https://example.org/../x-1.0-py3-none-any.whl"]}, "install[0]"),
        ({"install": ["https://example.org/%2e%2e%2fx-1.0-py3-none-any.whl"]}, "install[0]"),
        ({"install": ["https://user:secret@example.org/x-1.0-py3-none-any.whl"]}, "install[0]"),
        ({"install": ["https://example.org/x.tar.gz"]}, "install[0]"),
        ({"install": ["https://example.org/..whl"]}, "install[0]"),
        ({"install": ["https://[::1/x-1.0-py3-none-any.whl"]}, "install[0]"),
        ({"install": ["x"], "index": "file:///srv/index"}, "index"),
        ({"install": ["x"], "index": "https://example.org/ --pre"}, "index"),
        ({"install": ["x"], "index": "https://"}, "index"),
        ({"install": ["x"], "when": "__import__('os')"}, "when"),
        ({"install": ["x"], "when": "python_version >= "}, "when"),
        ({"wheels": {"cp312": FACES.format("cp311")}}, "wheels.cp312"),
        ({"wheels": {"../cp312": FACES.format("cp312")}}, "wheels"),
        ({"wheels": {"cp312": "insightface"}}, "wheels.cp312"),
        ({"when": "python_version > '3'"}, ""),
        ({"command": "rm -rf /"}, "command"),
    ],
)
def test_hostile_patch_is_refused(recipe: Callable[..., Recipe], patch: dict[str, object], field: str) -> None:
    with pytest.raises(DocumentError) as caught:
        recipe(patch)
    assert any(fault.field.startswith(f"patches[0].{field}".rstrip(".")) for fault in caught.value.faults)
    assert "secret" not in str(caught.value)


def test_patch_takes_out_and_puts_in(
    looking: Looking, means: Means, tree: BundleTree, put: Callable[..., None], indexes: Indexes
) -> None:
    put("pypi", "torch==2.11.0", "filelock==3.20")
    indexes.add("pypi", "onnxruntime_gpu", "1.23", requires=["filelock"])
    wheel = indexes.add("pypi", "insightface", "0.7.3")
    digest = sha256(wheel.read_bytes()).hexdigest()
    url = indexes.wheel("pypi", "insightface", "0.7.3")
    there = {name: package(name, version) for name, version in (("torch", "2.11.0"), ("filelock", "3.20"))}
    step = PatchStep(
        number=0, uninstall=("torch", "never-there"), requirements=("torch",), index=indexes.index("cu128")
    )
    swap = looking.patch(step, there)
    more = looking.patch(
        PatchStep(number=1, requirements=("onnxruntime-gpu",), wheels=(f"{url}#sha256={digest}",)), there
    )
    skipped = looking.patch(PatchStep(number=2, skipped="not true here"), there)
    assert [(item.pin, item.index) for item in swap.packages] == [("torch==2.11.0+cu128", indexes.index("cu128"))]
    assert {(item.pin, item.via) for item in more.packages} == {
        ("onnxruntime-gpu==1.23", ("patches[1]",)),
        (f"insightface @ {url}", ("patches[1]",)),
    }
    first, second = apply_patches([swap, more, skipped], means)
    assert first.changes == {"torch": ("2.11.0", "2.11.0+cu128")}  # filelock fits and so stays
    assert second.changes == {"insightface": ("", "0.7.3"), "onnxruntime-gpu": ("", "1.23")}
    assert installed(tree.site_packages)["torch"] == "2.11.0+cu128"


def test_package_of_a_patch_comes_from_its_index_alone(looking: Looking, indexes: Indexes) -> None:
    """The default index has a newer one under the same name."""
    indexes.add("pypi", "private_tool", "9.0")
    indexes.add("cu128", "private_tool", "1.0", requires=["newcomer"])
    indexes.add("pypi", "newcomer", "1.0")
    done = looking.patch(PatchStep(number=0, requirements=("private-tool",), index=indexes.index("cu128")), {})
    assert {(item.pin, item.index) for item in done.packages} == {
        ("private-tool==1.0", indexes.index("cu128")),
        ("newcomer==1.0", indexes.index("pypi")),
    }
    with pytest.raises(ResolveError):
        looking.patch(PatchStep(number=0, requirements=("newcomer",), index=indexes.index("cu128")), {})


def test_patch_changes_what_is_there_only_where_it_must(looking: Looking, indexes: Indexes) -> None:
    indexes.add("pypi", "filelock", "4.0")
    indexes.add("pypi", "easy", "1.0", requires=["filelock"])
    indexes.add("pypi", "strict", "1.0", requires=["filelock>=4"])
    there = {"filelock": package("filelock", "3.20")}
    assert [item.pin for item in looking.patch(PatchStep(number=0, requirements=("easy",)), there).packages] == [
        "easy==1.0"
    ]
    assert {item.pin for item in looking.patch(PatchStep(number=0, requirements=("strict",)), there).packages} == {
        "strict==1.0",
        "filelock==4.0",
    }


def test_extras_and_marker_of_a_wheel_from_an_address(
    looking: Looking, recipe: Callable[..., Recipe], indexes: Indexes
) -> None:
    indexes.add("pypi", "einops", "0.8")
    indexes.add("pypi", "insightface", "0.7.3", requires=["einops; extra == 'tensors'"])
    url = indexes.wheel("pypi", "insightface", "0.7.3")
    lines = [f"insightface[tensors] @ {url} ; sys_platform != 'never'", f"gone @ {url} ; sys_platform == 'never'"]
    (step,) = plan_patches(recipe({"install": lines[:1]}), looking.target, looking.python).steps
    locked = looking.patch(dataclasses.replace(step, requirements=tuple(lines)), {})
    assert {item.pin for item in locked.packages} == {f"insightface @ {url}", "einops==0.8"}


def test_upgrade_of_an_addition_leaves_the_others(looking: Looking, indexes: Indexes) -> None:
    """A newer release of each has come; only what is named moves, be it a package or a whole patch."""
    indexes.add("pypi", "easy", "1.0", requires=["einops"])
    indexes.add("pypi", "einops", "0.8")
    step = PatchStep(number=0, requirements=("easy",))
    first = looking.patch(step, {})
    indexes.add("pypi", "easy", "1.1", requires=["einops"])
    indexes.add("pypi", "einops", "0.9")
    shutil.rmtree(os.environ["UV_CACHE_DIR"])  # it believes an index's page for a while

    def again(*upgrade: str) -> set[str]:
        locked = dataclasses.replace(looking, previous=(first,), upgrade=frozenset(upgrade)).patch(step, {})
        return {item.pin for item in locked.packages}

    assert again() == {"easy==1.0", "einops==0.8"}
    assert again("einops") == {"easy==1.0", "einops==0.9"}
    assert again("easy") == {"easy==1.1", "einops==0.8"}
    assert again("patches[0]") == {"easy==1.1", "einops==0.9"}


def test_wheel_that_is_another_one_is_refused(looking: Looking, indexes: Indexes) -> None:
    indexes.add("pypi", "insightface", "0.7.3")
    url = f"{indexes.wheel('pypi', 'insightface', '0.7.3')}#sha256={'0' * 64}"
    with pytest.raises(FetchError):
        looking.patch(PatchStep(number=0, wheels=(url,)), {})


def package(name: str, version: str) -> LockedPackage:
    return LockedPackage(name=name, version=version, url=None, hashes=(), via=())
