"""The rules: core wins, the newest node wins, what cannot be settled says so. The index is a list of versions here."""

from __future__ import annotations

import random
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st
from packaging.version import Version

from packager.resolution.conflicts import Decision, UnsettledError, Wish, bare, faulty, minimal, settle

INDEX = [Version(text) for text in ("0.9", "1.0", "1.1", "1.5", "2.0", "2.1", "3.0")]


def newest(wishes: Sequence[Wish]) -> Version | None:
    return max((version for version in INDEX if all(wish.admits(str(version)) for wish in wishes)), default=None)


def wish(text: str, layer: str = "node", line: int = 1) -> Wish:
    return Wish(layer=layer, file=f"{layer}/requirements.txt", line=line, text=text)


SPECIFIERS = st.builds(
    lambda operator, version: f"p{operator}{version}",
    st.sampled_from(["==", ">=", "<=", "<", ">", "!="]),
    st.sampled_from([*map(str, INDEX), "9.9"]),
) | st.just("p")
NODES = st.lists(
    st.builds(wish, SPECIFIERS, st.sampled_from(["a", "b", "c"]), st.integers(1, 9)), max_size=6, unique=True
)
CORE = st.lists(st.builds(wish, SPECIFIERS, st.just("ComfyUI"), st.integers(1, 9)), max_size=2, unique=True)


@given(CORE, NODES, st.randoms())
def test_what_is_kept_is_satisfied_and_order_does_not_matter(
    core: list[Wish], nodes: list[Wish], chance: random.Random
) -> None:
    """Core always wins, every kept wish is satisfied by one version, nothing gets lost, order changes nothing."""
    shuffled = chance.sample(nodes, len(nodes))
    try:
        verdict = settle(core, nodes, newest=newest)
    except UnsettledError:
        with pytest.raises(UnsettledError):
            settle(core, shuffled, newest=newest)
        assert newest(core) is None or not any(newest([node]) for node in nodes)
        return
    assert verdict == settle(core, shuffled, newest=newest)
    overruled = [node for node, _ in verdict.overruled]
    assert set(core) <= set(verdict.kept)
    assert sorted(map(str, [*verdict.kept, *overruled])) == sorted(map(str, [*core, *nodes]))
    chosen = newest(verdict.kept)
    assert chosen is not None
    assert all(kept.admits(str(chosen)) for kept in verdict.kept)
    assert all(newest([*verdict.kept, node]) is None for node in overruled), "a wish gave way that need not have"


@given(CORE, NODES)
def test_the_newest_node_wins(core: list[Wish], nodes: list[Wish]) -> None:
    """The wish whose range reaches the newest version is never overruled by a node that reaches less far."""
    reach = {node: newest([*core, node]) for node in nodes}
    best = max((version for version in reach.values() if version), default=None)
    if newest(core) is None or best is None:
        return
    verdict = settle(core, nodes, newest=newest)
    assert any(reach.get(kept) == best for kept in verdict.kept)
    assert not any(rule == "newest-wins" and not newest([*core, node]) for node, rule in verdict.overruled)


def test_rules_have_their_names() -> None:
    assert settle([wish("p>=2", "ComfyUI")], [wish("p<2")], newest=newest).overruled == ((wish("p<2"), "core-wins"),)
    assert settle([], [wish("p<2", "a"), wish("p>=2", "b")], newest=newest).overruled == (
        (wish("p<2", "a"), "newest-wins"),
    )
    assert settle([], [wish("p==77", "a"), wish("p", "b")], newest=newest).overruled == (
        (wish("p==77", "a"), "only-existing"),
    )


def test_two_addresses_cannot_be_settled() -> None:
    """Neither of two commits is known to be the newer one."""
    one, two = wish("p @ git+https://example.org/p@1", "a"), wish("p @ git+https://example.org/p@2", "b")

    def fits(wishes: Sequence[Wish]) -> Version | None:
        return Version("0") if len({item.text for item in wishes}) == 1 else None

    with pytest.raises(UnsettledError) as caught:
        settle([], [one, two], newest=fits)
    assert set(caught.value.wishes) == {one, two}
    assert settle([], [one, wish(one.text, "b")], newest=fits).overruled == ()


@given(st.sets(st.integers(0, 40), max_size=5), st.sets(st.integers(0, 40), max_size=20))
def test_minimal_finds_exactly_the_culprits(culprits: set[int], others: set[int]) -> None:
    items = sorted(culprits | others)
    assert minimal(items, lambda part: culprits <= set(part)) == (sorted(culprits) if items else [])


@given(st.lists(st.sets(st.integers(0, 12), min_size=1, max_size=3), min_size=1, max_size=4))
def test_minimal_is_minimal_where_several_parts_fail(parts: list[set[int]]) -> None:
    def fails(part: Sequence[int]) -> bool:
        return any(wanted <= set(part) for wanted in parts)

    found = minimal(range(13), fails)
    assert fails(found)
    assert not any(fails([item for item in found if item != left_out]) for left_out in found)


@given(st.sets(st.integers(0, 60), max_size=4))
def test_faulty_finds_each_one_in_few_questions(bad: set[int]) -> None:
    asked = []

    def fails(part: Sequence[int]) -> bool:
        asked.append(part)
        return not bad.isdisjoint(part)

    assert faulty(range(64), fails) == sorted(bad)
    assert len(asked) <= 1 + 12 * len(bad)


def test_bare_keeps_extras_and_marker() -> None:
    assert bare(wish("p[x,a]>=2 ; python_version > '3'")).text == 'p[a,x] ; python_version > "3"'


def test_a_decision_says_who_what_and_how_to_override() -> None:
    decision = Decision(
        package="p",
        wants=(wish("p>=2", "ComfyUI"), wish("p<2", "old-node", 7)),
        overruled=(wish("p<2", "old-node", 7),),
        chosen="p==3.0",
        rule="core-wins",
        why="because",
        override="overrides: ['p<2']",
    )
    said = str(decision)
    assert "chosen p==3.0 by rule core-wins" in said
    assert "overruled: old-node wants 'p<2' (old-node/requirements.txt:7)" in said
    assert "heeded: ComfyUI wants 'p>=2'" in said
    assert "overrides: ['p<2']" in said
