"""The bench of error rates: its noise estimate, its simulated audits and the kept real timings."""

from __future__ import annotations

import importlib
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from speedrun import verdict

PARTS = ("error_sim", "error_table", "error_audits", "error_curves", "error_runs")


@pytest.fixture()
def bench(repository: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.syspath_prepend(str(repository / "bench"))
    return SimpleNamespace(**{name[6:]: importlib.import_module(name) for name in PARTS})


@pytest.fixture()
def data(bench: Any, repository: Path) -> Any:
    return bench.table.load(repository / "bench/data")


def test_noise_of_a_round_and_of_a_run_are_told_apart(bench: Any) -> None:
    generator = np.random.default_rng(0)
    known = bench.sim.Part(0.1, 0.03)
    means = np.array([[1.0], [2.0], [3.0], [9.0]])
    found = bench.table.part(means + bench.sim.draw(generator, known, "normal", 2000, 4).T)
    assert found.own_sd == pytest.approx(0.03, rel=0.05)
    assert found.shared_sd == pytest.approx(0.1, rel=0.05)
    assert np.std(found.residuals) == pytest.approx(1.0)


@pytest.mark.parametrize("shape", ["normal", "measured", "heavy"])
def test_every_shape_of_noise_has_the_same_size(bench: Any, data: Any, shape: str) -> None:
    part = data.noise.time
    drawn = bench.sim.own(np.random.default_rng(1), part, shape, (200_000, 1))
    assert np.std(drawn) == pytest.approx(part.own_sd, rel=0.1)


def test_kept_timings_hold_every_program_in_every_round(bench: Any, data: Any) -> None:
    for rounds in (data.copies, data.quickstart, data.chain):
        names = bench.table.members(rounds)
        assert {verdict.START, verdict.TARGET} < set(names) or len(names) == 8
        assert all(sorted(run.member for run in one) == names for one in rounds)
        assert all(run.time_s and run.val_loss for one in rounds for run in one)


def test_an_honest_program_is_confirmed_and_a_shaved_print_is_not(bench: Any, data: Any) -> None:
    found = {}
    for shave in (0.0, 0.2):
        winner = bench.audits._program(data, "r08", shave)
        generator = np.random.default_rng(2)
        found[shave] = bench.audits._verdicts(data, generator, 10, winner, 20)
    assert found[0.0]["confirmed"] == 1.0
    assert found[0.2] == {"confirmed": 0.0, "not_confirmed": 1.0, "failed": 0.0}


def test_work_after_the_clock_fails(bench: Any, data: Any) -> None:
    late = bench.sim.Program(5.0, 3.3, 0.02, 0.0, late_extra_s=3.0)
    assert bench.audits._verdicts(data, np.random.default_rng(3), 6, late, 20)["failed"] == 1.0


def test_a_true_gain_is_seen_more_often_than_none(bench: Any) -> None:
    part, generator = bench.sim.Part(0.0, 0.05), np.random.default_rng(4)
    none, some = (
        bench.sim.faster_share(generator, part, "normal", 10, gain, 0.05, 300)
        for gain in (0.0, 0.1)
    )
    assert none < 0.1 < 0.9 < some


def test_a_moved_machine_is_no_gain_and_the_drift_rule_sees_it(bench: Any) -> None:
    generator = np.random.default_rng(5)
    shares = [
        bench.sim.reused(generator, bench.curves.MACHINE, (2, 10, 3), 0.95, 0.0, moved, 0.05, 100)
        for moved in (0.01, 0.03)
    ]
    assert [round(share[1]) for share in shares] == [1, 0]
    assert all(called < 0.15 for called, _, _ in shares)


def test_steps_for_a_wanted_saving_follow_from_the_calibration(bench: Any) -> None:
    cost = bench.runs._Cost({170: 5.0, 110: 3.5})
    assert [cost.steps(saved) for saved in (0.0, 0.05, 0.1)] == [170, 160, 150]
