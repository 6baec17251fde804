"""What is told before a start: missing parts, drivers, cards, room, long paths. nvidia-smi is a script of the tests."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from fake_bundles import REPOSITORY, call
from portable import preflight
from portable.completeness import missing_parts
from portable.graphics import Card, Needs, concerns, has_sign, parse, without_driver

from packager import targets
from packager.accelerators import accelerators, machine_needs
from packager.bundle import BundleTree

MakeBundle = Callable[..., BundleTree]
CUDA = {"format": 1, "kind": "nvidia", "platform": "13.0", "driver": "580.65.06", "capability": ["7.5", "12.1"]}
FRONTS = [["run_comfyui"], ["run_comfyui_cpu"], ["install_package", "x"], ["manage", "list"], ["manage", "rollback"]]


def in_parts(tree: BundleTree, *present: int) -> None:
    """A manifest of three parts, of which the files of `present` are there."""
    entries = [
        {
            "path": f"ComfyUI/part {number}/é-{index}",
            "kind": "file",
            "mode": "0644",
            "size": 0,
            "sha256": "",
            "part": number,
        }
        for number in (2, 3)
        for index in range(20)
    ]
    for entry in entries:
        if entry["part"] in present:
            path = tree.root / str(entry["path"])
            path.parent.mkdir(exist_ok=True)
            path.touch()
    head = {
        "format": 1,
        "bundle": {},
        "total_size": 0,
        "longest_path": "x",
        "parts": [f"b-part{n}of3.zip" for n in (1, 2, 3)],
    }
    lines = ",\n".join(json.dumps(entry, ensure_ascii=False) for entry in entries)
    text = f'{json.dumps(head)[:-1]}, "entries": [\n{lines}\n]}}\n'
    (tree.portable / "manifest.json").write_text(text, encoding="utf-8")


@pytest.mark.skipif(sys.platform == "win32", reason="shell scripts are for POSIX")
def test_every_front_names_the_parts_that_were_not_unzipped(make_bundle: MakeBundle) -> None:
    tree = make_bundle("my bündle")
    in_parts(tree)
    for front, *words in FRONTS:
        told = call(tree.root / f"{front}.sh", *words)
        assert told.returncode == 1
        assert told.stdout == ""
        assert told.stderr == (
            "error: This bundle came in several zips, and nothing of b-part2of3.zip, b-part3of3.zip is here: unzip "
            f"each of them into the same folder as part 1, {tree.root.parent}. Every zip of the same version is "
            "needed.\n"
        )
    assert call(tree.root / "manage.sh", "info").returncode == 0
    in_parts(tree, 2)
    assert "nothing of b-part3of3.zip is here" in call(tree.root / "run_comfyui.sh").stderr
    (tree.app / "part 2" / "é-0").unlink()  # one file the user deleted is no missing part
    in_parts(tree, 2, 3)
    (tree.app / "part 2" / "é-0").unlink()
    assert call(tree.root / "run_comfyui.sh").returncode == 0


@pytest.mark.parametrize(
    "text", ["", "no json", "[]\n", '{"parts": "x", "entries": [\n', '{"parts": [1, 2], "entries": [\n???\n']
)
def test_a_broken_manifest_stops_no_start(tmp_path: Path, text: str) -> None:
    (tmp_path / "portable").mkdir()
    (tmp_path / "portable/manifest.json").write_text(text, encoding="utf-8")
    assert missing_parts(tmp_path) == []
    (tmp_path / "portable/manifest.json").unlink()
    assert missing_parts(tmp_path) == []


def started(tree: BundleTree, tmp_path: Path, smi: str | None, *words: str, **env: str) -> list[str]:
    """The warnings of a start, with an nvidia-smi that is this shell script."""
    programs = tmp_path / "programs"
    programs.mkdir(exist_ok=True)
    if smi is not None:
        (programs / "nvidia-smi").write_text(f"#!/bin/sh\n{smi}\n", encoding="utf-8")
        (programs / "nvidia-smi").chmod(0o755)
    done = subprocess.run(
        [tree.root / "run_comfyui.sh", *words],
        env={"PATH": f"{programs}:/usr/bin:/bin", **env},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["arguments"] == [word.encode().hex() for word in words]
    return done.stderr.splitlines()


@pytest.mark.skipif(sys.platform == "win32", reason="shell scripts are for POSIX")
def test_an_old_driver_is_told_in_a_sentence_and_the_start_goes_on(make_bundle: MakeBundle, tmp_path: Path) -> None:
    tree = make_bundle()
    smi = "echo '535.54.03, 8.9, NVIDIA GeForce RTX 4090'"
    assert started(tree, tmp_path, "exit 7") == []  # no gpu.json: torch is for the processor
    (tree.portable / "gpu.json").write_text(json.dumps(CUDA), encoding="utf-8")
    too_old = "The NVIDIA driver is 535.54.03, and this bundle's torch (CUDA 13.0) needs 580.65.06 or newer"
    said = [f"warning: {too_old}: update the driver, or start run_comfyui_cpu.sh."]
    assert started(tree, tmp_path, smi) == said
    assert started(tree, tmp_path, smi, "--cpu") == []
    assert started(tree, tmp_path, smi, CUDA_VISIBLE_DEVICES="") == []
    assert started(tree, tmp_path, "echo '580.82.07, 8.9, NVIDIA GeForce RTX 4090'") == []
    assert started(tree, tmp_path, "exit 9") == []
    begun = time.monotonic()
    assert started(tree, tmp_path, "exec sleep 60") == []  # a card that is asleep holds nothing up
    assert started(tree, tmp_path, "sleep 60 2>&-\nexit 9") == []  # neither does what outlives its being killed
    assert time.monotonic() - begun < 30
    version = tree.prefix / "lib/python3.11/site-packages/torch/version.py"
    version.parent.mkdir(parents=True)
    version.write_text("cuda: Optional[str] = '12.6'\n", encoding="utf-8")
    assert started(tree, tmp_path, smi) == []  # another torch than the bundle's is here now
    version.write_text("cuda: Optional[str] = '13.0'\n", encoding="utf-8")
    assert started(tree, tmp_path, smi) == said
    (tree.portable / "gpu.json").write_text("{", encoding="utf-8")
    assert started(tree, tmp_path, smi) == []


@pytest.mark.skipif(sys.platform == "win32" or has_sign("nvidia"), reason="for a machine without NVIDIA driver")
def test_no_driver_at_all(make_bundle: MakeBundle, tmp_path: Path) -> None:
    tree = make_bundle()
    (tree.portable / "gpu.json").write_text(json.dumps(CUDA), encoding="utf-8")
    (line,) = started(tree, tmp_path, None)
    assert line.startswith(
        "warning: No NVIDIA driver is here, and this bundle's torch is for CUDA 13.0: start run_comfyui_c"
    )


def test_cards_against_what_torch_supports() -> None:
    needs = Needs(kind="nvidia", platform="13.0", driver="580.65", capability=("7.5", "12.1"))
    cards = parse(
        "580.82, 8.9, A, with a comma\n580.82, 6.1, GTX 1060\n580.82, 6.1, GTX 1060\n580.82, 13.0, Next\nnonsense\n"
    )
    assert [card.name for card in cards] == ["A, with a comma", "GTX 1060", "GTX 1060", "Next"]
    old, new = concerns(needs, cards, cpu_front="cpu")
    assert (
        "GTX 1060 (compute capability 6.1) is older than this bundle's torch (CUDA 13.0) supports (7.5 to 12.1)" in old
    )
    assert "Next (compute capability 13.0) is newer" in new
    assert concerns(needs, [Card(name="x", driver="580.65", capability="")], cpu_front="cpu") == []
    assert (
        "needs 580.65 or newer" in concerns(needs, [Card(name="x", driver="580.9", capability="")], cpu_front="cpu")[0]
    )
    assert parse("470.1, [N/A], Tesla\n") == [Card(name="Tesla", driver="470.1", capability="")]
    assert has_sign("amd", {"/dev/kfd": True})
    assert not has_sign("nvidia", {"/dev/kfd": True})
    assert "ROCm 7.2" in without_driver(Needs(kind="amd", platform="7.2", driver="", capability=None), cpu_front="cpu")


def test_what_the_build_writes_is_what_the_helper_reads() -> None:
    windows = targets.get("windows-x86_64")
    torch = {"name": "torch", "cuda": "12.8", "hip": None}
    row = accelerators()["cu128"]
    wanted = {
        "format": 1,
        "kind": "nvidia",
        "platform": "12.8",
        "driver": row.driver["windows"],
        "capability": ["7.5", "12.0"],
    }
    assert machine_needs("cu128", [torch], windows) == wanted
    assert machine_needs(None, [torch], windows) == wanted
    assert machine_needs(None, [{**torch, "cuda": "99.9"}], windows) == {
        **wanted,
        "platform": "99.9",
        "driver": "",
        "capability": None,
    }
    rocm = {"name": "torch", "cuda": None, "hip": "7.2.2601-f"}
    assert machine_needs("rocm7.2", [rocm], targets.get("linux-x86_64")) == {
        "format": 1, "kind": "amd", "platform": "7.2", "driver": "", "capability": None,
    }  # fmt: skip
    assert machine_needs("cpu", [{"name": "torch", "cuda": None, "hip": None}], windows) is None
    assert machine_needs(None, [], windows) is None


def test_paths_too_long_for_windows() -> None:
    assert preflight.long_path("C:\\b", "x" * 254, 259) == []
    assert preflight.long_path("C:\\b", "", 259) == []
    (line,) = preflight.long_path("C:\\b", "x" * 250 + "😀😀😀", 259)
    assert line.startswith("The path of this folder is 2 characters too long for Windows")


@pytest.mark.parametrize(
    ("words", "environ", "system", "launches"),
    [
        ([], {"DISPLAY": ":0"}, "linux", True),
        ([], {"WAYLAND_DISPLAY": "wayland-0"}, "linux", True),
        ([], {}, "linux", False),
        ([], {}, "darwin", True),
        ([], {"SSH_CONNECTION": "x"}, "darwin", False),
        ([], {"DISPLAY": ":0"}, "win32", False),  # --windows-standalone-build does it
        (["--disable-auto-launch"], {"DISPLAY": ":0"}, "linux", False),
        (["--auto-launch"], {"DISPLAY": ":0"}, "linux", False),
        (["--quick-test-for-ci"], {"DISPLAY": ":0"}, "linux", False),
    ],
)
def test_the_browser_opens_where_there_is_a_screen(
    words: list[str], environ: dict[str, str], system: str, launches: bool
) -> None:
    assert preflight.screen(words, environ, system=system) == (["--auto-launch"] if launches else [])


def test_little_room_and_an_old_glibc_are_told(
    make_bundle: MakeBundle, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    from portable import bundle as bundles

    tree = make_bundle(glibc_floor="99.1")
    limits = json.loads((REPOSITORY / "helper_scripts/portable/preflight.json").read_text(encoding="utf-8"))
    raised = tmp_path / "limits.json"
    raised.write_text(json.dumps({**limits, "free_disk": 10**18}), encoding="utf-8")
    monkeypatch.setattr(preflight, "_LIMITS", raised)
    found = preflight.look(bundles.read(tree.root), [], os.environ)
    assert "MB free: pictures may not be saved" in found[0]
    if sys.platform.startswith("linux"):
        assert "and the bundle needs 99.1: parts of it will not load" in found[1]
