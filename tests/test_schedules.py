"""The bench's simulated schedules: no schedule beats the bound, and known cases come out."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

sys.path.append(str(Path(__file__).resolve().parents[1] / "bench"))
import schedules
from schedules import Load

sizes = st.lists(st.lists(st.integers(1, 5), min_size=1, max_size=5), min_size=1, max_size=6)
loads = st.builds(Load, sizes, st.integers(1, 6), st.integers(0, 100), st.integers(1, 200))


@given(loads)
def test_no_schedule_beats_the_bound(load: Load) -> None:
    bound_s = schedules.bound_s(load)
    assert schedules.pipelined_s(load) >= bound_s
    assert schedules.serial_s(load) >= bound_s
    assert schedules.one_by_one_s(load) >= bound_s


@given(loads)
def test_the_share_is_work_over_device_time(load: Load) -> None:
    assert 0 < load.share(schedules.pipelined_s(load)) <= 1
    nodes = sum(map(sum, load.trials))
    assert load.share(nodes * load.training_s) == pytest.approx(1 / load.devices)


def test_a_trial_alone() -> None:
    load = Load([[2, 1]], devices=2, latency_s=60, training_s=180)
    assert schedules.pipelined_s(load) == 2 * 240 == schedules.bound_s(load)
    assert schedules.serial_s(load) == (120 + 180) + 240  # the second node is asked for later


def test_trials_side_by_side_fill_each_others_gaps() -> None:
    load = Load([[1, 1], [1, 1]], devices=1, latency_s=60, training_s=180)
    assert schedules.pipelined_s(load) == 60 + 4 * 180 == schedules.bound_s(load)
    assert schedules.one_by_one_s(load) == 4 * 240


def test_devices_serve_in_the_order_of_waiting() -> None:
    load = Load([[1, 1], [3]], devices=1, latency_s=10, training_s=100)
    # at 10 s: a, then b b b; a's second is ready at 120 s and waits for them
    assert schedules.pipelined_s(load) == 10 + 5 * 100
