"""Runs that were never made, and shards of a few tokens, for the tests of the audit."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np

import sweep_files
from speedrun import files, interleave, schema
from speedrun.cli import measure
from speedrun.interleave import Timing
from speedrun.schema import Outcome

CLOCKS = {"start": 10.0, "target": 5.0, "oracle-aa/s0": 5.0, "null-bb/s0": 10.0}


CLOCKS["replay-cc/s0"] = 7.0


def result(outcome: Outcome, time_s: float, loss: float, probe: float = 0.01, after_s: float = 2.0):
    """Return what a run function returns, without having run anything."""
    probes = schema.ProbeResult(8, loss + probe, 0.01, loss, probe)
    changes = {"val_loss": loss, "probes": probes}
    found = sweep_files.analysis(outcome, time_s, **changes)
    ended = schema.RunExit(ran=True, reason="exited", cpu_s=time_s, cpu_total_s=time_s + after_s)
    return ended, found


def timed_run(calls: list[tuple[str, int, int]], clocks: Callable[[str, int], float]):
    """Return a run function whose times come from ``clocks(solution text, seed)``."""

    def run(solution: Path, entry: str, out: Path, seed: int, cpu: int):
        code = (solution / entry).read_text()
        calls.append((code, seed, cpu))
        files.write_text(out / "log.txt", code)
        return result(Outcome.OK, clocks(code, seed), 3.40 + (seed % 97) / 5000)

    return run


def drifting(code: str, seed: int) -> float:
    """Return times whose drift, shared within a round, is far larger than the differences."""
    base = {sweep_files.START: 10.0, sweep_files.TARGET: 5.0, sweep_files.AGENT: 7.0}[code]
    return base * (1 + (seed % 1000) / 500) * (1 + (seed * len(code) % 13) / 2000)


def members(tmp_path: Path, names: str = "abc") -> list[interleave.Member]:
    for name in names:
        files.write_tree(tmp_path / name, {"train.py": f"print('{name}')\n"})
    return [interleave.member(name, tmp_path / name, trusted=False) for name in names]


def timing(
    round_: int, member: str, loss: float | None, probe: float | None, after_s: float | None
) -> Timing:
    return Timing(round_, member, 0, 1, Outcome.OK, "", 1.0, loss, probe, 3.0, after_s)


UNPROBED = schema.TrackSpec(
    name="nano", corpus="nano", records=["r01", "r02"], entry="train.py", target_loss=3.28,
    clock="train_time",
)  # fmt: skip


def simulated_bench(root: Path) -> measure.Bench:
    """A bench on a track without probes: shards of a few tokens, the simulated trainer."""
    for name in ("fineweb_train_000001.bin", "fineweb_val_000000.bin"):
        header = np.zeros(256, dtype="<i4")
        header[:3] = (20240520, 1, 8)
        content = header.tobytes() + np.arange(8, dtype="<u2").tobytes()
        files.write_bytes(root / "shards" / "public" / name, content)
    files.write_json(root / "shards" / "meta.json", {"vocab_size": 50257})
    spec = {"timeout_s": 60, "memory_mb": 1000, "output_mb": 1, "file_mb": 1, "processes": 8}
    spec |= {"threads": 16, "sandbox": "none", "trainer": "simulated", "launch": "torchrun"}
    spec |= {"environment": {"SIMULATED_TARGET": "3.28"}, "data_prefix": "fineweb10B/"}
    return measure.Bench(root / "shards", None, spec, UNPROBED)


def stopped(solution: Path, entry: str, out: Path, seed: int, cpu: int | None):
    raise AssertionError("a finished timing was made again")
