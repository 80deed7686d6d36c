"""report: an arm's mean over tasks and trials, and the tasks that it leaves out."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from report_runs import PNG, rows, scored
from speedrun import trials
from speedrun.stages import report, score
from speedrun.stages.report import figures, tables


def test_seeds_make_the_interval_one_over_trials(tmp_path: Path) -> None:
    plan = scored(tmp_path)
    results = tables.read(plan, tmp_path / "sweep")
    extra = [{**row, "seed": 1, "fsr_audited": (row["fsr_audited"] or 0) + 0.1}
             for row in results.rows]  # fmt: skip
    results.score["r01-r02"]["trials"].extend(extra)
    found = {(row["arm"], row["task"]): row for row in tables.arms(results)}
    assert found["replay", "all"]["interval"] == "trials"
    assert found["replay", "all"]["n_trials"] == 2
    assert found["replay", "all"]["fsr_low"] < found["replay", "all"]["fsr_high"]


def two_tasks(root: Path, answer: bool | None) -> tables.Results:
    """The sample sweep's results, and a second task with ``answer`` to whether it counts."""
    plan = scored(root)
    results = tables.read(plan, root / "sweep")
    second = dataclasses.replace(plan.tasks[0], task="r02-r03")
    rows = [
        {**row, "task": "r02-r03", "fsr_audited": 9.0, "measurable": str(answer).lower()}
        for row in results.rows
    ]
    measured = {**results.score["r01-r02"]["measurable"], "measurable": answer}
    score = {"task": "r02-r03", "trials": rows, "measurable": measured}
    plan = dataclasses.replace(plan, tasks=[*plan.tasks, second])
    audits = {**results.audit, "r02-r03": results.audit["r01-r02"]}
    scores = {**results.score, "r02-r03": score}
    return dataclasses.replace(results, plan=plan, score=scores, audit=audits)


@pytest.mark.parametrize("answer", [False, None])
def test_means_leave_out_what_is_not_shown_to_be_measurable(
    tmp_path: Path, answer: bool | None
) -> None:
    results = two_tasks(tmp_path, answer)
    assert results.left_out == ["r02-r03"]
    found = {(row["arm"], row["task"]): row for row in tables.arms(results)}
    alone, whole = found["replay", "r01-r02"], found["replay", "all"]
    assert whole["fsr_audited"] == alone["fsr_audited"] != 9.0
    assert (whole["n_tasks"], whole["n_left_out"], whole["n_trials"]) == (1, 1, 1)
    assert found["replay", "r02-r03"]["fsr_audited"] == 9.0  # kept by task
    path = figures.draw_fsr(tables.arms(results), tmp_path / "fsr.png")
    assert path.read_bytes().startswith(PNG)
    both = {(row["arm"], row["task"]): row for row in tables.arms(two_tasks(tmp_path, True))}
    assert both["replay", "all"]["fsr_audited"] == (alone["fsr_audited"] + 9.0) / 2


def test_a_sweep_without_any_measurable_task_has_no_mean(tmp_path: Path) -> None:
    plan = dataclasses.replace(scored(tmp_path), p_max=0.0)
    paths = [
        tmp_path / "sweep" / stage / "nano" / "r01-r02.json"
        for stage in ("audit", "similarity", "judge", "review", "score")
    ]
    score.score_task(plan, "r01-r02", *paths)
    reason = "r01 needs 8 GPUs <b>here</b>"
    plan = dataclasses.replace(plan, not_run=[trials.NotRun("r04-r05", reason)])
    report.build(plan, tmp_path / "sweep", tmp_path / "out")
    found = {(row["arm"], row["task"]): row for row in rows(tmp_path / "out" / "arms.csv")}
    whole = found["replay", "all"]
    assert (whole["fsr"], whole["fsr_audited"], whole["interval"]) == ("", "", "none")
    assert (whole["n_tasks"], whole["n_left_out"]) == ("0", "1")
    assert found["replay", "r01-r02"]["measurable"] == "false"
    page = (tmp_path / "out" / "index.html").read_text()
    assert "no significant gain: the target takes 0." in page
    assert "r04-r05: r01 needs 8 GPUs &lt;b&gt;here&lt;/b&gt;" in page
    lines = report.text_table(plan, tmp_path / "sweep").splitlines()
    assert lines[-2].startswith("left out of means: r01-r02: no significant gain: the target")
    assert lines[-1] == f"not run: r04-r05: {reason}"
    column = rows(tmp_path / "out" / "scores.csv")[0]
    assert (column["measurable"], column["measurable_reason"][:5]) == ("false", "no si")
