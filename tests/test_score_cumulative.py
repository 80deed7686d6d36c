"""score: a cumulative trial against the record's start and against its own."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

import sweep_files
from score_inputs import CONFIRMED, NO_FLAG, NO_WINNER, rows
from speedrun import files, schema, trials
from speedrun.schema import Outcome
from speedrun.stages import score


def cumulative(root: Path, own_s: float | None, agent_s: float | None, **changes: object) -> dict:
    """Return the row of the replay trial, made cumulative: its start took ``own_s`` seconds."""
    plan = sweep_files.sweep(root)
    trial = dataclasses.replace(plan.trials[2], mode="cumulative")
    folder = Path(trial.folder)
    if agent_s is not None:
        agent = sweep_files.analysis(Outcome.OK, agent_s, torch="2.10.0")
    else:
        agent = sweep_files.analysis(Outcome.MISSED_TARGET, 6.0, torch="2.10.0")
    for number in (1, 2):
        schema.save(folder / f"node_{number}" / "analysis.json", agent)
    if own_s is not None:
        link = trials.Link("trials/nano/r00-r01/replay-cc/s0", 1, False, "node 1 of it")
        files.write_json(folder / "start/chain.json", link.to_json())
        own = sweep_files.analysis(Outcome.OK, own_s, **{"torch": "2.10.0", **changes})
        schema.save(folder / "start/analysis.json", own)
    return score.score_trial(
        trial, 10.0, 5.0, CONFIRMED, {"recovered_l2": 0}, {"score": 0, "reason": ""}, NO_FLAG
    )


def test_a_cumulative_trial_is_scored_against_both_starts(tmp_path: Path) -> None:
    row = cumulative(tmp_path, own_s=8.0, agent_s=6.5)
    assert row["fsr"] == pytest.approx((10 - 6.5) / (10 - 5))
    assert row["fsr_own_start"] == pytest.approx((8 - 6.5) / (8 - 5))
    assert row["own_start_reason"] == ""


def test_the_first_of_a_chain_has_the_humans_start(tmp_path: Path) -> None:
    row = cumulative(tmp_path, own_s=None, agent_s=6.5)
    assert row["fsr_own_start"] == row["fsr"] == pytest.approx(0.7)
    assert "the first of its chain" in row["own_start_reason"]


@pytest.mark.parametrize("own_s", [5.0, 4.9])
def test_an_own_start_at_the_target_leaves_nothing_to_score(tmp_path: Path, own_s: float) -> None:
    row = cumulative(tmp_path, own_s=own_s, agent_s=4.0)
    assert row["fsr_own_start"] is None
    assert row["own_start_reason"] == (
        f"its own start took {own_s:.2f} s, the target 5.00 s: nothing is left to gain"
    )
    assert row["fsr"] == pytest.approx(1.2)


def test_without_a_winner_both_are_0(tmp_path: Path) -> None:
    row = cumulative(tmp_path, own_s=8.0, agent_s=None)
    assert (row["fsr"], row["fsr_own_start"]) == (0.0, 0.0)


@pytest.mark.parametrize("agent_s", [6.5, None])  # whatever came of it: no mean is biased
def test_times_of_two_environments_are_not_compared(tmp_path: Path, agent_s: float | None) -> None:
    row = cumulative(tmp_path, own_s=8.0, agent_s=agent_s, torch="2.4.0")
    assert row["fsr_own_start"] is None
    assert row["own_start_reason"] == "its own start ran with PyTorch 2.4.0: not comparable"


def test_an_ended_chain_scores_0_with_its_reason(tmp_path: Path) -> None:
    plan = sweep_files.sweep(tmp_path)
    trial = dataclasses.replace(plan.trials[2], mode="cumulative")
    skipped = sweep_files.analysis(Outcome.NOT_ATTEMPTED, None, device_seconds=0.0)
    for number in (1, 2):
        schema.save(Path(trial.folder) / f"node_{number}" / "analysis.json", skipped)
    link = trials.Link("x", None, True, "the chain ended at r00-r01/replay-cc/s0")
    files.write_json(Path(trial.folder) / "start/chain.json", link.to_json())
    judged = {"score": None, "reason": "no node reached the target"}
    row = score.score_trial(trial, 10.0, 5.0, NO_WINNER, {"recovered_l2": None}, judged, NO_FLAG)
    assert (row["fsr"], row["fsr_own_start"], row["fsr_audited"]) == (0.0, 0.0, 0.0)
    assert row["outcome"] == "not_attempted"
    assert row["own_start_reason"] == link.reason
    assert row["device_seconds"] == 0.0


def test_other_modes_have_no_start_of_their_own(tmp_path: Path) -> None:
    row = rows(tmp_path)["replay"]
    assert (row["mode"], row["fsr_own_start"], row["own_start_reason"]) == ("reproduce", None, "")
