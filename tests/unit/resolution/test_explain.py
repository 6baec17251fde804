"""Why a package is there, where patches and native packages come after the resolution."""

from __future__ import annotations

import pytest

from packager.errors import InputError
from packager.lock import Lock, LockedAddition, LockedPackage
from packager.resolution.conflicts import Wish
from packager.resolution.explain import explain


def package(name: str, version: str, *via: str) -> LockedPackage:
    return LockedPackage(name=name, version=version, url=None, hashes=(), via=via, index="https://example.org/simple")


@pytest.fixture
def lock() -> Lock:
    swap = LockedAddition(
        kind="patch",
        name="patches[0]",
        chosen="uninstall onnxruntime attrs; install onnxruntime-gpu attrs",
        uninstall=("onnxruntime", "attrs"),
        packages=(package("onnxruntime-gpu", "1.23", "patches[0]"), package("attrs", "25.1", "patches[0]")),
    )
    sage = LockedAddition(
        kind="native",
        name="sageattention",
        chosen="sageattention==1.0.6",
        tried=("a wheel: is not there",),
        packages=(package("sageattention", "1.0.6", "sageattention"), package("einops", "0.8", "sageattention")),
    )
    flash = LockedAddition(kind="native", name="flash-attn", chosen=None, tried=("no wheel",), required=False)
    line = Wish(layer="a-node", file="a-node/requirements.txt", line=2, text="onnxruntime")
    return Lock(
        version_id="t",
        recipe_digest="",
        target="linux-x86_64",
        accelerator=None,
        runtime={"name": "host", "python": "3.12.1"},
        repositories=(),
        packages=(package("onnxruntime", "1.22", "a-node"), package("attrs", "24.0", "a-node")),
        asked=(line,),
        additions=(swap, sage, flash),
    )


def test_package_that_a_patch_brings(lock: Lock) -> None:
    told = explain(lock, "onnxruntime_GPU", where="lock")
    assert told.locked == lock.additions[0].packages[0]
    assert told.rule.startswith("patch: patches[0]")
    assert "    patches[0] > onnxruntime-gpu==1.23\n" in str(told)
    assert "uninstall onnxruntime" in str(told)
    assert "the packager, for every bundle" not in str(told)


def test_package_that_a_patch_takes_out_and_one_it_replaces(lock: Lock) -> None:
    gone = explain(lock, "onnxruntime", where="lock")
    assert gone.locked is None
    assert [wish.line for wish in gone.asked] == [2]
    assert str(gone).startswith("onnxruntime is not installed for linux-x86_64\n")
    assert gone.rule.startswith("patch: patches[0]")
    assert explain(lock, "attrs", where="lock").locked == lock.additions[0].packages[1]


def test_native_package_its_dependency_and_one_that_is_left_out(lock: Lock) -> None:
    assert explain(lock, "einops", where="lock").brought == ("sageattention > sageattention==1.0.6 > einops==0.8",)
    said = str(explain(lock, "sageattention", where="lock"))
    assert "version chosen by: native: sageattention (the first that can be had)" in said
    assert "not a wheel: is not there" in said
    left = explain(lock, "flash-attn", where="lock")
    assert left.rule == "native: flash-attn is left out, since nothing can be had"
    assert left.to_json()["additions"][0]["tried"] == ("no wheel",)


def test_name_that_is_nearly_that_of_an_addition(lock: Lock) -> None:
    with pytest.raises(InputError, match="did you mean einops"):
        explain(lock, "einop", where="lock")
