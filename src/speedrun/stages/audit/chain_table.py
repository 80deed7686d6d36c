"""The table of a track's record chain: all records timed in one interleaved block."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from speedrun import files, interleave, schema, stats, trials, versions
from speedrun.interleave import Run, Timing
from speedrun.stages.audit.block import cores, of

CHAIN_RATIO_BOUND = 0.95  # each record at least 5 % faster than the last


def measure_chain(
    track: schema.TrackSpec,
    records: Sequence[tuple[str, Path]],
    settings: trials.AuditPlan,
    run: Run,
    store: Path,
    spec_digest: str,
    progress: Callable[[str], None] = lambda line: None,
) -> list[dict[str, Any]]:
    """Time all records of a track in one interleaved block; return one table row a record.

    Per record: n, mean and sd of loss and time, the geometric mean time ratio to the previous
    record with the one-sided p of ratio < 0.95, and how many sd of the loss lie between its
    mean and the target.
    """
    members = [interleave.member(name, folder, trusted=True) for name, folder in records]
    key = files.digest_value([track.name, spec_digest, versions.RETIMING])
    sizes = (settings.rounds, settings.lanes, settings.seed)
    block = interleave.plan_block(members, track.entry, *sizes, key, cores(track))
    timings = interleave.run_block(block, track, run, store, progress)
    rows = [_chain_row(track, of(timings, name)) for name, _ in records]
    for before_row, row in itertools.pairwise(rows):
        now, before = (_clocks(timings, one["record"]) for one in (row, before_row))
        row.update(_step(stats.ratio_below(now, before, CHAIN_RATIO_BOUND, settings.confidence)))
    return rows


def _clocks(timings: Sequence[Timing], name: str) -> list[float]:
    return [timing.time_s for timing in of(timings, name) if timing.time_s is not None]


def _step(test: stats.RatioTest) -> dict[str, Any]:
    return {
        "ratio": test.ratio,
        "ratio_low": test.low,
        "ratio_high": test.high,
        "p_ratio_below": test.p,
        "ratio_bound": test.bound,
    }


def _chain_row(track: schema.TrackSpec, runs: Sequence[Timing]) -> dict[str, Any]:
    times = stats.summarise([run.time_s for run in runs if run.time_s is not None])
    losses = stats.summarise([run.val_loss for run in runs if run.val_loss is not None])
    margin = (track.target_loss - losses.mean) / losses.sd if losses.sd else None
    return {
        "record": runs[0].member,
        "n": len(runs),
        "loss_mean": losses.mean,
        "loss_sd": losses.sd,
        "time_mean_s": times.mean,
        "time_sd_s": times.sd,
        "n_missed": sum(run.outcome == schema.Outcome.MISSED_TARGET for run in runs),
        "margin_sd": margin,
        **dict.fromkeys(("ratio", "ratio_low", "ratio_high", "p_ratio_below", "ratio_bound")),
    }
