"""Search policies: pure, seeded, over the whole tree, and blind to the budget."""

from __future__ import annotations

import dataclasses
import random
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from speedrun import search
from speedrun.files import SpeedrunError
from speedrun.schema import Outcome
from speedrun.search import Choice, Scaffold, Seen

FLAT = Scaffold("flat", None)
TREE = Scaffold("tree", 1, 3)
FOREST = Scaffold("forest", 3, 3)
AIDE = Scaffold("aide", 3, 1, 0.5, 5)
MULTI_AIDE = Scaffold("multi_aide", 3, 3, 0.5, 5)
FIVE = {one.name: one for one in (FLAT, TREE, FOREST, AIDE, MULTI_AIDE)}
M = 20  # nodes of a trial in the paper
ROOT = Seen(0, 0, Outcome.OK, 50.0, 3.4)

scaffolds = st.sampled_from(list(FIVE.values())) | st.builds(
    Scaffold,
    name=st.just("any"),
    n_initial=st.none() | st.integers(1, 6),
    n_branch=st.integers(1, 5),
    p_debug=st.floats(0, 1),
    max_debug_depth=st.integers(1, 6),
)
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


Fate = tuple[Outcome, float | None, bool]  # outcome, seconds, whether there was code


def fate_of(seed: int) -> Callable[[int], Fate]:
    """Any outcome for each node, the same whatever the tree looks like."""

    def fate(node: int) -> Fate:
        draw = random.Random(seed * 1000 + node)
        outcome = draw.choice([*Outcome, Outcome.OK, Outcome.OK])
        time_s = draw.choice([20.0, 30.0, 50.0, 60.0]) if outcome is Outcome.OK else None
        return outcome, time_s, outcome is Outcome.OK or draw.random() < 0.8

    return fate


@dataclasses.dataclass(frozen=True)
class Step:
    """One node of a whole trial: what it saw, what was chosen, how it ended."""

    saw: list[Seen]
    choice: Choice
    seen: Seen


def grow(scaffold: Scaffold, n_nodes: int, trial: str, fate: Callable[[int], Fate]) -> list[Step]:
    """Run a whole trial as the harness does, every node choosing for itself."""
    nodes, steps = {0: ROOT}, []
    for node in range(1, n_nodes + 1):
        saw = [nodes[other] for other in (0, *search.earlier_nodes(scaffold, node))]
        choice = search.choose_parent(scaffold, saw, node, trial)
        outcome, time_s, has_code = fate(node)
        nodes[node] = Seen(node, choice.parent, outcome, time_s, 3.4, has_code)
        steps.append(Step(saw, choice, nodes[node]))
    return steps


def choices(*arguments: object) -> list[Choice]:
    return [step.choice for step in grow(*arguments)]  # type: ignore[arg-type]


trials = st.builds("t/s{}".format, st.integers(0, 10**6))
fates = st.builds(fate_of, st.integers(0, 10**6))


def chain(seen: Seen, nodes: list[Seen]) -> list[Seen]:
    """``seen`` and its ancestors up to the first that is not buggy, written another way."""
    by_node, buggy = {one.node: one for one in nodes}, ("missed_target", "candidate_error",
                                                       "oom", "timeout")  # fmt: skip
    links: list[Seen] = []
    while seen.node != 0 and seen.has_code and seen.outcome in buggy:
        links.append(seen)
        seen = by_node[seen.parent]
    return links


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
