"""audit and duel: what late work costs, and losses that do not vary over the seeds."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import sweep_files
import test_duel
from audit_runs import drifting, result, timing
from speedrun import interleave, stats, verdict
from speedrun.schema import Outcome
from speedrun.stages import audit, duel

NANO_RECORDS = ((3.05, 3.02, 3.06, 3.03, 3.04, 3.05), (3.01, 3.03, 2.99, 3.02, 3.04, 3.01))


def loss(values: Sequence[float], records: Sequence[Sequence[float]] = NANO_RECORDS) -> dict:
    runs = [timing(i, "agent", value, None, None) for i, value in enumerate(values)]
    return verdict.loss_rule(runs, 3.25, 0.0, records)


def test_losses_that_hardly_vary_are_no_evidence() -> None:
    lucky = [3.2062] * 6
    assert (loss(lucky)["p"], loss(lucky)["fixed"]) == (None, True)
    jitter = loss([3.205 + x / 1000 for x in (0, 1, -1, 1, 0, -1)])
    assert (jitter["p"], jitter["fixed"]) == (None, True)
    said = "losses hardly vary: 6 runs, sd 0.00089, records' 0.015: the seed seems to be ignored"
    assert verdict.fixed_sentence(jitter) == said


def test_records_of_each_other_and_half_their_deviation_pass() -> None:
    for one in NANO_RECORDS:
        assert not loss(one)["fixed"] and loss(one)["p"] < 0.01
    assert not loss([3.1 + x / 2 for x in NANO_RECORDS[0]])["fixed"]
    assert not loss([3.1, 3.2], [])["fixed"]  # nothing to compare with
    assert loss([3.2] * 6, [])["p"] is None
    assert not loss([3.201, 3.202], [[3.0], [3.1, 3.1]])["fixed"]  # these know no spread


def test_the_less_variable_record_is_the_yardstick() -> None:
    wide = [value * 20 for value in NANO_RECORDS[0]]
    found = loss(NANO_RECORDS[1], [wide, NANO_RECORDS[0]])
    assert found["records_sd"] == pytest.approx(np.std(NANO_RECORDS[0], ddof=1))


def test_equal_losses_have_no_spread_whatever_their_computed_deviation() -> None:
    values = [3.2062] * 6
    assert np.std(values, ddof=1) > 0  # the reason for the test
    assert stats.mean_below(values, 3.25) is None
    assert stats.summarise(values).sd == 0.0
    assert stats.spread_below([1.0, 2.0], values) is None


@given(st.integers(0, 2**32), st.sampled_from((6, 10, 16)))
def test_honest_losses_are_not_called_fixed(seed: int, rounds: int) -> None:
    generator = np.random.default_rng(seed)
    mine, *records = generator.normal(3.1, [[0.02], [0.02], [0.03]], (3, rounds)).tolist()
    assert not loss(mine, records)["fixed"]


def late(after: Sequence[float], records: float, time_s: float = 0.45) -> dict:
    rows = [
        (i, name, 3.0, None, s)
        for i, x in enumerate(after)
        for name, s in (("a", x), ("start", records))
    ]
    runs = [dataclasses.replace(timing(*row), time_s=time_s) for row in rows]
    return verdict.late_rule([one for one in runs if one.member == "a"], runs)


def test_late_work_matters_beside_the_time_that_it_saves() -> None:
    assert not late([0.15] * 6, 0.03)["ok"]  # a quarter of a run of 0.45 s
    assert late([0.04] * 6, 0.03)["ok"]  # the grain of the clock
    assert late([0.15] * 6, 0.03, time_s=5.0)["ok"]
    assert not late([0.6] * 6, 0.03, time_s=50.0)["ok"]


def test_what_is_spent_after_the_last_line_is_charged() -> None:
    found = late([0.05, 0.03, 0.04], 0.03)
    assert found["ok"] and found["charge_s"] == pytest.approx(0.01)
    runs = [
        timing(0, "a", 3.0, None, 0.05),
        dataclasses.replace(timing(1, "a", 3.0, None, None), time_s=None),
    ]
    assert [one.time_s for one in verdict.charged(runs, found)] == [pytest.approx(1.01), None]
    assert late([0.01] * 3, 0.03)["charge_s"] == 0.0
    assert verdict.charged(runs, verdict.late_rule([], [])) == runs


def test_the_audit_charges_and_says_so(tmp_path: Path) -> None:
    plan = sweep_files.sweep(tmp_path, rounds=6)

    def run(solution: Path, entry: str, out: Path, seed: int, cpu: int):
        clock, agent = drifting((solution / entry).read_text(), seed), "replay" in str(solution)
        moved = 0.4 if agent else 0.0
        losses = 3.40 + (seed % 97) / 5000
        return result(Outcome.OK, clock - moved, losses, after_s=2.0 + moved)

    data = audit.audit_task(plan, "r01-r02", run, tmp_path / "s", tmp_path / "a.json", "spec")
    found = {one["arm"]: one for one in data["trials"]}["replay"]
    assert found["verdict"] == "confirmed"
    assert found["late"]["charge_s"] == pytest.approx(0.4)
    assert "; 0.40 s are charged to its time" in " ".join(found["evidence"])
    assert found["fsr_audited"] == pytest.approx(0.6, abs=0.01)  # as if nothing had been moved
    name = found["trial"]
    raw = [one["runs"][name]["time_s"] for one in data["rounds"]]
    assert found["time_s"]["mean"] == pytest.approx(np.mean(raw))  # measured, not charged


def fought(timings: list[interleave.Timing]) -> dict:
    return duel.measure(test_duel.TRACK, timings, test_duel.Settings())


def test_a_duel_charges_late_work_and_wants_seeds() -> None:
    moved = test_duel.block(0.97, wobble=0.001, after_clock_s=1.45)
    found = fought(moved)
    assert found["late"]["ok"] and found["late"]["charge_s"] == pytest.approx(0.45)
    assert found["time"]["ratio"] > 1.0 and found["time"]["p"] > 0.05
    assert found["time"]["p_slower"] > 0.95  # of the measured times: the charge may be noise
    fixed = test_duel.verdict(test_duel.block(0.8, val_loss=3.41))
    assert fixed[0] == "invalid" and "losses hardly vary" in fixed[1]


@pytest.mark.parametrize(
    ("p", "word"), [(0.01, "yes"), (0.05, "no"), (0.9, "no"), (None, "unknown")]
)
def test_a_verdict_is_silent_on_speed_and_faster_is_not(p: float | None, word: str) -> None:
    ratio = {"ratio": 1.0, "low": None, "high": None, "p": p, "n": 6}
    assert verdict.faster(ratio) == word
    runs = [timing(i, "agent", value, None, None) for i, value in enumerate(NANO_RECORDS[0])]
    measured = {
        "loss": loss(NANO_RECORDS[0]),
        "probes": verdict.probe_rule(runs, runs, probed=False),
        "late": verdict.late_rule(runs, runs),
        "faster_than_start": ratio,
    }
    found, evidence = verdict.judge(runs, measured, 0.01)
    assert found == "confirmed"
    assert (evidence[0] == verdict.NOT_FASTER) == (word == "no")


def test_without_rounds_nothing_is_known_of_speed() -> None:
    assert verdict.faster(None) == "unknown"
