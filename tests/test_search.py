"""Search policies: pure, seeded, over the whole tree, and blind to the budget."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from speedrun import search
from speedrun.files import SpeedrunError
from speedrun.schema import Outcome
from speedrun.search import Scaffold, Seen

FLAT = Scaffold("flat", None)
TREE = Scaffold("tree", 1, 3)

scaffolds = st.builds(
    Scaffold,
    name=st.just("any"),
    n_initial=st.none() | st.integers(1, 6),
    n_branch=st.integers(1, 5),
)
outcomes = st.sampled_from(Outcome)
times = st.floats(0.1, 100.0).map(lambda value: round(value, 1))


@st.composite
def seen_before(draw: st.DrawFn, scaffold: Scaffold, node: int) -> list[Seen]:
    """The root and all nodes that ``node`` may see, with any outcome each."""
    history = [Seen(0, 0, Outcome.OK, draw(times), 3.4)]
    for other in search.earlier_nodes(scaffold, node):
        outcome = draw(outcomes)
        time_s = draw(times) if outcome is Outcome.OK else None
        history.append(Seen(other, draw(st.integers(0, other - 1)), outcome, time_s, 3.4))
    return history


def test_flat_is_one_generation() -> None:
    assert search.generations(FLAT, 4) == [[1, 2, 3, 4]]
    assert search.earlier_nodes(FLAT, 4) == []


def test_tree_drafts_one_then_branches_three() -> None:
    assert search.generations(TREE, 8) == [[1], [2, 3, 4], [5, 6, 7], [8]]
    assert search.earlier_nodes(TREE, 6) == [1, 2, 3, 4]


@settings(deadline=None)
@given(scaffolds, st.integers(1, 40))
def test_budget_is_spent_exactly(scaffold: Scaffold, n_nodes: int) -> None:
    grouped = search.generations(scaffold, n_nodes)
    assert [node for group in grouped for node in group] == list(range(1, n_nodes + 1))
    assert all(grouped)


@settings(deadline=None)
@given(scaffolds, st.integers(1, 40), st.integers(0, 40))
def test_a_larger_budget_only_adds_nodes(scaffold: Scaffold, n_nodes: int, more: int) -> None:
    small, large = (search.generations(scaffold, n) for n in (n_nodes, n_nodes + more))
    for index, group in enumerate(small):
        assert large[index][: len(group)] == group
        for node in group:
            earlier = [other for before in large[:index] for other in before]
            assert search.earlier_nodes(scaffold, node) == earlier


@settings(deadline=None)
@given(st.data(), scaffolds, st.integers(1, 25), st.integers(0, 2**32 - 1))
def test_parent_is_the_best_of_the_whole_tree(
    data: st.DataObject, scaffold: Scaffold, node: int, seed: int
) -> None:
    history = data.draw(seen_before(scaffold, node))
    choice = search.choose_parent(scaffold, history, node, seed)
    chosen = next(seen for seen in history if seen.node == choice.parent)
    for other in history:
        if other.outcome is Outcome.OK:
            assert other.time_s is not None and chosen.time_s is not None
            assert (chosen.time_s, chosen.node) <= (other.time_s, other.node)
    assert choice.action == ("draft" if choice.parent == 0 else "improve")
    assert choice.generation == search.generation_of(scaffold, node)
    assert choice == search.choose_parent(scaffold, history[::-1], node, seed)


def test_best_node_survives_a_bad_generation() -> None:
    history = [
        Seen(0, 0, Outcome.OK, 10.0, 3.4),
        Seen(1, 0, Outcome.OK, 7.0, 3.4),
        Seen(2, 1, Outcome.CANDIDATE_ERROR, None, None),
        Seen(3, 1, Outcome.MISSED_TARGET, None, 3.9),
        Seen(4, 1, Outcome.OK, 7.0, 3.4),
    ]
    assert search.choose_parent(TREE, history, 5, 0).parent == 1  # and the tie goes to the lower id


def test_root_is_the_parent_when_nothing_reached_the_target() -> None:
    history = [Seen(0, 0, Outcome.OK, None, None), Seen(1, 0, Outcome.TIMEOUT, None, None)]
    assert search.choose_parent(TREE, history, 2, 0) == search.Choice(0, "draft", 2)


def test_an_incomplete_history_is_refused() -> None:
    with pytest.raises(SpeedrunError, match=r"node 2 must choose among the nodes \[0, 1\]"):
        search.choose_parent(TREE, [Seen(0, 0, Outcome.OK, 1.0, 3.4)], 2, 0)


def test_node_seed_depends_on_trial_and_node_alone() -> None:
    seeds = [
        search.node_seed(trial, node)
        for trial in ("micro/r01-r02/tuner-1a2b3c4d/s0", "micro/r01-r02/tuner-1a2b3c4d/s1")
        for node in (1, 2)
    ]
    assert len(set(seeds)) == 4
    assert seeds[0] == search.node_seed("micro/r01-r02/tuner-1a2b3c4d/s0", 1)
    assert all(0 <= seed < 2**32 for seed in seeds)


def test_scaffold_from_config_leaves_the_budget_out() -> None:
    values = {"name": "tree", "n_initial": 1, "n_branch": 3, "n_nodes": 20}
    assert search.scaffold(values) == TREE
    with pytest.raises(SpeedrunError, match="n_brunch"):
        search.scaffold({"name": "tree", "n_initial": 1, "n_brunch": 3})
    with pytest.raises(SpeedrunError, match="at least 1"):
        search.scaffold({"name": "tree", "n_initial": 0, "n_branch": 3})


@pytest.mark.parametrize("name", ["flat", "tree"])
def test_shipped_scaffolds_are_readable(repository: Path, name: str) -> None:
    values = yaml.safe_load((repository / "config" / "scaffold" / f"{name}.yaml").read_text())
    assert search.scaffold(values) == {"flat": FLAT, "tree": TREE}[name]
