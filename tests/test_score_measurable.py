"""score: whether a task's records differ enough to score on it, by runs or by the frozen list."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import sweep_files
from score_inputs import NO_WINNER, write_inputs
from speedrun import measurable, schema, trials
from speedrun.schema import Outcome
from speedrun.stages import score


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
