"""How fast a winner is: audited FSR and its time beside the start's, by the references' policy.

With reused references the winner is compared with the start's runs of its own block, and the target
with the start's reference runs: a machine that has become 0.5 % faster in between would otherwise
make two of three programs that gain nothing faster than the start.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from speedrun import schema, stats, trials
from speedrun.interleave import Timing
from speedrun.stages.audit.block import INTERLEAVED, Record, of
from speedrun.verdict import START, TARGET

# Of the start's times in the block and in the reference runs, a ratio of at most 1 + this or its
# inverse is the same machine. Drift as such cancels, in the winner's saving and in the target's:
# what has changed by more may no longer save the same share. Runs of one program on one kind of
# card differ by some tenths of 1 %.
DRIFT_MAX = 0.02


def measured(
    settings: trials.AuditPlan,
    runs: Sequence[Timing],
    timings: Sequence[Timing],
    records: Mapping[str, Record],
) -> dict[str, Any]:
    """Return audited FSR with its interval and tests, and the time ratio to the start."""
    if settings.references == INTERLEAVED:
        a, b, c = _paired_times(runs, timings)
        interval = stats.audited_fsr(a, b, c, settings.confidence)
        faster = stats.ratio_below(b, a, 1.0, settings.confidence) if a else None
        pairs = list(zip(stats.savings(a, b), stats.savings(a, c), strict=True))
    else:
        a, b = _times(of(timings, START)), _times(runs)
        known = records[START].times, records[TARGET].times
        interval = stats.fsr_of_groups(a, b, *known, settings.confidence)
        faster = stats.ratio_of_independent(b, a, settings.confidence) if a and b else None
        pairs = []
    margin = settings.equivalence_margin
    return {
        "fsr_audited": interval.estimate if interval else None,
        "fsr": schema.to_dict(interval) if interval else None,
        "equivalent_to_1": interval is not None and stats.equivalent(interval, 1.0, margin),
        "equivalent_to_0": interval is not None and stats.equivalent(interval, 0.0, margin),
        "faster_than_start": _described(faster, settings.confidence, len(a)),
        "savings": [list(pair) for pair in pairs],
    }


def _described(
    test: stats.RatioTest | None, confidence: float, n_start: int
) -> dict[str, Any] | None:
    return {**schema.to_dict(test), "confidence": confidence, "n_start": n_start} if test else None


def _times(runs: Sequence[Timing]) -> list[float]:
    return [run.time_s for run in runs if run.time_s is not None]


def _paired_times(
    runs: Sequence[Timing], timings: Sequence[Timing]
) -> tuple[list[float], list[float], list[float]]:
    """Return A, B, C (start, agent, target) of the rounds in which all three have a time."""
    clock = {(timing.member, timing.round): timing.time_s for timing in timings}
    rows = [(clock[START, r.round], r.time_s, clock[TARGET, r.round]) for r in runs]
    whole = [(a, b, c) for a, b, c in rows if a is not None and b is not None and c is not None]
    return [a for a, _, _ in whole], [b for _, b, _ in whole], [c for _, _, c in whole]


def drift(
    settings: trials.AuditPlan, timings: Sequence[Timing], records: Mapping[str, Record]
) -> dict[str, Any] | None:
    """Return the geometric mean ratio of the block's start runs to the start's reference runs.

    None where the references run in the block. Without a run of the start in the block the drift
    is unknown, and no winner is confirmed.
    """
    if settings.references == INTERLEAVED:
        return None
    again = _times(of(timings, START))
    before = records[START].times
    base = {"n": len(again), "n_references": len(before), "limit": DRIFT_MAX}
    if not again:
        return {**base, "ratio": None, "low": None, "high": None, "ok": False}
    test = stats.ratio_of_independent(again, before, settings.confidence)
    ok = max(test.ratio, 1 / test.ratio) <= 1 + DRIFT_MAX
    return {**base, "ratio": test.ratio, "low": test.low, "high": test.high, "ok": ok}
