"""Conflicts of real packages, resolved by the real uv from the package index."""

from __future__ import annotations

import subprocess
import tarfile
from collections.abc import Sequence
from pathlib import Path

import pytest

from packager.errors import FetchError, ResolveError
from packager.resolution.conflicts import Decision, Wish
from packager.resolution.settlement import PYTHON_PACKAGES, Settled, Settlement
from packager.resolution.solver import Solver, spoken_requirement
from packager.resolution.special_packages import special_packages

PLATFORM = ("--python-version", "3.11.7", "--python-platform", "x86_64-manylinux_2_28", "--no-python-downloads")


def wishes(layer: str, *texts: str) -> list[Wish]:
    return [
        Wish(layer=layer, file=f"{layer}/requirements.txt", line=number, text=text)
        for number, text in enumerate(texts, 1)
    ]


def settle(
    folder: Path,
    core: Sequence[str],
    *,
    accelerator: str | None = None,
    constraints: Sequence[str] = (),
    overrides: Sequence[str] = (),
    packages: Sequence[str] = (),
    preferred: Sequence[str] = (),
    options: Sequence[str] = (),
    **nodes: Sequence[str],
) -> Settled:
    return Settlement(
        core=[*wishes("ComfyUI", *core), *wishes(PYTHON_PACKAGES, *packages)],
        nodes=[wish for name, texts in nodes.items() for wish in wishes(name, *texts)],
        constraints=wishes("constraints", *constraints),
        overrides=wishes("overrides", *overrides),
        solver=Solver(
            folder=folder / "uv",
            options=(*PLATFORM, *options),
            constraints=tuple(constraints),
            overrides=tuple(overrides),
            preferred=tuple(preferred),
        ),
        table=special_packages(),
        target="linux-x86_64",
        accelerator=accelerator,
    ).run()


def versions(settled: Settled) -> dict[str, str]:
    return {package.name: package.version for package in settled.packages}


def decision(settled: Settled, package: str) -> Decision:
    (found,) = [item for item in settled.decisions if item.package == package]
    return found


def test_without_conflict_nothing_is_decided(tmp_path: Path) -> None:
    settled = settle(tmp_path, ["click>=8"], one=["click<8.2"], two=["click!=8.1.0"])
    assert settled.decisions == ()
    assert versions(settled)["click"].startswith("8.1.")
    assert settled.packages[0].hashes
    assert settled.packages[0].index


def test_core_wins_over_a_node(tmp_path: Path) -> None:
    settled = settle(tmp_path, ["click>=8.1"], old=["itsdangerous", "click==7.0"])
    found = decision(settled, "click")
    assert found.rule == "core-wins"
    assert found.chosen == f"click=={versions(settled)['click']}"
    assert [(wish.layer, wish.line) for wish in found.overruled] == [("old", 2)]
    assert found.override == "overrides: ['click==7.0']"


def test_both_rules_are_named_where_both_were_at_work(tmp_path: Path) -> None:
    settled = settle(tmp_path, ["click>=8"], a=["click==7.0"], b=["click==8.0.0"], c=["click==8.1.0"])
    assert decision(settled, "click").rule == "core-wins and newest-wins"


def test_the_newest_node_wins_whatever_the_order(tmp_path: Path) -> None:
    one = settle(tmp_path, [], a=["click==8.0.0"], b=["click==8.1.0"], c=["click<8.1"])
    other = settle(tmp_path, [], c=["click<8.1"], b=["click==8.1.0"], a=["click==8.0.0"])
    assert versions(one) == versions(other) == {"click": "8.1.0"}
    assert {wish.layer for wish in decision(one, "click").overruled} == {"a", "c"}
    assert decision(one, "click").rule == "newest-wins"


def test_a_dependency_that_contradicts_core_gives_way(tmp_path: Path) -> None:
    """flask 3 needs click>=8.1.3, which no line says: the decision names the chain down to the node's line."""
    settled = settle(tmp_path, ["click==8.0.4"], web=["itsdangerous", "flask==3.0.0"])
    assert versions(settled)["click"] == "8.0.4"
    assert versions(settled)["flask"] == "3.0.0"
    found = decision(settled, "click")
    (overruled,) = found.overruled
    assert found.rule == "core-wins"
    assert overruled.through == ("flask==3.0.0",)
    assert (overruled.file, overruled.line) == ("web/requirements.txt", 2)
    assert overruled.text.startswith("click")


def test_dependencies_of_two_nodes_are_settled_by_the_newest(tmp_path: Path) -> None:
    settled = settle(tmp_path, [], old=["flask==1.1.4"], new=["jinja2>=3.1"])
    assert versions(settled)["jinja2"].startswith("3.")
    assert decision(settled, "jinja2").rule == "newest-wins"
    assert decision(settled, "jinja2").overruled[0].through == ("flask==1.1.4",)


def test_no_more_is_laid_down_than_must_be(tmp_path: Path) -> None:
    """`a` alone would get a newer idna than `b` asks for; the conflict about click is no reason to overrule `b`."""
    settled = settle(tmp_path, ["click==8.0.4"], a=["flask==3.0.0", "requests"], b=["idna==3.4"])
    assert versions(settled)["idna"] == "3.4"
    assert [item.package for item in settled.decisions] == ["click"]


def test_constraints_go_before_nodes(tmp_path: Path) -> None:
    settled = settle(tmp_path, [], constraints=["click<8.1"], one=["click>=8.1"], two=["flask==3.0.0"])
    assert versions(settled)["click"] == "8.0.4"
    assert {wish.layer for wish in decision(settled, "click").overruled} == {"one", "two"}


def test_an_override_of_the_recipe_is_on_record(tmp_path: Path) -> None:
    settled = settle(tmp_path, ["click>=8.1"], overrides=["click==7.1.2"])
    assert versions(settled) == {"click": "7.1.2"}
    assert decision(settled, "click").rule == "recipe"


@pytest.mark.parametrize(
    ("core", "nodes", "named"),
    [
        (["click==8.0.0", "click==8.1.0"], {}, ["ComfyUI/requirements.txt:1", "ComfyUI/requirements.txt:2"]),
        ([], {"node": ["idna", "click==99.0"]}, ["node/requirements.txt:2"]),
        (["click==8.0.4", "flask==3.0.0"], {}, ["ComfyUI/requirements.txt:1", "ComfyUI/requirements.txt:2"]),
        ([], {"node": ["idna", "no-such-package-of-anybody-1"]}, ["node/requirements.txt:2"]),
    ],
)
def test_what_cannot_be_settled_names_its_lines(
    tmp_path: Path, core: list[str], nodes: dict[str, list[str]], named: list[str]
) -> None:
    """Core against itself in lines and in dependencies, a version and a package that do not exist."""
    with pytest.raises(ResolveError) as caught:
        settle(tmp_path, core, **nodes)
    assert caught.value.exit_code == 4
    assert [line for line in named if line in str(caught.value)] == named
    assert "idna" not in str(caught.value)


def test_torch_is_core_s_and_comfy_is_dropped(tmp_path: Path) -> None:
    """`torchsde` alone stands for the family here: it needs no gigabytes to resolve."""
    settled = settle(tmp_path, ["torch==2.5.0"], node=["comfy", "torch==2.1.0", "idna"])
    assert versions(settled)["torch"] == "2.5.0"
    assert decision(settled, "torch").rule == "special: torch"
    assert decision(settled, "comfy").rule == "special: drop"
    assert "comfy" not in versions(settled)


def test_one_opencv_is_left_and_the_recipe_may_name_it(tmp_path: Path) -> None:
    nodes = {"a": ["opencv-python>=4.8"], "b": ["opencv-python-headless"]}
    settled = settle(tmp_path, ["numpy"], **nodes)
    assert [name for name in versions(settled) if name.startswith("opencv")] == ["opencv-python-headless"]
    assert decision(settled, "opencv").overruled[0].layer == "a"
    settled = settle(tmp_path, ["numpy"], packages=["opencv-python"], **nodes)
    assert [name for name in versions(settled) if name.startswith("opencv")] == ["opencv-python"]
    assert decision(settled, "opencv").rule == "recipe"


def test_an_opencv_brought_by_a_dependency_is_replaced(tmp_path: Path) -> None:
    settled = settle(tmp_path, ["numpy"], node=["imgaug==0.4.0"])
    assert [name for name in versions(settled) if name.startswith("opencv")] == ["opencv-python-headless"]
    assert decision(settled, "opencv").wants[0].through == ("imgaug==0.4.0",)


@pytest.mark.parametrize(
    ("accelerator", "target", "asked", "chosen"),
    [
        (None, "linux-x86_64", {"onnxruntime", "onnxruntime-gpu"}, "onnxruntime-gpu"),
        ("cpu", "linux-x86_64", {"onnxruntime", "onnxruntime-gpu"}, "onnxruntime"),
        ("cu128", "windows-x86_64", {"onnxruntime-gpu"}, "onnxruntime-gpu"),
        (None, "macos-arm64", {"onnxruntime-gpu"}, "onnxruntime"),
        (None, "linux-x86_64", {"onnxruntime"}, "onnxruntime"),
    ],
)
def test_onnxruntime_follows_target_and_accelerator(
    accelerator: str | None, target: str, asked: set[str], chosen: str
) -> None:
    group = next(row for row in special_packages().one_of if row.name == "onnxruntime")
    assert group.choose(asked, target=target, accelerator=accelerator) == chosen


def test_an_older_lock_is_kept_where_it_can_be(tmp_path: Path) -> None:
    preferred = ["click==8.0.0", "idna==3.3"]
    kept = settle(tmp_path, ["click", "idna>=3.4"], preferred=preferred)
    assert versions(kept)["click"] == "8.0.0"
    assert versions(kept)["idna"] != "3.3"


def test_uv_is_understood_or_let_be() -> None:
    said = "Because flask==3.0.0 depends on click>=8.1.3 and\n  you require click==8.0.4, we can conclude"
    assert spoken_requirement(said, "flask", "click") == "click>=8.1.3"
    assert spoken_requirement("something else", "flask", "click") is None


def test_a_git_requirement_is_pinned_to_its_commit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tool = tmp_path / "tool"
    tool.mkdir()
    (tool / "pyproject.toml").write_text('[project]\nname = "tool"\nversion = "1.0"\ndependencies = []\n')

    def git(*words: str) -> str:
        identity = ("-c", "user.name=a", "-c", "user.email=a@example.org")
        done = subprocess.run(["git", "-C", tool, *identity, *words], check=True, capture_output=True, text=True)
        return done.stdout.strip()

    git("init", "--quiet", "--initial-branch", "main")
    git("add", ".")
    git("commit", "--quiet", "--message", "one")
    monkeypatch.setenv("GIT_CONFIG_COUNT", "1")
    monkeypatch.setenv("GIT_CONFIG_KEY_0", f"url.file://{tool}.insteadOf")
    monkeypatch.setenv("GIT_CONFIG_VALUE_0", "https://git.example.org/tool")
    monkeypatch.setenv("UV_CACHE_DIR", str(tmp_path / "cache"))
    settled = settle(tmp_path, [], node=["tool @ git+https://git.example.org/tool@main"])
    (package,) = settled.packages
    assert package.url == f"git+https://git.example.org/tool@{git('rev-parse', 'HEAD')}"
    assert package.index is None
    assert settled.decisions == ()
    git("tag", "old")
    (tool / "more.py").write_text("")
    git("add", ".")
    git("commit", "--quiet", "--message", "two")
    old, new = "tool @ git+https://git.example.org/tool@old", "tool @ git+https://git.example.org/tool@main"
    settled = settle(tmp_path, [old], node=[new])
    assert settled.packages[0].url == f"git+https://git.example.org/tool@{git('rev-parse', 'old')}"
    assert decision(settled, "tool").rule == "core-wins"
    with pytest.raises(ResolveError) as caught:
        settle(tmp_path, [], one=[old], two=[new])
    assert "one/requirements.txt:1" in str(caught.value)
    assert "two/requirements.txt:1" in str(caught.value)
    with pytest.raises(ResolveError, match=r"node wants 'toool @ .*node/requirements.txt:1") as misnamed:
        settle(tmp_path, [], node=["toool @ git+https://git.example.org/tool@main"])
    assert "Package metadata name `tool` does not match given name `toool`" in misnamed.value.what
    with pytest.raises(FetchError, match=r"(?s)node wants 'tool @ .*node/requirements.txt:1.*never-there") as unknown:
        settle(tmp_path, [], node=["tool @ git+https://git.example.org/tool@never-there"])
    assert unknown.value.where == "node"


def test_a_package_that_does_not_build_is_named_by_its_line(tmp_path: Path) -> None:
    """A source distribution whose build fails stands in for those that need a compiler or a GPU."""
    source = tmp_path / "broken-1.0"
    source.mkdir()
    (source / "setup.py").write_text("raise SystemExit('needs a GPU')\n")
    with tarfile.open(tmp_path / "broken-1.0.tar.gz", "w:gz") as archive:
        archive.add(source, "broken-1.0")
    with pytest.raises(ResolveError) as caught:
        settle(tmp_path, ["idna"], options=("--find-links", str(tmp_path)), node=["click", "broken"])
    assert "node/requirements.txt:2" in str(caught.value)
    assert "click" not in str(caught.value)
    assert "needs a GPU" in str(caught.value)
