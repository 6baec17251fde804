"""The wheel matrix: which candidates fit, and what becomes of them when they are tried."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from local_indexes import Indexes

from packager import targets
from packager.additions import Means, install_native
from packager.bundle import BundleTree
from packager.distributions import installed
from packager.errors import DocumentError, ResolveError
from packager.recipe import load_recipe
from packager.wheel_matrix import Candidate, NativePackage, NativePlan, Surroundings, plan_native

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


def test_first_that_works_is_taken_and_the_others_are_told(means: Means, tree: BundleTree, indexes: Indexes) -> None:
    """A wheel that is gone, one for another platform, one that is no zip, one against the lock; then one that fits."""
    indexes.add("pypi", "sageattention", "1.0.6")
    means.constraints.write_text("torch==2.11.0+cu128\n")
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
    (done,) = install_native([plan], means)
    assert done.chosen == plan.candidates[4].what
    assert done.wheel is not None
    assert done.wheel.url == plan.candidates[4].what
    assert len(done.wheel.sha256) == 64
    assert [failure.split(": ")[0] for failure in done.failed] == [str(one) for one in plan.candidates[:4]]
    assert done.changes == {"sageattention": ("", "1.0.6")}
    assert installed(tree.site_packages) == {"sageattention": "1.0.6"}
    assert means.console.warnings == []


def test_optional_package_that_cannot_be_had_is_a_warning_and_a_required_one_an_end(
    means: Means, indexes: Indexes
) -> None:
    gone = (Candidate(kind="requirement", what="sageattention==1.0.6"),)
    (done,) = install_native([NativePlan(package=SAGE, candidates=gone)], means)
    assert done.chosen is None
    assert "sageattention is left out" in means.console.warnings[0]
    assert "sageattention==1.0.6" in done.failed[0]
    required = NativePackage(name="sageattention", required=True)
    for candidates in (gone, ()):
        with pytest.raises(ResolveError, match="native_packages sageattention: is required"):
            install_native([NativePlan(package=required, candidates=candidates)], means)


def test_source_is_built_with_what_is_installed(means: Means, tree: BundleTree, indexes: Indexes) -> None:
    """Without `source` an sdist isn't built: nothing of it runs on the author's machine."""
    (indexes.folder / "pypi" / "evil").mkdir(parents=True)
    (indexes.folder / "pypi" / "evil" / "evil-1.0.tar.gz").write_bytes(b"")
    (indexes.folder / "pypi" / "evil" / "index.html").write_text('<a href="evil-1.0.tar.gz">evil-1.0.tar.gz</a>')
    plan = NativePlan(package=SAGE, candidates=(Candidate(kind="requirement", what="evil"),))
    (done,) = install_native([plan], means)
    assert "no usable wheels" in done.failed[0]


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
