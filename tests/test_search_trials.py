"""Search policies over whole trials: trees, whatever becomes of the nodes, and greedy ones."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from grown_trials import (
    AIDE,
    FIVE,
    FLAT,
    FOREST,
    MULTI_AIDE,
    TREE,
    Fate,
    M,
    Step,
    choices,
    fate_of,
    fates,
    grow,
    trials,
)
from speedrun import search
from speedrun.schema import Outcome
from speedrun.search import Scaffold, Seen


def chain(seen: Seen, nodes: list[Seen]) -> list[Seen]:
    """``seen`` and its ancestors up to the first that is not buggy, written another way."""
    by_node, buggy = {one.node: one for one in nodes}, ("missed_target", "candidate_error",
                                                       "oom", "timeout")  # fmt: skip
    links: list[Seen] = []
    while seen.node != 0 and seen.has_code and seen.outcome in buggy:
        links.append(seen)
        seen = by_node[seen.parent]
    return links


@pytest.mark.parametrize("scaffold", FIVE.values(), ids=FIVE)
@settings(deadline=None, max_examples=60)
@given(n_nodes=st.integers(1, 25), trial=trials, fate=fates)
def test_whole_trials_are_trees(
    scaffold: Scaffold, n_nodes: int, trial: str, fate: Callable[[int], Fate]
) -> None:
    steps = grow(scaffold, n_nodes, trial, fate)
    assert [step.seen.node for step in steps] == list(range(1, n_nodes + 1))
    generation = {0: 0} | {step.seen.node: step.choice.generation for step in steps}
    for index, group in enumerate(search.generations(scaffold, n_nodes), start=1):
        assert {steps[node - 1].choice for node in group} == {steps[group[0] - 1].choice}
        for node in group:
            assert generation[node] == index
            assert generation[steps[node - 1].choice.parent] < index
    assert steps == grow(scaffold, n_nodes, trial, fate)


@pytest.mark.parametrize("scaffold", FIVE.values(), ids=FIVE)
@settings(deadline=None, max_examples=40)
@given(small=st.integers(1, 20), more=st.integers(0, 10), trial=trials, fate=fates)
def test_a_larger_budget_extends_the_tree_without_changing_it(
    scaffold: Scaffold, small: int, more: int, trial: str, fate: Callable[[int], Fate]
) -> None:
    assert grow(scaffold, small + more, trial, fate)[:small] == grow(scaffold, small, trial, fate)


@pytest.mark.parametrize("scaffold", FIVE.values(), ids=FIVE)
@settings(deadline=None, max_examples=60)
@given(trial=trials, fate=fates)
def test_every_choice_is_the_best_of_all_nodes_or_a_buggy_leaf(
    scaffold: Scaffold, trial: str, fate: Callable[[int], Fate]
) -> None:
    for step in grow(scaffold, M, trial, fate):
        parent = next(seen for seen in step.saw if seen.node == step.choice.parent)
        if step.choice.action == "debug":
            links = chain(parent, step.saw)
            assert 1 <= len(links) <= scaffold.max_debug_depth
            assert all(seen.parent != parent.node for seen in step.saw)
            assert step.choice.why == f"debug: {parent.outcome}, depth {len(links)}"
        else:
            timed = [(seen.time_s, seen.node) for seen in step.saw if seen.time_s is not None]
            assert (parent.time_s, parent.node) == min(timed)
            assert step.choice.action == ("draft" if parent.node == 0 else "improve")


@pytest.mark.parametrize("scaffold", [AIDE, MULTI_AIDE], ids=lambda one: one.name)
def test_other_seeds_differ_somewhere(scaffold: Scaffold) -> None:
    def fate(node: int) -> Fate:
        return (Outcome.OOM, None, True) if node % 2 else (Outcome.OK, 30.0, True)

    trees = {tuple(choices(scaffold, M, f"t/s{seed}", fate)) for seed in range(20)}
    assert len(trees) > 10


@pytest.mark.parametrize("scaffold", [FLAT, TREE, FOREST], ids=lambda one: one.name)
def test_policies_that_draw_nothing_heed_no_seed(scaffold: Scaffold) -> None:
    for fate in map(fate_of, range(50)):
        assert choices(scaffold, M, "t/s0", fate) == choices(scaffold, M, "t/s1", fate)


def greedy(steps: list[Step]) -> list[int]:
    """The parents that flat and tree took before there was any debugging."""
    return [
        min((seen.time_s, seen.node) for seen in step.saw if seen.time_s is not None)[1]
        for step in steps
    ]


@pytest.mark.parametrize("scaffold", [FLAT, TREE, FOREST], ids=lambda one: one.name)
@settings(deadline=None, max_examples=60)
@given(trial=trials, fate=fates)
def test_without_debugging_the_trees_are_greedy(
    scaffold: Scaffold, trial: str, fate: Callable[[int], Fate]
) -> None:
    steps = grow(scaffold, M, trial, fate)
    assert [step.choice.parent for step in steps] == greedy(steps)
