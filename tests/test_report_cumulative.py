"""report: a cumulative sweep: both scores, and what an ended chain did not attempt."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

import sweep_files
from report_runs import rows, score_all
from speedrun import files, schema, trials
from speedrun.schema import Outcome
from speedrun.stages import report
from speedrun.stages.report import tables


@pytest.fixture(scope="module")
def ended(tmp_path_factory: pytest.TempPathFactory) -> tuple[trials.Plan, Path]:
    """The sample sweep in cumulative mode, whose last arm's chain had ended before."""
    root = tmp_path_factory.mktemp("ended")
    plan = sweep_files.sweep(root, rounds=6)
    modes = {trial.arm: "cumulative" for trial in plan.trials} | {"null": "optimize"}
    values = [dataclasses.replace(trial, mode=modes[trial.arm]) for trial in plan.trials]
    plan = dataclasses.replace(plan, trials=values)
    folder = Path(plan.trials[3].folder)
    link = trials.Link("x", None, True, "the chain ended at <r00-r01>")
    files.write_json(folder / "start/chain.json", link.to_json())
    skipped = sweep_files.analysis(
        Outcome.NOT_ATTEMPTED, None, device_seconds=0.0, reason=link.reason
    )
    for number in range(1, 4):
        schema.save(folder / f"node_{number}" / "analysis.json", skipped)
    score_all(plan, root)
    report.build(plan, root / "sweep", root / "sweep" / "report")
    return plan, root / "sweep" / "report"


def test_what_was_not_attempted_is_no_failure(ended: tuple[trials.Plan, Path]) -> None:
    nodes = [row for row in rows(ended[1] / "nodes.csv") if row["arm"] == "tuner"]
    assert {row["outcome"] for row in nodes} == {"not_attempted"}
    kinds, counts = tables.failures(nodes)
    assert kinds == [] and counts == [{"arm": "tuner", "not_attempted": 3}]
    arms = {row["arm"]: row for row in rows(ended[1] / "arms.csv") if row["task"] == "r01-r02"}
    assert [arms[name]["n_not_attempted"] for name in ("tuner", "null")] == ["1", "0"]
    page = (ended[1] / "index.html").read_text()
    assert "tuner: 3 nodes not attempted, because the chain had ended" in page
    how = page.split("<h2>How nodes ended</h2>")[1].split("</table>")[0]
    assert "not attempted" not in how


def test_a_cumulative_sweep_shows_both_scores(ended: tuple[trials.Plan, Path]) -> None:
    scores = {row["arm"]: row for row in rows(ended[1] / "scores.csv")}
    assert scores["oracle"]["fsr_own_start"] == scores["oracle"]["fsr"]
    assert scores["tuner"]["fsr_own_start"] == "0"
    assert scores["tuner"]["own_start_reason"] == "the chain ended at <r00-r01>"
    arms = {row["arm"]: row for row in rows(ended[1] / "arms.csv") if row["task"] == "r01-r02"}
    assert arms["replay"]["fsr_own_start"] == arms["replay"]["fsr"]
    page = (ended[1] / "index.html").read_text()
    assert page.count("<th>own start</th>") == 2
    assert page.count("<th>mode</th>") == 1 and page.count("<td>optimize</td>") == 1
    assert "In mode optimize a trial is to make the start as fast as it goes." in page
    assert "0.00 (the chain ended at &lt;r00-r01&gt;)" in page
    head, *_ = report.text_table(ended[0], ended[1].parent).splitlines()
    assert head.split()[-3:] == ["mode", "own", "start"]
