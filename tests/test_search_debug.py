"""Search policies that debug: how often, what, how deep, and when they give a branch up."""

from __future__ import annotations

import dataclasses

import pytest

from grown_trials import AIDE, MULTI_AIDE, ROOT, Fate, M, choices, fate_of, grow
from speedrun import search
from speedrun.schema import Outcome
from speedrun.search import Choice, Scaffold, Seen


@pytest.mark.parametrize("scaffold", [AIDE, MULTI_AIDE], ids=lambda one: one.name)
def test_debugging_is_as_frequent_as_asked(scaffold: Scaffold) -> None:
    drawn = [
        step.choice.action == "debug"
        for seed in range(600)
        for step in grow(scaffold, M, f"t/s{seed}", fate_of(seed))
        if search.generation_of(scaffold, step.seen.node) > 1
        and (step.seen.node - 4) % scaffold.n_branch == 0  # the first of each generation
        and search.debuggable(scaffold, step.saw)
    ]
    # five standard errors of a coin thrown so often
    assert abs(sum(drawn) / len(drawn) - 0.5) < 5 * (0.25 / len(drawn)) ** 0.5
    assert len(drawn) > 2000


def test_all_debuggable_leaves_are_equally_likely() -> None:
    history = [ROOT, *[Seen(node, 0, Outcome.OOM, None, None) for node in (1, 2, 3)]]
    parents = [search.choose_parent(AIDE, history, 4, f"t/s{seed}").parent for seed in range(6000)]
    counts = [parents.count(node) for node in (0, 1, 2, 3)]
    assert counts[0] == pytest.approx(3000, abs=5 * 39)
    assert counts[1:] == pytest.approx([1000] * 3, abs=5 * 29)


def always(scaffold: Scaffold) -> Scaffold:
    """The same scaffold, debugging wherever it can."""
    return dataclasses.replace(scaffold, p_debug=1.0)


def test_debugging_branches_as_improving_does() -> None:
    steps = grow(always(MULTI_AIDE), 6, "t/s0", lambda node: (Outcome.CANDIDATE_ERROR, None, True))
    assert {step.choice.action for step in steps[3:]} == {"debug"}
    assert len({step.choice.parent for step in steps[3:]}) == 1


def test_the_best_node_is_not_forgotten_after_a_failed_debug() -> None:
    """The paper's code then chose among the root, the buggy node and its child alone."""
    history = [
        ROOT,
        Seen(1, 0, Outcome.MISSED_TARGET, None, 3.9),
        Seen(2, 0, Outcome.OK, 40.0, 3.4),
        Seen(3, 0, Outcome.OK, 45.0, 3.4),
        Seen(4, 2, Outcome.OK, 30.0, 3.4),  # the best
        Seen(5, 1, Outcome.CANDIDATE_ERROR, None, None),  # the debug step that failed
    ]
    found = {search.choose_parent(AIDE, history, 6, f"t/s{seed}") for seed in range(50)}
    assert found == {
        Choice(4, "improve", 4, "best so far"),
        Choice(5, "debug", 4, "debug: candidate_error, depth 2"),
    }


def test_a_branch_is_given_up_beyond_the_largest_depth() -> None:
    def fate(node: int) -> Fate:
        return Outcome.TIMEOUT, None, True

    one = Scaffold("one", 1, 1, 1.0, 5)
    found = choices(one, 8, "t/s0", fate)
    assert [choice.parent for choice in found] == [0, 1, 2, 3, 4, 5, 0, 7]
    assert found[5].why == "debug: timeout, depth 5"
    assert found[6] == Choice(0, "draft", 7, "no node has reached the target")


@pytest.mark.parametrize("outcome", Outcome)
@pytest.mark.parametrize("has_code", [True, False])
def test_only_code_that_failed_is_debugged(outcome: Outcome, has_code: bool) -> None:
    time_s = 60.0 if outcome is Outcome.OK else None
    history = [ROOT, *[Seen(node, 0, outcome, time_s, None, has_code) for node in (1, 2, 3)]]
    debugged = outcome in ("missed_target", "candidate_error", "oom", "timeout") and has_code
    choice = search.choose_parent(always(AIDE), history, 4, "t/s0")
    assert choice.action == ("debug" if debugged else "draft")


def test_a_start_record_that_missed_the_target_is_not_debugged() -> None:
    history = [Seen(0, 0, Outcome.MISSED_TARGET, None, 3.6)]
    history += [Seen(node, 0, Outcome.REFUSED, None, None, False) for node in (1, 2, 3)]
    assert search.debug_depth(history, 0) == 0
    assert search.choose_parent(always(AIDE), history, 4, "t/s0").action == "draft"


def test_what_was_broken_by_a_good_node_starts_a_chain_of_its_own() -> None:
    history = [
        ROOT,
        Seen(1, 0, Outcome.OOM, None, None),
        Seen(2, 1, Outcome.OK, 60.0, 3.4),
        Seen(3, 2, Outcome.OOM, None, None),
    ]
    assert [search.debug_depth(history, node) for node in (1, 2, 3)] == [1, 0, 1]
