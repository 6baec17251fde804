"""What a settlement keeps and tells where versions are laid down: extras, every dependent, every line, every round."""

from __future__ import annotations

import io
from collections.abc import Iterator
from pathlib import Path

import pytest
from simple_index import SimpleIndex, serve

from packager.console import Console, Rounds
from packager.errors import FetchError, ResolveError
from packager.resolution.conflicts import Wish
from packager.resolution.settlement import Settled, Settlement
from packager.resolution.solver import Solver
from packager.resolution.special_packages import special_packages

PLATFORM = ("--python-version", "3.11.7", "--python-platform", "x86_64-manylinux_2_28", "--no-python-downloads")


@pytest.fixture
def index(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[SimpleIndex]:
    with serve("pypi") as (pypi,):
        monkeypatch.setenv("UV_DEFAULT_INDEX", pypi.address)
        monkeypatch.setenv("UV_CACHE_DIR", str(tmp_path / "uv-cache"))
        monkeypatch.setenv("UV_HTTP_RETRIES", "0")
        yield pypi


def settle(folder: Path, core: list[str], *, rounds: Rounds | None = None, **nodes: list[str]) -> Settled:
    def wishes(layer: str, texts: list[str]) -> list[Wish]:
        file = f"{layer}/requirements.txt"
        return [Wish(layer=layer, file=file, line=line, text=text) for line, text in enumerate(texts, 1)]

    rounds = rounds or Rounds()
    return Settlement(
        core=wishes("ComfyUI", core),
        nodes=[wish for name, texts in nodes.items() for wish in wishes(name, texts)],
        constraints=[],
        overrides=[],
        solver=Solver(folder=folder / "uv", options=PLATFORM, asked=rounds.advance),
        table=special_packages(),
        target="linux-x86_64",
        accelerator=None,
        rounds=rounds,
    ).run()


def versions(settled: Settled) -> dict[str, str]:
    return {package.name: package.version for package in settled.packages}


def test_extras_that_a_dependency_asks_for_survive_what_is_laid_down(index: SimpleIndex, tmp_path: Path) -> None:
    """`web` asks for base[fast]; the conflict about base lays a version down, and fast-part must come all the same."""
    for version in ("1.0", "2.0"):
        index.add("base", version, requires=["fast-part; extra == 'fast'"], extras=["fast"])
    index.add("fast-part", "1.0")
    index.add("web", "1.0", requires=["base[fast]>=2"])
    settled = settle(tmp_path, ["base==1.0"], node=["web"])
    assert versions(settled) == {"base": "1.0", "fast-part": "1.0", "web": "1.0"}
    assert settled.decisions[0].chosen == "base==1.0"


def test_all_who_wanted_something_are_on_record(index: SimpleIndex, tmp_path: Path) -> None:
    """Three dependents, of which two object, one of them asked for by two nodes; and a line that objects itself."""
    for version in ("1.0", "1.5", "2.0", "3.0"):
        index.add("base", version)
    index.add("content", "1.0", requires=["base"])
    index.add("two", "1.0", requires=["base>=2"])
    index.add("three", "1.0", requires=["base>=3"])
    index.add("between", "1.0", requires=["three"])
    nodes = {"a": ["content", "two"], "b": ["between"], "c": ["three", "base==1.5"]}
    settled = settle(tmp_path, ["base==1.0"], **nodes)
    (decision,) = settled.decisions
    assert decision.rule == "core-wins"
    assert {(wish.layer, wish.line, wish.text, wish.through) for wish in decision.overruled} == {
        ("c", 2, "base==1.5", ()),
        ("a", 2, "base>=2", ("two==1.0",)),
        ("b", 1, "base>=3", ("between==1.0", "three==1.0")),
        ("c", 1, "base>=3", ("three==1.0",)),
    }
    heeded = [wish for wish in decision.wants if wish not in decision.overruled]
    assert [(wish.layer, wish.text, wish.through) for wish in heeded] == [
        ("ComfyUI", "base==1.0", ()),
        ("a", "base", ("content==1.0",)),
    ]
    assert decision.override == "overrides: ['base==1.5'] or ['base>=3'] or ['base>=2']"


def test_every_line_behind_a_replaced_package_is_named(index: SimpleIndex, tmp_path: Path) -> None:
    for name in ("opencv-python", "opencv-python-headless"):
        index.add(name, "4.0")
    index.add("draw", "1.0", requires=["opencv-python"])
    settled = settle(tmp_path, [], a=["draw"], b=["draw"])
    assert versions(settled) == {"draw": "1.0", "opencv-python-headless": "4.0"}
    assert [wish.layer for wish in settled.decisions[0].overruled] == ["a", "b"]


def test_an_address_that_cannot_be_had_is_named_by_its_line(index: SimpleIndex, tmp_path: Path) -> None:
    index.add("six", "1.0")
    for place, said in ((f"{index.url}/none", "404"), ("http://127.0.0.1:1", "Connection refused")):
        with pytest.raises(FetchError) as caught:
            settle(tmp_path, ["six"], node=["six", f"lost @ {place}/lost-1.0-py3-none-any.whl"])
        assert caught.value.exit_code == 3
        assert caught.value.where == "node"
        assert f"node wants 'lost @ {place}/lost-1.0-py3-none-any.whl' (node/requirements.txt:2)" in caught.value.what
        assert said in caught.value.what
        assert "six" not in caught.value.what


def test_a_repository_that_cannot_be_had_is_named_by_its_line(index: SimpleIndex, tmp_path: Path) -> None:
    index.add("six", "1.0")
    with pytest.raises(FetchError, match=r"\(node/requirements.txt:2\)") as caught:
        settle(tmp_path, [], node=["six", f"tool @ git+{index.url}/tool@main"])
    assert caught.value.exit_code == 3


def test_a_dependency_on_an_address_is_no_solution_and_named_by_the_line(index: SimpleIndex, tmp_path: Path) -> None:
    index.add("six", "1.0")
    index.add("bar", "1.0", requires=[f"foo @ {index.url}/foo-1.0-py3-none-any.whl"])
    with pytest.raises(ResolveError, match=r"node wants 'bar' \(node/requirements.txt:2\)") as caught:
        settle(tmp_path, [], node=["six", "bar"])
    assert caught.value.exit_code == 4


def test_an_indirect_contradiction_of_one_layer_names_both_lines(index: SimpleIndex, tmp_path: Path) -> None:
    """Through two packages deep on one side, one on the other; the third line has no part in it."""
    for version in ("1.0", "2.0"):
        index.add("base", version)
    index.add("old", "1.0", requires=["base<2"])
    index.add("new", "1.0", requires=["base>=2"])
    index.add("shell", "1.0", requires=["new"])
    index.add("six", "1.0")
    with pytest.raises(ResolveError) as caught:
        settle(tmp_path, ["six"], node=["old", "six", "shell"])
    assert caught.value.exit_code == 4
    assert caught.value.where == "node"
    assert "node wants 'old' (node/requirements.txt:1)" in caught.value.what
    assert "node wants 'shell' (node/requirements.txt:3)" in caught.value.what
    assert "six" not in caught.value.what


def test_each_round_is_shown_and_each_question_counted(index: SimpleIndex, tmp_path: Path) -> None:
    for version in ("1.0", "2.0"):
        index.add("base", version)
    index.add("new", "1.0", requires=["base>=2"])
    begun: list[str] = []
    asked: list[int] = []
    rounds = Rounds(begin=begun.append, advance=lambda: asked.append(1))
    settle(tmp_path, ["base==1.0"], rounds=rounds, a=["new"], b=["base"])
    assert [text.partition(",")[0] for text in begun] == [
        "settling: looking for lines that contradict each other",
        "settling: resolving ComfyUI and 2 nodes each alone",
        "settling: looking for the fewest versions to lay down",
        "settling: who else asks for base",
    ]
    assert len(asked) > 4


@pytest.mark.parametrize(("quiet", "lines"), [(False, ["    one", "    two"]), (True, [])])
def test_rounds_are_one_line_each_without_a_terminal(quiet: bool, lines: list[str]) -> None:
    stream = io.StringIO()
    with Console(quiet=quiet, stream=stream).rounds("zero", unit="questions") as rounds:
        rounds.advance()
        rounds.begin("one")
        rounds.advance()
        rounds.begin("two")
    assert stream.getvalue().splitlines() == lines


def test_rounds_on_a_terminal_are_one_line_that_counts_and_goes() -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    stream = Terminal()
    with Console(stream=stream).rounds("zero", unit="questions") as rounds:
        rounds.begin("one")
        rounds.advance()
        rounds.begin("two")
    said = stream.getvalue()
    assert "zero: 0 questions" in said
    assert "two: 1 questions" in said
    assert "\n" not in said
    assert said.split("\r")[-1].strip() == ""
