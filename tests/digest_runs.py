"""Runs of which only the log and the exit are there, analysed for the sake of their digest."""

from __future__ import annotations

import dataclasses
from pathlib import Path

from speedrun import schema
from speedrun.runner.log import encode
from speedrun.schema import Analysis, RunExit, TrackSpec
from speedrun.stages import analyze as stage

TRACK = TrackSpec(
    name="micro", corpus="c", records=["r01"], entry="train.py", target_loss=3.5, clock="cpu",
    after_clock_s_max=1.0, train_time_ratio_min=0.5,
)  # fmt: skip
ENDED = RunExit(
    ran=True, reason="exited", exit_code=0, wall_s=11.0, cpu_s=10.0, cpu_total_s=10.5,
    peak_rss_mb=99.4, seed=1, solution_digest="d" * 64, device="cpu", sandbox="bubblewrap",
)  # fmt: skip
CRASHED = dataclasses.replace(ENDED, exit_code=1)


def point(step: int, loss: float, cpu_s: float, steps: int = 20) -> tuple[float, str]:
    time_ms = round(cpu_s * 980)
    return cpu_s, f"step:{step}/{steps} val_loss:{loss} train_time:{time_ms}ms step_avg:1.0ms"


GOOD = [point(10, 4.0, 4.0), point(20, 3.4, 10.0)]
SLOWER = [point(10, 4.2, 5.0), point(15, 3.8, 8.0), point(20, 3.45, 12.5)]
Lines = list[tuple[float, str]]


def analyzed(
    folder: Path, lines: Lines, ended: RunExit = ENDED, before: Analysis | None = None
) -> Analysis:
    run = folder / "run"
    run.mkdir(parents=True, exist_ok=True)
    log = [{"wall_s": at + 0.5, "cpu_s": at, "line": line} for at, line in lines]
    (run / "log.jsonl").write_bytes(b"".join(map(encode, log)))
    schema.save(run / "exit.json", ended)
    return stage.analyze(run, TRACK, None, before=stage.Before(1, before) if before else None)


def told(folder: Path, output: str, *first: tuple[float, str]) -> list[str]:
    """The digest of a run that printed ``output`` and died."""
    lines = [*first, *[(11.0, line) for line in output.splitlines()]]
    return analyzed(folder, lines, CRASHED).digest.splitlines()
