"""chain: what a cumulative trial starts from, and where its chain ends."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import sweep_files
from speedrun import files, schema, trials
from speedrun.schema import Outcome, Parent
from speedrun.stages import chain

OUTCOMES = st.lists(st.tuples(st.sampled_from(Outcome), st.integers(1, 9)), min_size=1, max_size=5)


def source(root: Path, *ended: tuple[Outcome, float | None]) -> Path:
    """Write a finished trial; its nodes are told apart by their code."""
    folder = root / "r01-r02" / "agent-aa" / "s0"
    for number, (outcome, time_s) in enumerate(ended, start=1):
        analysis = sweep_files.analysis(outcome, time_s)
        sweep_files.node(folder / f"node_{number}", f"node = {number}\n", analysis)
    return folder


def test_the_fastest_node_that_reached_the_target_is_the_start(tmp_path: Path) -> None:
    before = source(tmp_path, (Outcome.OK, 7.0), (Outcome.OK, 5.0), (Outcome.MISSED_TARGET, 1.0))
    start = tmp_path / "start"
    link = chain.build(before, 3, start)
    assert (link.node, link.ended) == (2, False)
    assert link.reason == "node 2 of r01-r02/agent-aa/s0, 5.00 s in its search run"
    assert trials.link(start) == link
    written = files.read_json(start / "chain.json")
    assert written["from"] == str(before)
    assert written["solution_digest"] == files.digest_tree(start / "solution")
    assert files.read_tree(start / "solution") == {"train.py": "node = 2\n"}
    found = trials.own_start(start)
    assert found is not None and schema.load(schema.Analysis, found).time_s == 5.0


def test_nodes_beyond_the_budget_do_not_count(tmp_path: Path) -> None:
    before = source(tmp_path, (Outcome.OK, 7.0), (Outcome.OK, 5.0))
    assert chain.build(before, 1, tmp_path / "start").node == 1


def test_an_unfinished_trial_is_an_error(tmp_path: Path) -> None:
    before = source(tmp_path, (Outcome.OK, 7.0))
    with pytest.raises(files.SpeedrunError, match="node_2"):
        chain.build(before, 2, tmp_path / "start")
    assert not (tmp_path / "start").exists()


def test_without_a_winner_the_chain_ends_and_takes_an_old_start_away(tmp_path: Path) -> None:
    start = tmp_path / "start"
    chain.build(source(tmp_path, (Outcome.OK, 7.0)), 1, start)
    link = chain.build(source(tmp_path, (Outcome.TIMEOUT, None)), 1, start)
    assert link.ended and link.node is None
    assert link.reason == (
        "the chain ended at r01-r02/agent-aa/s0: none of 1 nodes reached the target"
    )
    assert files.read_tree(start / "solution") == {}
    assert trials.own_start(start) is None and not (start / "analysis.json").exists()


def test_a_chain_that_has_ended_stays_ended_with_its_first_reason(tmp_path: Path) -> None:
    first = source(tmp_path, (Outcome.REFUSED, None))
    second, third = tmp_path / "r02-r03/agent-aa/s0", tmp_path / "r03-r04/agent-aa/s0"
    ended = chain.build(first, 1, second / "start")
    # not even the nodes of the second are looked at: they were not attempted
    assert chain.build(second, 3, third / "start").reason == ended.reason


@settings(deadline=None)  # it writes as many nodes
@given(OUTCOMES)
def test_a_chain_goes_on_exactly_where_there_is_a_winner(
    tmp_path_factory: pytest.TempPathFactory, ended: list[tuple[Outcome, int]]
) -> None:
    root = tmp_path_factory.mktemp("chain")
    before = source(root, *((outcome, float(time_s)) for outcome, time_s in ended))
    link = chain.build(before, len(ended), root / "start")
    times = [time_s for outcome, time_s in ended if outcome is Outcome.OK]
    assert link.ended is (not times)
    if link.node is not None:
        assert ended[link.node - 1] == (Outcome.OK, min(times))


def test_a_skipped_node_is_whole_and_says_why(tmp_path: Path) -> None:
    link = trials.Link("r01-r02/agent-aa/s0", None, True, "the chain ended at r01-r02")
    files.write_text(tmp_path / "solution" / "train.py", "left over\n")
    written = chain.skip_node(4, 2, link, tmp_path)
    parent = schema.load(Parent, tmp_path / "parent.json")
    assert parent == written
    assert (parent.outcome, parent.reason) == (Outcome.NOT_ATTEMPTED, link.reason)
    assert (parent.node, parent.generation, parent.solution_digest) == (4, 2, "")
    assert files.read_tree(tmp_path / "solution") == {}
    assert (tmp_path / "calls.jsonl").read_text() == (tmp_path / "prompt.md").read_text() == ""


@pytest.mark.parametrize("text", ["{}", "[]", '{"from": "x", "node": 1}'])
def test_a_broken_link_is_an_error_that_names_it(tmp_path: Path, text: str) -> None:
    (tmp_path / "chain.json").write_text(text)
    with pytest.raises(files.SpeedrunError, match=r"chain\.json is no link of a chain"):
        trials.link(tmp_path)
