"""score: FSR of a trial, its outcome, its costs, and what the audit changes."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

import sweep_files
from speedrun import files, measurable, schema, trials
from speedrun.schema import Outcome
from speedrun.stages import score
from speedrun.stages.report import text
from speedrun.stages.score import spent

INTERVAL = {"estimate": 0.5, "low": 0.4, "high": 0.6, "confidence": 0.9, "unbounded": False}
CONFIRMED = {
    "verdict": "confirmed", "evidence": ["fine"], "fsr": INTERVAL, "equivalent_to_1": False,
    "equivalent_to_0": False,
}  # fmt: skip
FLAGS = [f"rule output: a line is changed (train.py:{line})" for line in range(1, 8)]
NO_FLAG: dict = {"held": []}
NO_WINNER = {"verdict": None, "evidence": ["no node reached the target"]}


def write_inputs(root: Path, plan: trials.Plan, audits: dict[str, dict]) -> list[Path]:
    paths = [root / f"{name}.json" for name in ("audit", "similarity", "judge", "review")]
    labels = {trial.arm: trial.label for trial in plan.trials}
    values = [
        {arm: audits.get(arm, CONFIRMED) for arm in labels},
        {arm: {"recovered_l2": 0.25} for arm in labels},
        {arm: {"score": 0.5, "reason": ""} for arm in labels},
        {arm: {"held": FLAGS if arm == "replay" else []} for arm in labels},
    ]
    for path, by_arm in zip(paths, values, strict=True):
        entries = [{"trial": labels[arm]} | value for arm, value in by_arm.items()]
        files.write_json(path, {"trials": entries})
    return paths


def rows(root: Path, **audits: dict) -> dict[str, dict]:
    plan = sweep_files.sweep(root)
    paths = write_inputs(root, plan, {"tuner": NO_WINNER} | audits)
    score.score_task(plan, "r01-r02", *paths, root / "score.json")
    return {row["arm"]: row for row in files.read_json(root / "score.json")["trials"]}


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


def test_unknown_costs_make_the_sum_unknown(tmp_path: Path) -> None:
    found = rows(tmp_path)
    assert found["replay"]["tokens"] == 330
    assert found["replay"]["cost_usd"] is None
    assert found["replay"]["device_seconds"] == pytest.approx(16.0)
    assert (found["null"]["tokens"], found["null"]["cost_usd"]) == (0, 0)
    assert found["tuner"]["device_seconds"] == pytest.approx(15.0)  # the refusal cost nothing


def test_a_run_of_unknown_cost_is_not_free(tmp_path: Path) -> None:
    sweep_files.sweep(tmp_path)
    folder = tmp_path / "one" / "s0"
    unknown = sweep_files.analysis(Outcome.OOM, None, device_seconds=None)
    sweep_files.node(folder / "node_1", "x", unknown)
    node = trials.Node(1, folder / "node_1", unknown)
    assert spent.costs([node])["device_seconds"] is None


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


def test_broken_calls_name_file_and_line(tmp_path: Path) -> None:
    path = tmp_path / "calls.jsonl"
    path.write_text('{"turn": 0}\n')
    with pytest.raises(files.SpeedrunError, match=r"calls\.jsonl line 1"):
        spent.read_calls(path)
    assert spent.read_calls(tmp_path / "absent.jsonl") == []


def test_an_unfinished_trial_is_an_error(tmp_path: Path) -> None:
    plan = sweep_files.sweep(tmp_path)
    trial = plan.trials[0]
    (Path(trial.folder) / "node_1" / "analysis.json").unlink()
    with pytest.raises(files.SpeedrunError, match="node_1"):
        trials.nodes(trial)
    with pytest.raises(files.SpeedrunError, match="no task 'r09-r10': it has r01-r02"):
        plan.task("r09-r10")


def scored(root: Path, plan: trials.Plan, **changes: object) -> dict:
    paths = write_inputs(root, plan, {"tuner": NO_WINNER})
    return score.score_task(plan, "r01-r02", *paths, root / "score.json", **changes)


def test_every_row_says_whether_its_task_is_measurable(tmp_path: Path) -> None:
    found = scored(tmp_path, sweep_files.sweep(tmp_path))
    assert {row["measurable"] for row in found["trials"]} == {"true"}
    assert found["trials"][0]["measurable_reason"].startswith("the target takes 0.500 of the start")
    assert found["measurable"]["data"] == "reference runs"
    assert found["measurable"]["origin"] == "not frozen: from this sweep's own runs of the records"


def test_an_agents_result_never_moves_the_answer(tmp_path: Path) -> None:
    plan = sweep_files.sweep(tmp_path)
    before = scored(tmp_path, plan)["measurable"]
    for trial in plan.trials:
        fast = sweep_files.analysis(Outcome.OK, 0.1)
        schema.save(Path(trial.folder) / "node_1" / "analysis.json", fast)
    after = scored(tmp_path, plan)
    assert after["measurable"] == before
    assert after["trials"][0]["fsr"] > 1.5


def test_records_that_do_not_differ_and_too_few_runs(tmp_path: Path) -> None:
    plan = sweep_files.sweep(tmp_path)
    slow = [sweep_files.analysis(Outcome.OK, time_s) for time_s in (10.1, 10.2)]
    for folder, one in zip(plan.references["r02"], slow, strict=True):
        schema.save(Path(folder) / "analysis.json", one)
    assert {row["measurable"] for row in scored(tmp_path, plan)["trials"]} == {"false"}
    single = {name: runs[:1] for name, runs in plan.references.items()}
    found = scored(tmp_path, dataclasses.replace(plan, references=single))
    assert {row["measurable"] for row in found["trials"]} == {"unknown"}
    assert found["measurable"]["measurable"] is None


def frozen_list(plan: trials.Plan, answer: bool) -> measurable.Frozen:
    finding = measurable.judge([10.0, 10.1], [5.0, 5.1] if answer else [10.0, 10.2])
    folders = {name: trials.reference_folder(plan, name) for name in ("r01", "r02")}
    entry = measurable.Entry("r01-r02", folders, finding)
    return measurable.Frozen("nano", "cpu", "a machine", "2026-01-02", [entry])


def test_a_frozen_list_rules_where_it_is_of_these_references(tmp_path: Path) -> None:
    plan = sweep_files.sweep(tmp_path)
    path = tmp_path / "tracks/nano/measurable/cpu.yaml"
    measurable.save(path, frozen_list(plan, answer=False))
    found = scored(tmp_path, plan, frozen=path)
    assert {row["measurable"] for row in found["trials"]} == {"false"}
    assert found["measurable"]["origin"] == (
        "frozen on 2026-01-02 in tracks/nano/measurable/cpu.yaml (a machine)"
    )
    moved = {
        name: [run.replace("/run_", "/moved/run_") for run in runs]
        for name, runs in plan.references.items()
    }
    for runs in moved.values():
        for run in runs:
            schema.save(Path(run) / "analysis.json", sweep_files.analysis(Outcome.OK, 3.0))
    other = scored(tmp_path, dataclasses.replace(plan, references=moved), frozen=path)
    assert other["measurable"]["origin"].startswith("not frozen: tracks/nano/measurable/cpu.yaml")


def test_reference_times_are_on_the_tracks_clock(tmp_path: Path) -> None:
    plan = sweep_files.sweep(tmp_path)
    track = dataclasses.replace(plan.track, clock="train_time")
    for folder in plan.references["r02"]:  # 20 CPU seconds, of which 18 are printed
        missed = sweep_files.analysis(Outcome.MISSED_TARGET, 20.0)
        schema.save(Path(folder) / "analysis.json", missed)
    assert score.reference_times(plan, "r02") == [20.0, 20.0]
    assert score.reference_times(dataclasses.replace(plan, track=track), "r02") == [18.0, 18.0]


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


def test_a_draft_and_a_summary_are_paid_for_too(tmp_path: Path) -> None:
    plan = sweep_files.sweep(tmp_path)
    node = trials.nodes(plan.trials[2])[0]
    before = spent.costs([node])
    summary = sweep_files.call(1000, 100, 2.0)
    line = files.canonical_json(schema.to_dict(summary)) + "\n"
    files.write_text(node.folder / "digest_model.calls.jsonl", line)
    files.write_json(node.folder / "draft/preflight.json", {"device_seconds": 4.5})
    after = spent.costs([node])
    assert after["tokens"] == before["tokens"] + 1100
    assert after["cost_usd"] == before["cost_usd"] + 2.0
    assert after["device_seconds"] == before["device_seconds"] + 4.5
    files.write_json(node.folder / "draft/preflight.json", {"device_seconds": None})
    assert spent.costs([node])["device_seconds"] is None
