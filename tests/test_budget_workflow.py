"""Caps through Snakemake: work stops with one line, and goes on when the cap is raised."""

from __future__ import annotations

from pathlib import Path

import pytest

from served_arms import ALONE, SIMULATED, succeed, trial
from speedrun.adapters.ledger import Ledger
from workflow_runs import run

pytestmark = [pytest.mark.dag, pytest.mark.slow]


def test_at_a_cap_work_stops_with_one_line_that_says_what_to_raise(tmp_path: Path) -> None:
    overrides = [SIMULATED, *ALONE[1:4], "scaffold.n_nodes=3", "tasks=[r01-r02]"]
    overrides += ["scaffold.n_initial=3", "budget.trial.device_hours=0.02"]  # a run: 60 s
    done = run(tmp_path, "-c2", "trials", overrides=[*overrides, "+arms.again={coder: tuner}"])
    assert done.returncode != 0
    said = [line for line in done.stderr.splitlines() if line.startswith("speedrun generate:")]
    assert "budget.trial.device_hours = 0.02 of trial" in said[-1]
    assert """overrides='["budget.trial.device_hours=""" in said[-1]
    last = done.stderr.rstrip().splitlines()[-5:]
    assert any("budget.trial.device_hours" in line for line in last)
    assert "Traceback" not in done.stderr
    ledger = Ledger(tmp_path / "store/ledger.db")
    gone = trial(tmp_path, "r01-r02", "again").relative_to(tmp_path / "results") / "node_9"
    ledger.reserve(f"device/{gone}", "nano", "another trial", device_hours=0.1)
    raised = [*overrides[:-1], "budget.trial.device_hours=1", "+arms.again={coder: tuner}"]
    succeed(run(tmp_path, "-c2", "trials", overrides=raised))
    assert ledger.open_entries("nano") == []  # nor of a node that the sweep does not have
