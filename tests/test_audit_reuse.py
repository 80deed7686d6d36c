"""audit: reused references, the machine's drift since, and times of independent runs."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest

import sweep_files
from audit_runs import UNPROBED, result, simulated_bench, stopped
from speedrun import files, interleave, measurable, schema, trials, verdict, views
from speedrun.schema import Outcome
from speedrun.stages import audit, review
from speedrun.stages.audit import block as blocks
from speedrun.stages.review import decisions

START_S, TARGET_S = (10.0, 10.4), (5.0, 5.2)  # of the reference runs (sweep_files)
CLOCKS = {sweep_files.START: 10.2, sweep_files.TARGET: 5.1, sweep_files.AGENT: 7.65}


def reused(root: Path, rounds: int = 6, drift_rounds: int = 2) -> trials.Plan:
    plan = sweep_files.sweep(root, rounds)
    settings = dataclasses.replace(plan.audit, references="reused", drift_rounds=drift_rounds)
    track = dataclasses.replace(UNPROBED, target_loss=3.5)
    _complete_references(root)
    return dataclasses.replace(plan, audit=settings, track=track)


def _complete_references(root: Path) -> None:
    """Write the exits of the reference runs, and times that the scripts printed."""
    times = zip(("r01", "r02"), (START_S, TARGET_S), strict=True)
    for record, printed in times:
        for i, time_s in enumerate(printed):
            folder = root / "references" / "nano" / "cpu" / record / f"run_{i}"
            ended, found = run_of(time_s, 3.45)
            schema.save(folder / "analysis.json", found)
            schema.save(folder / "run" / "exit.json", ended)


def run_of(time_s: float, loss: float, before_s: float = 5.0):
    """Return a run that compiles for ``before_s`` and validates for a second."""
    ended, found = result(Outcome.OK, time_s, loss)
    ms = int(time_s * 1000)
    curve = [
        schema.CurvePoint(50, 100, 4.0, ms // 2, before_s + time_s / 2, 0.0),
        schema.CurvePoint(100, 100, loss, ms, before_s + time_s + 1.0, 0.0),
    ]
    found = dataclasses.replace(found, curve=curve, train_time_ms=ms, probes=None)
    return dataclasses.replace(ended, wall_s=before_s + time_s + 3.0), found


def runs_with(calls: list[str], drift: float = 1.0, before_s: float = 5.0):
    """Return a run function with a machine that is slower than the references' by ``drift``."""

    def run(solution: Path, entry: str, out: Path, seed: int, cpu: int | None):
        code = (solution / entry).read_text()
        calls.append(code)
        noise = 1 + seed % 7 / 1000
        own = before_s if "replay" in str(solution) else 5.0
        return run_of(CLOCKS[code] * noise * drift, 3.40 + (seed % 97) / 5000, own)

    return run


def audited(root: Path, plan: trials.Plan, run: Any) -> dict[str, Any]:
    return audit.audit_task(plan, "r01-r02", run, root / "store", root / "a.json", "spec")


def entry_of(data: dict[str, Any], arm: str = "replay") -> dict[str, Any]:
    (found,) = [one for one in data["trials"] if one["arm"] == arm]
    return found


def test_winners_alone_are_timed_and_the_start_in_a_few_rounds(tmp_path: Path) -> None:
    calls: list[str] = []
    data = audited(tmp_path, reused(tmp_path), runs_with(calls))
    assert len(calls) == 6 * 3 + 2  # oracle, null and agent; no target
    present = [one["round"] for one in data["rounds"] if "start" in one["order"]]
    assert present == [0, 5]
    assert not any("target" in one["order"] for one in data["rounds"])
    assert data["records"]["target"]["time_s"]["mean"] == pytest.approx(5.1)
    assert data["records"]["start"]["val_loss"] == {"n": 2, "mean": 3.45, "sd": 0.0}
    assert measurable.rounds_of(data) == []
    found = entry_of(data)
    assert found["verdict"] == "confirmed"
    assert found["fsr_audited"] == pytest.approx(0.5, abs=0.03)
    assert found["fsr"]["low"] < 0.5 < found["fsr"]["high"]
    assert found["savings"] == []
    said = [one for one in found["evidence"] if one.startswith("time is")]
    assert "over 6 runs and 2 of the start beside them (90% interval" in said[0]


@pytest.mark.parametrize(
    ("drift", "word"), [(1.0, "confirmed"), (1.04, "not_confirmed"), (0.95, "not_confirmed")]
)
def test_a_machine_that_has_drifted_confirms_nothing(
    tmp_path: Path, drift: float, word: str
) -> None:
    data = audited(tmp_path, reused(tmp_path), runs_with([], drift))
    assert data["drift"]["ratio"] == pytest.approx(drift, abs=0.01)
    assert (data["drift"]["n"], data["drift"]["n_references"]) == (2, 2)
    assert data["drift"]["ok"] == (word == "confirmed")
    found = entry_of(data)
    assert found["verdict"] == word
    (said,) = [one for one in found["evidence"] if "reference runs' time here (n = 2)" in one]
    assert ("beyond the limit of 2%" in said) == (word != "confirmed")
    assert (found["evidence"][0] == said) == (word != "confirmed")
    assert found["fsr_audited"] == pytest.approx(0.5, abs=0.02)  # drift as such cancels


def test_without_a_run_of_the_start_the_drift_is_unknown(tmp_path: Path) -> None:
    data = audited(tmp_path, reused(tmp_path, drift_rounds=0), runs_with([]))
    assert data["drift"]["ratio"] is None and not data["drift"]["ok"]
    assert entry_of(data)["verdict"] == "not_confirmed"
    found = entry_of(data)
    assert found["evidence"][0].startswith("the drift since the reference runs is unknown")
    assert (found["fsr"], found["faster_than_start"]) == (None, None)


def started_long(root: Path, decision: str = "", noise: bool = False) -> dict[str, Any]:
    """Return the entry of a winner that starts for a minute, reviewed, perhaps decided on."""

    def on_noise(solution: Path, entry: str, out: Path, seed: int, cpu: int | None):
        time_s = CLOCKS[(solution / entry).read_text()]
        return run_of(time_s, 15.0, before_s=60.0 if "replay" in str(solution) else 5.0)

    plan, path = reused(root), root / "review.json"
    plan = dataclasses.replace(plan, audit=dataclasses.replace(plan.audit, noise_runs=int(noise)))
    solution = next(
        one.winner for one in blocks.entrants(plan, "r01-r02") if one.trial.arm == "replay"
    )
    assert solution
    if decision:
        made = decisions.Decision(
            "audit", verdict.LONG_START, decision, "A. Reader", "a new kernel"
        )
        decisions.write(decisions.path(root / "reviews", solution.solution), [made])
    review.review_task(plan, "r01-r02", root / "reviews", None, path)
    view = views.View("noise", root, 50257, 10**7, 0.0)
    unseen = {"noise": audit.Bench(view, on_noise, "noise")} if noise else None
    places = (root / "store", root / "a.json", "spec")
    run = runs_with([], before_s=5.0 if noise else 60.0)
    data = audit.audit_task(plan, "r01-r02", run, *places, review=path, unseen=unseen)
    assert entry_of(data, "oracle")["verdict"] == "confirmed"
    return entry_of(data)


@pytest.mark.parametrize("noise", [False, True])
def test_a_long_start_waits_for_a_person(tmp_path: Path, noise: bool) -> None:
    found = started_long(tmp_path, noise=noise)
    assert found["verdict"] == "review"
    begins = "noise run 1: 60.00 s" if noise else "round 1: 60.00 s"
    assert found["evidence"][0].startswith(f"{begins} outside the printed train_time before")
    assert found["noise" if noise else "untimed"]["flags"] == [verdict.LONG_START]
    if not noise:
        assert found["untimed"]["n_references"] == 4 + 2
        assert "(6 of 6 runs)" in found["evidence"][0]
    found = started_long(tmp_path, "accepted", noise)
    assert found["verdict"] == "confirmed"
    assert "accepted by A. Reader: a new kernel" in " ".join(found["evidence"])
    found = started_long(tmp_path, "rejected", noise)
    assert found["verdict"] == "failed"
    assert found["evidence"][0].endswith("rejected by A. Reader: a new kernel")


def test_a_reused_block_resumes_and_its_rounds_are_part_of_it(tmp_path: Path) -> None:
    data = audited(tmp_path, reused(tmp_path), runs_with([]))
    assert audited(tmp_path, reused(tmp_path), stopped) == data
    other = audited(tmp_path, reused(tmp_path, drift_rounds=3), runs_with([]))
    assert other["block"] != data["block"]


def test_references_that_never_ended_are_our_failure(tmp_path: Path) -> None:
    plan = reused(tmp_path)
    for i in (0, 1):
        folder = tmp_path / "references" / "nano" / "cpu" / "r02" / f"run_{i}"
        schema.save(folder / "analysis.json", sweep_files.analysis(Outcome.TIMEOUT, None))
    with pytest.raises(files.SpeedrunError, match="none of 2 reference runs of r02"):
        audited(tmp_path, plan, runs_with([]))


def test_an_unknown_policy_is_refused(tmp_path: Path) -> None:
    plan = sweep_files.sweep(tmp_path)
    odd = dataclasses.replace(plan, audit=dataclasses.replace(plan.audit, references="guessed"))
    with pytest.raises(files.SpeedrunError, match="choose interleaved or reused"):
        audited(tmp_path, odd, stopped)


def test_without_a_winner_nothing_is_run(tmp_path: Path) -> None:
    plan = reused(tmp_path)
    alone = [one for one in plan.trials if one.arm == "tuner"]
    data = audited(tmp_path, dataclasses.replace(plan, trials=alone), stopped)
    assert [one["order"] for one in data["rounds"]] == [[]] * 6


@pytest.mark.parametrize(("count", "rounds"), [(1, 4), (2, 4), (3, 6), (4, 4), (9, 4)])
def test_the_rounds_of_a_few_are_spread_over_the_block(count: int, rounds: int) -> None:
    found = interleave.spread(count, rounds)
    assert len(set(found)) == len(found) == min(count, rounds)
    assert found[0] == 0 and (count == 1 or found[-1] == rounds - 1)


def test_simulated_runs_give_equal_bytes(tmp_path: Path) -> None:
    """The simulated trainer under nanogpt's own policy: nothing is asked of noise."""
    plan = reused(tmp_path)
    settings = dataclasses.replace(plan.audit, noise_runs=1, holdout_runs=1)
    plan = dataclasses.replace(plan, audit=settings)
    bench = simulated_bench(tmp_path)
    out, store = tmp_path / "a.json", tmp_path / "store"
    found = []
    for place in (store, tmp_path / "other"):
        audit.audit_task(plan, "r01-r02", bench.run, place, out, bench.digest)
        found.append(out.read_bytes())
    assert found[0] == found[1]
    evidence = [one for t in files.read_json(out)["trials"] for one in t["evidence"]]
    assert "noise: not run, as nothing is in a simulation" in evidence
