"""The wheel matrix: which candidates fit, and what becomes of them when they are tried."""

from __future__ import annotations

import dataclasses
import io
import json
import os
import shutil
import tarfile
from hashlib import sha256
from pathlib import Path

import pytest
import setuptools
import yaml
from local_indexes import Indexes

from packager import targets
from packager.additions import Means, install_native
from packager.bundle import BundleTree
from packager.cleanup import load_rules
from packager.distributions import installed
from packager.errors import DocumentError, MismatchError, ResolveError
from packager.lock import LockedPackage
from packager.recipe import load_recipe
from packager.resolution import wheel_matrix
from packager.resolution.settle_additions import Looking
from packager.resolution.wheel_matrix import Candidate, NativePackage, NativePlan, Surroundings, plan_native

SAGE = NativePackage(name="sageattention")


def around(torch: str | None = "2.11.0", *, target: str = "windows-x86_64", python: str = "3.12.4") -> Surroundings:
    """`torch` is as its version says: 2.9.1+cu128."""
    version, _, label = (torch or "").partition("+")
    index = f"https://example.org/{label}"
    return Surroundings(
        torch=version or None, label=label or None, index=index, python=python, target=targets.get(target)
    )


def tried(name: str, place: Surroundings, *, source: bool = False) -> list[str]:
    (plan,) = plan_native([NativePackage(name=name, source=source)], place)
    return [str(candidate).rsplit("/", 1)[-1] for candidate in plan.candidates]


@pytest.mark.parametrize(
    ("torch", "first"),
    [
        ("2.11.0+cu130", "sageattention-2.2.0+cu130torch2.9.0andhigher.post4-cp39-abi3-win_amd64.whl"),
        ("2.9.1+cu128", "sageattention-2.2.0+cu128torch2.9.0andhigher.post4-cp39-abi3-win_amd64.whl"),
        ("2.9.1+cu129", "sageattention-2.2.0+cu128torch2.9.0andhigher.post4-cp39-abi3-win_amd64.whl"),  # edge tag
        ("2.8.0+cu128", "sageattention-2.2.0+cu128torch2.8.0.post3-cp39-abi3-win_amd64.whl"),
        ("2.7.1+cu128", "sageattention-2.2.0+cu128torch2.7.1.post3-cp39-abi3-win_amd64.whl"),
        ("2.6.0+cu126", "sageattention-2.2.0+cu126torch2.6.0.post3-cp39-abi3-win_amd64.whl"),
        ("2.5.1+cu124", "sageattention-2.2.0+cu124torch2.5.1.post3-cp39-abi3-win_amd64.whl"),
        ("2.8.0+cu126", "sageattention==1.0.6"),
    ],
)
def test_most_exact_wheel_comes_first(torch: str, first: str) -> None:
    assert tried("sageattention", around(torch))[0] == first
    assert tried("sageattention", around(torch))[-1] == "sageattention==1.0.6"


@pytest.mark.parametrize("torch", ["2.11.0+cpu", "2.11.0+rocm7.2", None])
def test_nothing_for_cuda_without_cuda(torch: str | None) -> None:
    for name in ("sageattention", "triton", "xformers", "flash-attn"):
        assert tried(name, around(torch, target="linux-x86_64"), source=True) == []


def test_source_only_if_the_recipe_allows_it() -> None:
    place = around("2.11.0+cu128", target="linux-x86_64")
    assert tried("flash-attn", place) == []
    assert tried("flash-attn", place, source=True) == ["build flash-attn==2.8.3"]


@pytest.mark.parametrize(
    ("torch", "spec"),
    [("2.8.0", "triton-windows<3.5"), ("2.9.1", "triton-windows>=3.5,<3.6"), ("2.11.0", "triton-windows>=3.6,<3.7")],
)
def test_triton_for_windows_follows_torch(torch: str, spec: str) -> None:
    assert tried("triton", around(f"{torch}+cu128")) == [spec]
    assert tried("triton", around(f"{torch}+cu128", target="linux-x86_64")) == ["triton"]


def test_wheel_of_the_python_and_index_of_the_accelerator() -> None:
    assert tried("insightface", around(None, python="3.11.7"))[0] == "insightface-0.7.3-cp311-cp311-win_amd64.whl"
    assert tried("insightface", around(None, python="3.14.0"))[0] == "insightface"
    assert tried("xformers", around("2.11.0+cu128")) == ["cu128"]  # "xformers from https://example.org/cu128"


def test_first_that_can_be_had_is_locked_with_its_hash_and_the_others_are_told(
    looking: Looking, means: Means, tree: BundleTree, indexes: Indexes
) -> None:
    """A wheel that is gone, one for another platform, one that is no zip, one against the lock; then one that fits."""
    fitting = indexes.add("pypi", "sageattention", "1.0.6")
    foreign = indexes.add("pypi", "sageattention", "2.0")
    elsewhere = foreign.with_name("sageattention-2.0-cp39-abi3-win_arm64.whl")
    foreign.rename(elsewhere)
    broken = elsewhere.with_name("sageattention-2.1-py3-none-any.whl")
    broken.write_bytes(b"<html>404</html>")
    indexes.add("cu128", "sageattention", "3.0", requires=["torch==2.12.0"])
    plan = NativePlan(
        package=SAGE,
        candidates=(
            Candidate(kind="wheel", what=indexes.wheel("pypi", "sageattention", "9.9")),
            Candidate(kind="wheel", what=f"{indexes.url}/pypi/sageattention/{elsewhere.name}"),
            Candidate(kind="wheel", what=f"{indexes.url}/pypi/sageattention/{broken.name}"),
            Candidate(kind="requirement", what="sageattention==3.0", index=indexes.index("cu128")),
            Candidate(kind="wheel", what=indexes.wheel("pypi", "sageattention", "1.0.6")),
            Candidate(kind="requirement", what="never-tried"),
        ),
    )
    locked = looking.native(plan, {"torch": package("torch", "2.11.0+cu128", index=indexes.index("cu128"))})
    assert locked.chosen == plan.candidates[4].what
    (only,) = locked.packages
    assert (only.url, only.version) == (plan.candidates[4].what, "1.0.6")
    assert only.hashes == (f"sha256:{sha256(fitting.read_bytes()).hexdigest()}",)
    assert [failure.split(": ")[0] for failure in locked.tried] == [str(one) for one in plan.candidates[:4]]
    assert "incompatible with the current platform" in locked.tried[1]
    (done,) = install_native([locked], means)
    assert (done.chosen, done.failed) == (locked.chosen, locked.tried)
    assert done.changes == {"sageattention": ("", "1.0.6")}
    assert installed(tree.site_packages) == {"sageattention": "1.0.6"}
    assert means.console.warnings == []


@pytest.mark.parametrize("required", [False, True])
def test_other_bytes_than_locked_end_the_build_even_of_an_optional_package(
    looking: Looking, means: Means, tree: BundleTree, indexes: Indexes, required: bool
) -> None:
    """From its address as from an index."""
    indexes.add("pypi", "sageattention", "1.0.6")
    wheel = Candidate(kind="wheel", what=indexes.wheel("pypi", "sageattention", "1.0.6"))
    wish = NativePackage(name="sageattention", required=required)
    for candidate in (wheel, Candidate(kind="requirement", what="sageattention")):
        locked = looking.native(NativePlan(package=wish, candidates=(candidate,)), {})
        indexes.add("pypi", "sageattention", "1.0.6", evil__py="import os")
        means.origins.cache.clear()
        with pytest.raises(MismatchError):
            install_native([locked], means)
        assert installed(tree.site_packages) == {}
        indexes.add("pypi", "sageattention", "1.0.6")
        shutil.rmtree(os.environ["UV_CACHE_DIR"])


def test_what_the_matrix_says_of_a_wheel_is_checked_when_it_is_locked(looking: Looking, indexes: Indexes) -> None:
    indexes.add("pypi", "sageattention", "1.0.6")
    what = indexes.wheel("pypi", "sageattention", "1.0.6")
    plan = NativePlan(package=SAGE, candidates=(Candidate(kind="wheel", what=what, sha256="0" * 64),))
    locked = looking.native(plan, {})
    assert locked.chosen is None
    assert "sha256" in locked.tried[0]


def test_lock_made_anew_keeps_the_bytes_it_knew(looking: Looking, indexes: Indexes) -> None:
    indexes.add("pypi", "sageattention", "1.0.6")
    what = indexes.wheel("pypi", "sageattention", "1.0.6")
    plan = NativePlan(package=SAGE, candidates=(Candidate(kind="wheel", what=what),))
    first = looking.native(plan, {})
    indexes.add("pypi", "sageattention", "1.0.6", evil__py="import os")
    looking.origins.cache.clear()
    again = dataclasses.replace(looking, previous=(first,), folder=looking.folder / "again").native(plan, {})
    assert again.chosen is None
    assert "sha256" in again.tried[0]


def test_candidate_that_was_locked_stays_until_it_is_upgraded(looking: Looking, indexes: Indexes) -> None:
    """What could not be had then can be had now."""
    indexes.add("pypi", "sageattention", "1.0.6")
    better = Candidate(kind="requirement", what="sageattention>=2")
    plan = NativePlan(package=SAGE, candidates=(better, Candidate(kind="requirement", what="sageattention==1.0.6")))
    first = looking.native(plan, {})
    indexes.add("pypi", "sageattention", "2.2")
    shutil.rmtree(os.environ["UV_CACHE_DIR"])  # it believes an index's page for a while
    later = dataclasses.replace(looking, previous=(first,))
    assert later.native(plan, {}) == first
    upgraded = dataclasses.replace(later, upgrade=frozenset({"sageattention"})).native(plan, {})
    assert [item.pin for item in upgraded.packages] == ["sageattention==2.2"]
    gone = dataclasses.replace(plan, candidates=(better,))
    assert [item.pin for item in later.native(gone, {}).packages] == ["sageattention==2.2"]


def test_dependencies_are_locked_with_it(looking: Looking, means: Means, tree: BundleTree, indexes: Indexes) -> None:
    """What is there stays as it is; what is new comes in with version and hashes."""
    indexes.add("pypi", "einops", "0.8")
    indexes.add("pypi", "filelock", "3.21")
    indexes.add("pypi", "sageattention", "1.0.6", requires=["einops", "filelock"])
    plan = NativePlan(package=SAGE, candidates=(Candidate(kind="requirement", what="sageattention"),))
    locked = looking.native(plan, {"filelock": package("filelock", "3.20", index=indexes.index("pypi"))})
    assert {(item.name, item.version, len(item.hashes)) for item in locked.packages} == {
        ("einops", "0.8", 1),
        ("sageattention", "1.0.6", 1),
    }
    indexes.add("pypi", "einops", "0.9")  # newer, and not what was locked
    install_native([locked], means)
    assert installed(tree.site_packages) == {"einops": "0.8", "sageattention": "1.0.6"}


def test_optional_package_that_cannot_be_had_is_a_warning_and_a_required_one_an_end(
    looking: Looking, means: Means, tree: BundleTree, indexes: Indexes
) -> None:
    gone = (Candidate(kind="requirement", what="sageattention==1.0.6"),)
    locked = looking.native(NativePlan(package=SAGE, candidates=gone), {})
    assert locked.chosen is None
    assert "sageattention is left out" in looking.console.warnings[0]
    assert "sageattention==1.0.6" in locked.tried[0]
    required = NativePackage(name="sageattention", required=True)
    for candidates in (gone, ()):
        with pytest.raises(ResolveError, match="native_packages sageattention: is required"):
            looking.native(NativePlan(package=required, candidates=candidates), {})


def test_what_is_gone_at_the_build_is_a_warning_or_an_end_and_leaves_nothing(
    looking: Looking, means: Means, tree: BundleTree, indexes: Indexes
) -> None:
    indexes.add("pypi", "einops", "0.8")
    indexes.add("cu128", "sageattention", "1.0.6", requires=["einops"])
    what = Candidate(kind="requirement", what="sageattention", index=indexes.index("cu128"))
    locked = looking.native(NativePlan(package=SAGE, candidates=(what,)), {})
    shutil.rmtree(indexes.folder / "cu128" / "sageattention")
    shutil.rmtree(os.environ["UV_CACHE_DIR"])
    (done,) = install_native([locked], means)
    assert done.chosen is None
    assert any("sageattention is left out" in warning for warning in means.console.warnings)
    assert installed(tree.site_packages) == {}
    with pytest.raises(ResolveError, match="is required and cannot be installed"):
        install_native([dataclasses.replace(locked, required=True)], means)


def test_nothing_is_built_where_the_recipe_does_not_allow_it(looking: Looking, indexes: Indexes) -> None:
    """Without `source` an sdist isn't built: nothing of it runs on the author's machine."""
    write_sdist(indexes, "evil", "raise SystemExit('it ran')")
    plan = NativePlan(package=SAGE, candidates=(Candidate(kind="requirement", what="evil"),))
    locked = looking.native(plan, {})
    assert locked.chosen is None
    assert "no usable wheels" in locked.tried[0]
    assert "it ran" not in locked.tried[0]


def test_source_is_locked_unbuilt_and_built_with_what_is_installed(
    looking: Looking, means: Means, tree: BundleTree, indexes: Indexes
) -> None:
    """Its setup.py imports torch, as flash-attn's does: it can only be built in the tree."""
    write_sdist(indexes, "needstorch", "import torch\nfrom setuptools import setup\nsetup(py_modules=['needstorch'])")
    indexes.add("pypi", "einops", "0.8")
    source = Candidate(kind="source", what="needstorch==1.0", requires=("einops", "torch"))
    plan = NativePlan(package=NativePackage(name="needstorch", source=True), candidates=(source,))
    looking = dataclasses.replace(looking, options=("--index", indexes.index("cu128")))
    there = [package("torch", "2.11.0+cu128", index=indexes.index("cu128"))]
    there.append(package("filelock", "3.20", index=indexes.index("pypi")))
    locked = looking.native(plan, {item.name: item for item in there})
    assert locked.source
    assert {item.pin for item in locked.packages} == {"needstorch==1.0", "einops==0.8"}
    (failed,) = install_native([locked], means)  # no torch, no setuptools
    assert failed.chosen is None
    assert installed(tree.site_packages) == {}
    own = Path(setuptools.__file__).parents[1]
    for folder in [
        *own.glob("setuptools*"),
        *own.glob("_distutils_hack*"),
        *own.glob("wheel*"),
        *own.glob("packaging*"),
    ]:
        shutil.copytree(folder, tree.site_packages / folder.name)
    (tree.site_packages / "torch.py").write_text("")
    (done,) = install_native([locked], means)
    assert done.changes == {"needstorch": ("", "1.0"), "einops": ("", "0.8")}


def package(name: str, version: str, *, index: str) -> LockedPackage:
    return LockedPackage(name=name, version=version, url=None, hashes=(), via=(), index=index)


def write_sdist(indexes: Indexes, name: str, setup: str) -> None:
    folder = indexes.folder / "pypi" / name
    folder.mkdir(parents=True)
    files = {
        "PKG-INFO": f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n",
        "setup.cfg": f"[metadata]\nname = {name}\nversion = 1.0\n",
        "setup.py": setup,
        f"{name}.py": "",
    }
    with tarfile.open(folder / f"{name}-1.0.tar.gz", "w:gz") as tar:
        for member, text in files.items():
            info = tarfile.TarInfo(f"{name}-1.0/{member}")
            info.size = len(text)
            tar.addfile(info, io.BytesIO(text.encode()))
    (folder / "index.html").write_text(f'<a href="{name}-1.0.tar.gz">{name}-1.0.tar.gz</a>')


@pytest.mark.parametrize(
    ("value", "what"),
    [
        ([{"name": "bitcoin-miner"}], "the wheel matrix has no 'bitcoin-miner'"),
        ([{"name": "xformers"}, {"name": "xformers"}], "there twice"),
        ([{"name": "../xformers"}], "not of the right form"),
        ([{"name": "xformers", "url": "https://example.org"}], "unknown field"),
        ([{"name": "xformers", "required": "yes"}], "true or false"),
        (["xformers"], "a mapping"),
    ],
)
def test_faulty_wish_is_refused(tmp_path: Path, value: object, what: str) -> None:
    path = tmp_path / "recipe.json"
    document = {"schema_version": 2, "version_id": "t", "comfy": {"repo": "https://example.org/c"}}
    path.write_text(json.dumps({**document, "native_packages": value}))
    with pytest.raises(DocumentError, match=what):
        load_recipe(path)


@pytest.mark.parametrize("name", ["triton", "sageattention"])
def test_recipe_cannot_give_up_what_its_package_compiles_with(tmp_path: Path, name: str) -> None:
    path = tmp_path / "recipe.json"
    document = {"schema_version": 2, "version_id": "t", "comfy": {"repo": "https://example.org/c"}}
    path.write_text(json.dumps({**document, "native_packages": [{"name": name}], "cleanup": {"opt_in": ["no-jit"]}}))
    with pytest.raises(DocumentError, match=f"'no-jit' removes what {name} compiles with"):
        load_recipe(path)
    path.write_text(
        json.dumps({**document, "native_packages": [{"name": "insightface"}], "cleanup": {"opt_in": ["no-jit"]}})
    )
    load_recipe(path)


def test_matrix_names_rules_that_there_are() -> None:
    known = {rule.id for rule in load_rules().rules}
    matrix = yaml.safe_load(Path(wheel_matrix.__file__).with_name("wheel_matrix.yml").read_text())
    for package in matrix["packages"].values():
        assert set(package.get("not_with", ())) <= known
