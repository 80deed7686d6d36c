"""The audit's rules: what a winner's re-timings must show, and the sentences that say so.

The speedrun's own rule is statistical: the mean loss over the runs is <= the target at a small
p. The probe rule guards the loss itself; both take timings and return plain JSON values.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from speedrun import stats
from speedrun.interleave import Timing

START, TARGET = "start", "target"
POOLED_PROBE_SHARE = 0.5  # of the track's tolerance for one run
POOLED_PROBE_CONFIDENCE = 0.99


def loss_rule(runs: Sequence[Timing], target_loss: float) -> dict[str, Any]:
    """Return n, mean loss and the one-sided p that it is <= the target; p None: no evidence."""
    losses = [run.val_loss for run in runs if run.val_loss is not None and not run.failed]
    if not losses:
        return {"n": 0, "mean": None, "p": None}
    mean = stats.summarise(losses).mean
    return {"n": len(losses), "mean": mean, "p": stats.mean_below(losses, target_loss)}


def probe_rule(
    runs: Sequence[Timing], timings: Sequence[Timing], tolerance: float
) -> dict[str, Any]:
    """Return the mean excess of the winner's probe difference over the records', and its limit."""
    excess = [value for run in runs if (value := _excess(run, timings)) is not None]
    limit = tolerance * POOLED_PROBE_SHARE
    if not excess:
        return {"n": 0, "mean_excess": None, "lower_bound": None, "limit": limit, "ok": True}
    low = stats.mean_lower_bound(excess, POOLED_PROBE_CONFIDENCE)
    mean = stats.summarise(excess).mean
    ok = low is None or low <= limit
    return {"n": len(excess), "mean_excess": mean, "lower_bound": low, "limit": limit, "ok": ok}


def _excess(run: Timing, timings: Sequence[Timing]) -> float | None:
    records = [
        timing.probe_difference
        for timing in timings
        if timing.member in (START, TARGET)
        and timing.round == run.round
        and timing.probe_difference is not None
    ]
    if run.probe_difference is None or not records:
        return None
    return run.probe_difference - stats.summarise(records).mean


def judge(
    runs: Sequence[Timing], measured: dict[str, Any], loss_p_max: float
) -> tuple[str, list[str]]:
    """Return the verdict of the module's rule and the sentences that support it."""
    failures = [f"round {run.round + 1}: {run.outcome}: {run.reason}" for run in runs if run.failed]
    if failures:
        return "failed", failures
    loss, probes = measured["loss"], measured["probes"]
    loss_ok = loss["p"] is not None and loss["p"] < loss_p_max
    evidence = [_loss_sentence(loss, loss_p_max), _probe_sentence(probes), _time_sentence(measured)]
    verdict = "confirmed" if loss_ok and probes["ok"] else "not_confirmed"
    return verdict, evidence


def _loss_sentence(loss: dict[str, Any], loss_p_max: float) -> str:
    if loss["p"] is None:
        return f"the losses of {loss['n']} runs have no spread to test (seed ignored, or n < 2)"
    relation = "<" if loss["p"] < loss_p_max else ">="
    return (
        f"mean loss {loss['mean']:.4f} over {loss['n']} runs is below the target at "
        f"p = {loss['p']:.2g} {relation} {loss_p_max:g}"
    )


def _probe_sentence(probes: dict[str, Any]) -> str:
    if not probes["n"]:
        return "no probe answers to compare"
    state = "within" if probes["ok"] else "above"
    return (
        f"probe loss exceeds the printed loss by {probes['mean_excess']:+.4f} more than the "
        f"records' over {probes['n']} rounds, {state} the limit {probes['limit']:.3f}"
    )


def _time_sentence(measured: dict[str, Any]) -> str:
    ratio = measured["faster_than_start"]
    if ratio is None:
        return "no round with three times"
    p = "untestable" if ratio["p"] is None else f"p = {ratio['p']:.2g}"
    return f"time is {ratio['ratio']:.3f} of the start's over {ratio['n']} rounds ({p})"
