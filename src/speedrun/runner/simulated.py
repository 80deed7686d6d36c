"""A stand-in for a training run, for tests and dry sweeps that need equal bytes."""

from __future__ import annotations

import random
import time
from collections.abc import Iterator
from pathlib import Path

from speedrun import files
from speedrun.files import SpeedrunError
from speedrun.runner.log import encode
from speedrun.schema import RunExit, TrainSpec

STEPS = 5


def run(digest: str, seed: int, spec: TrainSpec, log: Path) -> RunExit:
    """Write a log that depends on nothing but the solution's digest and the seed.

    A solution has a time of 5 to 20 s and reaches the target with probability 0.8; the seed
    moves both a little. SIMULATED_SECONDS of the environment really pass, and leave no trace.
    """
    target_loss = _number(spec, "SIMULATED_TARGET")
    time.sleep(_number(spec, "SIMULATED_SECONDS", "0"))
    nature, noise = random.Random(digest), random.Random(f"{digest} {seed}")
    total_s = 5 + 15 * nature.random() + 0.1 * noise.random()
    gap = nature.uniform(0.005, 0.05) * (1 if nature.random() < 0.8 else -1)
    loss = target_loss - gap + noise.uniform(-0.002, 0.002)
    files.write_bytes(log, b"".join(_lines(loss, total_s)))
    return RunExit(
        ran=True,
        reason="exited",
        exit_code=0,
        wall_s=round(total_s, 3),
        cpu_s=round(total_s, 3),
        cpu_total_s=round(total_s, 3),
    )


def _number(spec: TrainSpec, name: str, default: str = "") -> float:
    try:
        return float(spec.environment.get(name, default))
    except ValueError as error:
        raise SpeedrunError(
            f"the simulated trainer needs a number: set train.environment.{name}"
        ) from error


def _lines(loss: float, total_s: float) -> Iterator[bytes]:
    for index in range(1, STEPS + 1):
        step, at_s = 100 * index, round(total_s * index / STEPS, 3)
        now = loss + 0.4 * (STEPS - index)
        line = (
            f"step:{step}/{100 * STEPS} val_loss:{now:.4f} "
            f"train_time:{at_s * 1000:.0f}ms step_avg:{at_s * 1000 / step:.2f}ms"
        )
        yield encode({"wall_s": at_s, "cpu_s": at_s, "line": line})
