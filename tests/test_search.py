"""Search policies: generations, parents and seeds, pure and blind to the budget."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from grown_trials import FIVE, FLAT, ROOT, TREE, M, scaffolds, trials
from speedrun import search
from speedrun.files import SpeedrunError
from speedrun.schema import Outcome
from speedrun.search import Choice, Scaffold, Seen

outcomes = st.sampled_from(Outcome)
times = st.floats(0.1, 100.0).map(lambda value: round(value, 1))


@st.composite
def seen_before(draw: st.DrawFn, scaffold: Scaffold, node: int) -> list[Seen]:
    """The root and all nodes that ``node`` may see, with any outcome each."""
    history = [Seen(0, 0, Outcome.OK, draw(times), 3.4)]
    for other in search.earlier_nodes(scaffold, node):
        outcome, has_code = draw(outcomes), draw(st.booleans())
        time_s = draw(times) if outcome is Outcome.OK else None
        parent = draw(st.integers(0, other - 1))
        history.append(Seen(other, parent, outcome, time_s, 3.4, has_code or time_s is not None))
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
@given(st.data(), scaffolds, st.integers(1, 25), trials)
def test_any_history_has_a_parent_in_it(
    data: st.DataObject, scaffold: Scaffold, node: int, trial: str
) -> None:
    history = data.draw(seen_before(scaffold, node))
    choice = search.choose_parent(scaffold, history, node, trial)
    parent = next(seen for seen in history if seen.node == choice.parent)
    if choice.action == "debug":
        assert search.is_buggy(parent)
    else:
        timed = [(seen.time_s, seen.node) for seen in history if seen.time_s is not None]
        assert (parent.time_s, parent.node) == min(timed)
    assert choice == search.choose_parent(scaffold, history[::-1], node, trial)


def test_best_node_survives_a_bad_generation() -> None:
    history = [
        Seen(0, 0, Outcome.OK, 10.0, 3.4),
        Seen(1, 0, Outcome.OK, 7.0, 3.4),
        Seen(2, 1, Outcome.CANDIDATE_ERROR, None, None),
        Seen(3, 1, Outcome.MISSED_TARGET, None, 3.9),
        Seen(4, 1, Outcome.OK, 7.0, 3.4),
    ]
    # and the tie goes to the lower id
    assert search.choose_parent(TREE, history, 5, "t") == Choice(1, "improve", 3, "best so far")


def test_root_is_the_parent_when_nothing_beats_it() -> None:
    root, slower = Seen(0, 0, Outcome.OK, 5.0, 3.4), Seen(1, 0, Outcome.OK, 6.0, 3.4)
    timeout = Seen(1, 0, Outcome.TIMEOUT, None, None)
    assert search.choose_parent(TREE, [root], 1, "t") == Choice(0, "draft", 1, "first generation")
    found = search.choose_parent(TREE, [root, slower], 2, "t")
    assert found == Choice(0, "draft", 2, "no node is faster than the start")
    untimed = dataclasses.replace(root, time_s=None)
    found = search.choose_parent(TREE, [untimed, timeout], 2, "t")
    assert found == Choice(0, "draft", 2, "no node has reached the target")
    assert search.choose_parent(TREE, [untimed, slower], 2, "t").parent == 1


def test_an_incomplete_history_is_refused() -> None:
    with pytest.raises(SpeedrunError, match=r"node 2 must choose among the nodes \[0, 1\]"):
        search.choose_parent(TREE, [ROOT], 2, "t")


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


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"n_brunch": 3}, "n_brunch"),
        ({"n_initial": 0}, "n_initial and n_branch must be at least 1, got 0 and 3"),
        ({"n_branch": 0}, "at least 1, got 1 and 0"),
        ({"p_debug": 1.5}, "p_debug must be between 0 and 1, got 1.5"),
        ({"p_debug": -0.1}, "p_debug must be between 0 and 1, got -0.1"),
        ({"p_debug": float("nan")}, "p_debug must be between 0 and 1, got nan"),
        ({"p_debug": "often"}, "p_debug: expected float"),
        ({"p_debug": 0.5}, "max_debug_depth must be at least 1 where p_debug is above 0, got 0"),
        ({"max_debug_depth": -1}, "max_debug_depth must be at least 1"),
        ({"max_debug_depth": 1.5}, "max_debug_depth: expected int"),
    ],
)
def test_wrong_values_are_one_line(changes: dict[str, object], message: str) -> None:
    with pytest.raises(SpeedrunError) as caught:
        search.scaffold({"name": "tree", "n_initial": 1, "n_branch": 3, **changes})
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", FIVE)
def test_shipped_scaffolds_are_the_papers(repository: Path, name: str) -> None:
    values = yaml.safe_load((repository / "config" / "scaffold" / f"{name}.yaml").read_text())
    assert search.scaffold(values) == FIVE[name]
    assert values["n_nodes"] == M


@given(scaffolds, st.integers(1, 40))
def test_generations_left_count_down_to_the_last(scaffold: Scaffold, n_nodes: int) -> None:
    grouped = search.generations(scaffold, n_nodes)
    left = [{search.generations_left(scaffold, node, n_nodes) for node in one} for one in grouped]
    assert left == [{later} for later in reversed(range(len(grouped)))]
