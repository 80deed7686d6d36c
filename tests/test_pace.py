"""pace: a winner far faster than the human target waits for a person, and can be accepted."""

from __future__ import annotations

from pathlib import Path

import pytest

import audit_runs
import sweep_files
from speedrun import pace, verdict
from speedrun.stages import audit


@pytest.mark.parametrize(
    ("time_s", "held"), [(1.6, True), (1.7, False), (5.0, False), (9.0, False)]
)
def test_a_third_of_the_targets_time_is_the_bound(time_s: float, held: bool) -> None:
    found = pace.check([time_s, time_s], [5.0, 5.0])
    assert found is not None and list(found.held) == ([verdict.FAST] if held else [])


def test_a_slow_run_among_them_hides_nothing() -> None:
    found = pace.check([0.5, 0.5, 0.5, 0.5, 0.5, 12.0], [5.0, 5.0])
    assert found is not None and list(found.held) == [verdict.FAST]


def test_without_times_there_is_nothing_to_compare() -> None:
    assert pace.check([], [5.0]) is None and pace.check([1.0], []) is None


def fast(code: str, seed: int) -> float:
    """Return the records' times, and a tenth of the target's for the agent."""
    base = {sweep_files.START: 10.0, sweep_files.TARGET: 5.0, sweep_files.AGENT: 0.5}[code]
    return base * (1 + (seed * len(code) % 13) / 2000)


def test_a_winner_at_a_tenth_of_the_target_is_held_and_an_honest_one_not(tmp_path: Path) -> None:
    plan = sweep_files.sweep(tmp_path, rounds=6)
    run = audit_runs.timed_run([], fast)
    data = audit.audit_task(plan, "r01-r02", run, tmp_path / "s", tmp_path / "a.json", "spec")
    found = {entry["arm"]: entry for entry in data["trials"]}
    assert found["replay"]["verdict"] == "review"
    assert found["replay"]["pace"]["flags"] == [verdict.FAST]
    assert any("0.10 of the target's time" in said for said in found["replay"]["evidence"])
    assert (found["oracle"]["verdict"], found["null"]["verdict"]) == ("confirmed", "confirmed")


def test_times_that_are_made_up_hold_nobody(tmp_path: Path) -> None:
    plan = sweep_files.sweep(tmp_path, rounds=6)
    arguments = (tmp_path / "s", tmp_path / "a.json", "spec")
    run = audit_runs.timed_run([], fast)
    data = audit.audit_task(plan, "r01-r02", run, *arguments, simulated=True)
    found = {entry["arm"]: entry for entry in data["trials"]}
    assert (found["replay"]["verdict"], found["replay"]["pace"]) == ("confirmed", None)
