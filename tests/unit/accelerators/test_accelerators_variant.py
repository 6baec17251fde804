"""The build asked for is the build installed: with wheels from local indexes, installed by uv."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from local_indexes import torch_version_py

from packager.accelerators import assert_variant, read_builds
from packager.bundle import BundleTree
from packager.errors import ResolveError

Put = Callable[..., None]


def test_cu128_is_cu128(tree: BundleTree, put: Put) -> None:
    put("cu128", "torch==2.11.0+cu128", "torchvision==0.26.0+cu128")
    torch, vision = assert_variant(tree.site_packages, "cu128")
    assert (torch.cuda, torch.label, torch.version) == ("12.8", "cu128", "2.11.0+cu128")
    assert vision.label == "cu128"


@pytest.mark.parametrize(
    ("index", "accelerator", "what"),
    [
        ("pypi", "cpu", "says cuda = 13.0, but cpu means none"),  # comfy-cli#344: --cpu installed CUDA torch
        ("pypi", "cu128", "says cuda = 13.0, but cu128 means 12.8"),
        ("cpu", "cu128", "says cuda = None, but cu128 means 12.8"),
        ("cpu", "rocm7.2", "says hip = None, but rocm7.2 means 7.2"),
        ("cu128", "xpu", "says xpu = None, but xpu means any"),
    ],
)
def test_wrong_build_is_refused(tree: BundleTree, put: Put, index: str, accelerator: str, what: str) -> None:
    put(index, "torch==2.11.0")
    with pytest.raises(ResolveError, match=what) as caught:
        assert_variant(tree.site_packages, accelerator)
    assert caught.value.exit_code == 4
    assert caught.value.remedy


def test_torchvision_for_cuda_beside_a_cpu_torch(tree: BundleTree, put: Put) -> None:
    """Both fit by name and version, and so say pip and pip check; import fails."""
    put("cpu", "torch==2.11.0", "torchaudio==2.11.0")
    put("pypi", "torchvision==0.26.0")
    for accelerator in ("cpu", None):
        with pytest.raises(ResolveError, match=r"torchvision 0\.26\.0 is built for cu130, but torch .* for cpu"):
            assert_variant(tree.site_packages, accelerator)


def test_rocm_and_xpu_say_so_in_words_of_their_own(tmp_path: Path) -> None:
    for label, said, accelerator in (
        ("rocm7.2", {"hip": "7.2.26015", "rocm": "7.2.0"}, "rocm7.2"),
        ("xpu", {"xpu": "20250301"}, "xpu"),
    ):
        site = tmp_path / label
        forge(site, "torch", f"2.11.0+{label}", torch_version_py(label, **said))
        forge(site, "torchvision", f"0.26.0+{label}", f"__version__ = '0.26.0+{label}'")
        assert len(assert_variant(site, accelerator)) == 2
    with pytest.raises(ResolveError, match="hip = None"):
        assert_variant(tmp_path / "xpu", "rocm7.2")


@pytest.mark.skipif(shutil.which("gcc") is None, reason="needs gcc to make a library")
def test_linked_library_tells_where_no_label_does(tmp_path: Path) -> None:
    forge(tmp_path, "torch", "2.11.0+cpu", torch_version_py("cpu"))
    forge(tmp_path, "torchvision", "0.26.0", "__version__ = '0.26.0a0'")
    runtime = tmp_path / "libcudart.so.13"
    make = ["gcc", "-shared", "-x", "c", "/dev/null", "-o"]
    subprocess.run([*make, str(runtime), "-Wl,-soname,libcudart.so.13"], check=True)
    assert read_builds(tmp_path)["torchvision"].label is None
    library = tmp_path / "torchvision" / "_C.so"
    subprocess.run([*make, str(library), "-Wl,--no-as-needed", "-x", "none", str(runtime)], check=True)
    with pytest.raises(ResolveError, match=r"torchvision 0\.26\.0 is built for cu13\*"):
        assert_variant(tmp_path, "cpu")
    forge(tmp_path, "torch", "2.11.0+cu130", torch_version_py("cu130", cuda="13.0"))
    shutil.rmtree(tmp_path / "torch-2.11.0+cpu.dist-info")
    assert assert_variant(tmp_path, "cu130")


@pytest.mark.parametrize(
    "text",
    [
        b"\x00\xff\xfe",
        b"cuda = (",
        b"(" * 70_000,
        b"import os\nos.abort()\n__version__ = open('/etc/passwd').read()\n",
    ],
    ids=["bytes", "half a line", "nested deeply", "code"],
)
def test_hostile_version_file_runs_nothing(tmp_path: Path, text: bytes) -> None:
    """Code is only parsed: what it would compute counts as not said, so the variant asked for isn't there."""
    forge(tmp_path, "torch", "2.11.0+cu128", "")
    (tmp_path / "torch" / "version.py").write_bytes(text)
    with pytest.raises(ResolveError):
        assert_variant(tmp_path, "cu128")


def test_tree_without_torch_has_no_variant(tmp_path: Path) -> None:
    assert assert_variant(tmp_path, "cu128") == ()


def forge(site: Path, name: str, version: str, text: str) -> None:
    """What a wheel leaves in site-packages."""
    info = site / f"{name}-{version}.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
    (site / name).mkdir(exist_ok=True)
    (site / name / "version.py").write_text(text)
