"""score: FSR of a trial, its outcome, and what the audit changes."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

import sweep_files
from score_inputs import CONFIRMED, rows, write_inputs
from speedrun import files, schema, trials
from speedrun.schema import Outcome
from speedrun.stages import score
from speedrun.stages.report import text


def test_search_fsr_is_against_the_references_means(tmp_path: Path) -> None:
    found = rows(tmp_path)
    assert found["replay"]["fsr"] == pytest.approx((10.2 - 7.0) / (10.2 - 5.1))
    assert found["oracle"]["fsr"] == pytest.approx(1.0)
    assert found["null"]["fsr"] == pytest.approx(0.0)
    assert found["replay"]["winner"] == 2


def test_every_row_has_the_columns(tmp_path: Path) -> None:
    for row in rows(tmp_path).values():
        assert set(trials.SCORE_COLUMNS) <= set(row)


def test_a_trial_without_winner_scores_0_and_is_named_by_its_best_attempt(tmp_path: Path) -> None:
    row = rows(tmp_path)["tuner"]
    assert (row["fsr"], row["fsr_audited"], row["fsr_low"]) == (0.0, 0.0, None)
    assert row["outcome"] == "missed_target"
    assert row["reason"] == "missed_target for a test"
    assert row["winner"] is None  # node_4 lies beyond the budget and does not count
    assert row["nodes"] == 3


def test_a_failed_audit_scores_0_and_says_why(tmp_path: Path) -> None:
    failed = {**CONFIRMED, "verdict": "failed", "evidence": ["round 3: timeout: 300 s"]}
    row = rows(tmp_path, replay=failed)["replay"]
    assert (row["fsr_audited"], row["fsr_low"], row["fsr_high"]) == (0.0, None, None)
    assert row["equivalent_to_1"] is None
    assert row["reason"] == "round 3: timeout: 300 s"
    assert row["fsr"] == pytest.approx(0.627, abs=1e-3)


def test_an_unconfirmed_winner_keeps_its_value_beside_the_verdict(tmp_path: Path) -> None:
    open_case = {**CONFIRMED, "verdict": "not_confirmed", "evidence": ["p = 0.2"]}
    row = rows(tmp_path, replay=open_case)["replay"]
    assert (row["fsr_audited"], row["fsr_low"], row["fsr_high"]) == (0.5, 0.4, 0.6)
    assert (row["verdict"], row["reason"]) == ("not_confirmed", "p = 0.2")


def test_a_confirmed_winner_that_is_not_faster_says_so(tmp_path: Path) -> None:
    said = {"evidence": ["not shown to be faster than the start", "fine"]}
    slow = {**CONFIRMED, **said, "faster": "no", "faster_than_start": {"p": 0.4}}
    found = rows(
        tmp_path, null=slow, replay={**slow, "faster": "yes", "faster_than_start": {"p": 0.01}}
    )
    assert (found["null"]["p_faster"], found["null"]["reason"]) == (0.4, said["evidence"][0])
    assert (found["replay"]["p_faster"], found["replay"]["reason"]) == (0.01, "")
    assert found["tuner"]["p_faster"] is None
    shown = text.as_text(list(found.values()))
    assert shown.count("confirmed, not faster") == 1


@given(st.lists(st.sampled_from([o for o in Outcome if o != Outcome.OK]), min_size=1, max_size=6))
def test_the_outcome_of_a_failed_trial_is_the_farthest(outcomes: list[Outcome]) -> None:
    nodes = [
        trials.Node(i, Path("x"), sweep_files.analysis(o, None)) for i, o in enumerate(outcomes)
    ]
    found = score.trial_outcome(nodes, None)
    assert found in outcomes
    assert all(score.PROGRESS.index(found) <= score.PROGRESS.index(o) for o in outcomes)
    assert set(score.PROGRESS) == set(Outcome)


def test_the_winner_is_the_fastest_and_then_the_earliest() -> None:
    def node(number: int, outcome: Outcome, time_s: float) -> trials.Node:
        return trials.Node(number, Path("x"), sweep_files.analysis(outcome, time_s))

    nodes = [node(1, Outcome.OK, 7), node(2, Outcome.MISSED_TARGET, 1), node(3, Outcome.OK, 5)]
    assert trials.winner([*nodes, node(4, Outcome.OK, 5)]).number == 3
    assert trials.winner(nodes[1:2]) is None


def test_references_that_never_ended_are_an_error(tmp_path: Path) -> None:
    plan = sweep_files.sweep(tmp_path)
    for folder in plan.references["r02"]:
        missed = sweep_files.analysis(Outcome.TIMEOUT, None)
        schema.save(Path(folder) / "analysis.json", missed)
    with pytest.raises(files.SpeedrunError, match="none of 2 reference runs of r02"):
        score.reference_times(plan, "r02")


def test_runs_in_two_settings_are_never_mixed(tmp_path: Path) -> None:
    plan = sweep_files.sweep(tmp_path)
    both = {**plan.references, "r02": [*plan.references["r02"], "elsewhere/run_0"]}
    mixed = dataclasses.replace(plan, references=both)
    for read in (score.reference_times, trials.reference_folder):
        assert read(plan, "r02")
        with pytest.raises(files.SpeedrunError, match=r"r02 ran in several settings .* the task's"):
            read(mixed, "r02")


def test_a_stage_file_of_other_trials_is_an_error_that_names_it(tmp_path: Path) -> None:
    plan = sweep_files.sweep(tmp_path)
    paths = write_inputs(tmp_path, plan, {})
    files.write_json(paths[1], {"trials": []})
    with pytest.raises(files.SpeedrunError, match=r"similarity\.json has no trial oracle-aa/s0"):
        score.score_task(plan, "r01-r02", *paths, tmp_path / "score.json")


def test_an_unfinished_trial_is_an_error(tmp_path: Path) -> None:
    plan = sweep_files.sweep(tmp_path)
    trial = plan.trials[0]
    (Path(trial.folder) / "node_1" / "analysis.json").unlink()
    with pytest.raises(files.SpeedrunError, match="node_1"):
        trials.nodes(trial)
    with pytest.raises(files.SpeedrunError, match="no task 'r09-r10': it has r01-r02"):
        plan.task("r09-r10")


def test_reference_times_are_on_the_tracks_clock(tmp_path: Path) -> None:
    plan = sweep_files.sweep(tmp_path)
    track = dataclasses.replace(plan.track, clock="train_time")
    for folder in plan.references["r02"]:  # 20 CPU seconds, of which 18 are printed
        missed = sweep_files.analysis(Outcome.MISSED_TARGET, 20.0)
        schema.save(Path(folder) / "analysis.json", missed)
    assert score.reference_times(plan, "r02") == [20.0, 20.0]
    assert score.reference_times(dataclasses.replace(plan, track=track), "r02") == [18.0, 18.0]
