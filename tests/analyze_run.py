"""A run folder made by hand, honest unless told otherwise, and the analyze stage run on it."""

from __future__ import annotations

import dataclasses
import math
from pathlib import Path
from typing import Any

import numpy as np

from speedrun import schema
from speedrun.runner.log import encode
from speedrun.schema import Analysis, RunExit, TrackSpec
from speedrun.stages import analyze as stage
from speedrun.stages.analyze import probes

TRACK = TrackSpec(
    name="micro", corpus="c", records=["r01"], entry="train.py", target_loss=3.5, clock="cpu",
    probe_contexts=8, probe_length=4, probe_offset=0.1, probe_tolerance=0.2,
    after_clock_s_max=1.0, train_time_ratio_min=0.5,
)  # fmt: skip
ENDED = RunExit(
    ran=True, reason="exited", exit_code=0, wall_s=11.0, cpu_s=10.0, cpu_total_s=10.5,
    peak_rss_mb=99.0, seed=1, solution_digest="d" * 64, device="cpu", sandbox="bubblewrap",
    host="h",
)  # fmt: skip
CONTEXTS, VOCAB = 8, 16


def protocol_line(step: int, loss: object, time_ms: int, steps: int = 20) -> str:
    return f"step:{step}/{steps} val_loss:{loss} train_time:{time_ms}ms step_avg:1.0ms"


GOOD = [(4.0, protocol_line(10, 4.0, 3900)), (10.0, protocol_line(20, 3.4, 9800))]

# The clock "train_time": printed by the script, held against wall stamps (cpu_s + 0.5).
NANOGPT = {"clock": "train_time", "train_time_ratio_min": 0.5, "probe_contexts": 0}
MODERN = [(100.0, protocol_line(0, 10.8, 0)), (160.0, protocol_line(10, 4.0, 50_000)),
          (220.0, protocol_line(20, 3.4, 100_000))]  # fmt: skip


class Run:
    """A run folder made by hand, honest unless told otherwise."""

    def __init__(self, folder: Path) -> None:
        """Write logits with a loss of 3.5 on the targets."""
        self.folder, self.targets = folder / "run", folder / "probe_targets.npy"
        self.folder.mkdir(exist_ok=True)
        rows = np.random.default_rng(0).normal(size=(CONTEXTS, VOCAB))
        rows[:, -1] = 3.0
        self.wanted = np.arange(CONTEXTS, dtype=np.uint16)
        np.save(self.targets, self.wanted)
        self.answer(self.scaled(rows, 3.5))

    def scaled(self, rows: Any, loss: float) -> Any:
        """Return logits whose loss on the targets is ``loss``: the targets' columns moved."""
        rows, picked = rows.copy(), np.arange(CONTEXTS)
        rows[picked, self.wanted] = -np.inf
        others = np.log(np.exp(rows).sum(axis=1))
        rows[picked, self.wanted] = others - math.log(math.exp(loss) - 1)
        return rows.astype(np.float32)

    def answer(self, rows: Any) -> None:
        """Write the probe logits."""
        np.save(self.folder / probes.PROBE_ANSWER, rows)

    def analyze(
        self,
        lines: list[tuple[float, str]] | None = None,
        ended: RunExit = ENDED,
        **options: Any,
    ) -> Analysis:
        """Write log and exit, and run the stage."""
        stamped = GOOD if lines is None else lines
        log = [{"wall_s": at + 0.5, "cpu_s": at, "line": line} for at, line in stamped]
        (self.folder / "log.jsonl").write_bytes(b"".join(map(encode, log)))
        schema.save(self.folder / "exit.json", ended)
        track = dataclasses.replace(TRACK, **options.pop("track", {}))
        return stage.analyze(self.folder, track, options.pop("targets", self.targets), **options)


def nanogpt(run: Run, lines: list[tuple[float, str]]) -> Analysis:
    return run.analyze(lines, track=NANOGPT, targets=None)
