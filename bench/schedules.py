"""How long searches take on given devices: simulated schedules, and a bound that none can beat.

A trial is a list of generations. A node asks a model (``latency_s``), then trains (``training_s``)
on one of the devices, which all trials share; a generation begins when the last one has ended.
There is no other cost. Devices serve whoever has waited longest.
"""

from __future__ import annotations

import heapq
import itertools
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Load:
    """What is to be done. ``trials`` holds the sizes of each trial's generations."""

    trials: Sequence[Sequence[int]]
    devices: int
    latency_s: float
    training_s: float

    @property
    def work_s(self) -> float:
        """Device seconds of all trainings."""
        return self.training_s * sum(map(sum, self.trials))

    def share(self, makespan_s: float) -> float:
        """Return the share of the devices' time that is spent training."""
        return self.work_s / (self.devices * makespan_s)


def bound_s(load: Load) -> float:
    """Return a makespan that no schedule can beat.

    The longest chain of generations; and one answer, then all work evenly on the devices.
    """
    depth = max(len(generations) for generations in load.trials)
    chain_s = depth * (load.latency_s + load.training_s)
    return max(chain_s, load.latency_s + load.work_s / load.devices)


def pipelined_s(load: Load) -> float:
    """Return the makespan when a generation's questions are asked together, all trials at once."""
    return _simulate(load, serial=False)


def serial_s(load: Load) -> float:
    """Return the makespan when each trial asks for one node after another, all trials at once.

    A node trains as soon as it is written, and the next batch begins when all of this one ended:
    the loop of the paper's code, whose other questions (hypotheses, summaries) are left out.
    """
    return _simulate(load, serial=True)


def one_by_one_s(load: Load) -> float:
    """Return the makespan of the same loop with one trial after another."""
    alone = (Load([trial], load.devices, load.latency_s, load.training_s) for trial in load.trials)
    return sum(map(serial_s, alone))


def _simulate(load: Load, serial: bool) -> float:
    """Return when the last training ends; events are (time, order, trial) of written nodes."""
    free = [0.0] * load.devices
    order = itertools.count()
    written: list[tuple[float, int, int]] = []
    left = [iter(generations) for generations in load.trials]
    unfinished, ended = [0] * len(left), [0.0] * len(left)

    def begin(trial: int) -> None:
        size = next(left[trial], 0)
        unfinished[trial] = size
        for node in range(1, size + 1):
            asked_s = load.latency_s * (node if serial else 1)
            heapq.heappush(written, (ended[trial] + asked_s, next(order), trial))

    for trial in range(len(left)):
        begin(trial)
    while written:
        ready_s, _, trial = heapq.heappop(written)
        end_s = max(ready_s, heapq.heappop(free)) + load.training_s
        heapq.heappush(free, end_s)
        ended[trial] = max(ended[trial], end_s)
        unfinished[trial] -= 1
        if not unfinished[trial]:
            begin(trial)
    return max(ended)
