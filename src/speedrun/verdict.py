"""The audit's rules: what a winner's re-timings must show, and the sentences that say so.

The speedrun's own rule is statistical: the mean loss over the runs is <= the target at a small
p. The probe rule guards the printed loss, the late rule the clock: a program whose clock has
stopped may answer its probes, but not train on for them. All compare a winner with the two
records of the same round, take timings and return plain JSON values.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from speedrun import stats
from speedrun.interleave import Timing

START, TARGET = "start", "target"
# Checks of their own modules: each a mapping with the sentences "failures" (the winner fails),
# "held" (a person must look) and "evidence" (all is well).
CHECKS = ("review", "untimed", "noise", "holdout")
PROBE_CONFIDENCE = 0.99
# nats per token. The records of a chain differ by up to 0.05 in their means over rounds, with a
# standard deviation of 0.02 to 0.05 a round: what is surely above this is no honest print.
PROBE_EXCESS_MAX = 0.05
# The exit of the interpreter and the probes cost an honest run 1 to 2.8 CPU s on the micro track;
# over four rounds on a busy machine an honest winner's mean was up to 0.54 s (25 %) above them.
# Both limits must be passed: the first spares tracks whose probes cost milliseconds, the second
# those whose probes cost seconds.
LATE_EXCESS_MAX_S = 0.5
LATE_EXCESS_MAX_SHARE = 0.3


def loss_rule(runs: Sequence[Timing], target_loss: float, correction: float) -> dict[str, Any]:
    """Return n, mean loss and the one-sided p that it is <= the target; p None: no evidence.

    ``correction`` (nats, >= 0, the probe rule's) is added to every printed loss first. Where a run
    ended without a finite loss (``n_diverged``) the others' mean is no evidence.
    """
    ended = [run.val_loss for run in runs if not run.failed]
    printed = [loss for loss in ended if loss is not None]
    base = {"n": len(printed), "n_diverged": len(ended) - len(printed)}
    if not printed:
        return {**base, "mean": None, "printed_mean": None, "p": None}
    losses = [loss + correction for loss in printed]
    means = {"mean": _mean(losses), "printed_mean": _mean(printed)}
    p = None if base["n_diverged"] else stats.mean_below(losses, target_loss)
    return {**base, **means, "p": p}


def probe_rule(
    runs: Sequence[Timing], timings: Sequence[Timing], *, probed: bool = True
) -> dict[str, Any]:
    """Return by how much the winner's print is surely too low, in nats per token.

    A round's excess is the winner's probe difference less the mean of the records', whose noise
    it shares. ``correction`` is the part of the mean excess above its own 99 % noise. One round
    shows no noise and so proves nothing. ``probed`` is whether the track has probes: one without,
    and a block in which nobody was asked (simulated runs), speak neither for a winner nor against.
    """
    excess = [value for run in runs if (value := _probe_excess(run, timings)) is not None]
    base = {"n": len(excess), "limit": PROBE_EXCESS_MAX, "probed": probed}
    if not excess:
        silent = all(timing.probe_difference is None for timing in timings)
        none = {"mean_excess": None, "lower_bound": None, "correction": 0.0}
        return {**base, **none, "ok": not probed or silent}
    low = stats.mean_lower_bound(excess, PROBE_CONFIDENCE)
    return {
        **base,
        "mean_excess": _mean(excess),
        "lower_bound": low,
        "correction": max(0.0, low or 0.0),
        "ok": low is not None and low <= PROBE_EXCESS_MAX,
    }


def late_rule(runs: Sequence[Timing], timings: Sequence[Timing]) -> dict[str, Any]:
    """Return the winner's mean CPU seconds after its last protocol line beside the records'.

    Each round's yardstick is the slower of its start and target; all three are of that round.
    Only the clock "cpu" has such seconds (interleave.Timing): on another the rule is silent, n = 0.
    """
    pairs = [
        (run.after_clock_s, max(records))
        for run in runs
        if run.after_clock_s is not None and (records := _records(run, timings, "after_clock_s"))
    ]
    if not pairs:
        return {"n": 0, "mean_s": None, "records_s": None, "excess_s": None, "ok": True}
    mean, yardstick = (_mean(values) for values in zip(*pairs, strict=True))
    excess = mean - yardstick
    late = excess > LATE_EXCESS_MAX_S and excess > LATE_EXCESS_MAX_SHARE * yardstick
    found = {"mean_s": mean, "records_s": yardstick, "excess_s": excess}
    return {"n": len(pairs), **found, "ok": not late}


def _mean(values: Sequence[float]) -> float:
    return stats.summarise(values).mean


def _records(run: Timing, timings: Sequence[Timing], name: str) -> list[float]:
    """Return one measured value of start and target in the round of ``run``."""
    found = [
        getattr(timing, name)
        for timing in timings
        if timing.member in (START, TARGET) and timing.round == run.round
    ]
    return [value for value in found if value is not None]


def _probe_excess(run: Timing, timings: Sequence[Timing]) -> float | None:
    records = _records(run, timings, "probe_difference")
    if run.probe_difference is None or not records:
        return None
    return run.probe_difference - _mean(records)


def judge(
    runs: Sequence[Timing], measured: dict[str, Any], loss_p_max: float
) -> tuple[str, list[str]]:
    """Return the verdict and the sentences that support it, those against the winner first.

    failed, else not_confirmed, else review (open flags that a person must accept), else confirmed.
    Of ``measured`` the keys in CHECKS and "drift" may be absent or None: nothing was checked there.
    """
    failures = [f"round {run.round + 1}: {run.outcome}: {run.reason}" for run in runs if run.failed]
    loss, probes, late = measured["loss"], measured["probes"], measured["late"]
    if not late["ok"]:
        failures.append(_late_sentence(late))
    failures += _said(measured, "failures")
    if failures:
        return "failed", failures
    drift, held = measured.get("drift"), _said(measured, "held")
    loss_ok = loss["p"] is not None and loss["p"] < loss_p_max
    checks = [
        (loss_ok, _loss_sentence(loss, probes["correction"], loss_p_max)),
        (probes["ok"], _probe_sentence(probes)),
        *([(drift["ok"], _drift_sentence(drift))] if drift else []),
        *((False, sentence) for sentence in held),
        *([(True, _late_sentence(late))] if late["n"] else []),
        (True, _time_sentence(measured)),
        *((True, sentence) for sentence in _said(measured, "evidence")),
    ]
    evidence = [sentence for _, sentence in sorted(checks, key=lambda check: check[0])]
    if not (loss_ok and probes["ok"] and (drift is None or drift["ok"])):
        return "not_confirmed", evidence
    return "review" if held else "confirmed", evidence


def _said(measured: dict[str, Any], kind: str) -> list[str]:
    """Return the sentences of one kind that the further checks bring."""
    found = [measured.get(name) for name in CHECKS]
    return [sentence for check in found if check for sentence in check[kind]]


def _loss_sentence(loss: dict[str, Any], correction: float, loss_p_max: float) -> str:
    if loss["n_diverged"]:
        runs = loss["n"] + loss["n_diverged"]
        return f"{loss['n_diverged']} of {runs} runs ended without a finite loss"
    if loss["p"] is None:
        return f"the losses of {loss['n']} runs have no spread to test (seed ignored, or n < 2)"
    relation = "<" if loss["p"] < loss_p_max else ">="
    corrected = (
        f" (printed {loss['printed_mean']:.4f}, {correction:.4f} added for the probes)"
        if correction
        else ""
    )
    return (
        f"mean loss {loss['mean']:.4f}{corrected} over {loss['n']} runs is below the target at "
        f"p = {loss['p']:.2g} {relation} {loss_p_max:g}"
    )


def _probe_sentence(probes: dict[str, Any]) -> str:
    if not probes["probed"]:
        return "no probes on this track: the printed losses stand unchecked"
    if not probes["n"]:
        return "no probe answers to compare"
    excess = (
        f"probe loss exceeds the printed loss by {probes['mean_excess']:+.4f} more than the "
        f"records'"
    )
    if probes["lower_bound"] is None:
        return f"{excess} in one round, whose noise is unknown: two rounds are needed"
    state = "within" if probes["ok"] else "above"
    return (
        f"{excess} over {probes['n']} rounds, surely by {probes['lower_bound']:+.4f}, "
        f"{state} the limit {probes['limit']:g}"
    )


def _late_sentence(late: dict[str, Any]) -> str:
    figures = (
        f"{late['mean_s']:.2f} CPU s after the last protocol line, the records "
        f"{late['records_s']:.2f}, mean of {late['n']} rounds"
    )
    if late["ok"]:
        return f"used {figures}"
    limits = f"allowed {LATE_EXCESS_MAX_S:g} s or {LATE_EXCESS_MAX_SHARE:.0%} more"
    return f"works after the clock: {figures}, {limits}"


def _time_sentence(measured: dict[str, Any]) -> str:
    ratio = measured["faster_than_start"]
    if ratio is None:
        return "no round with three times"
    p = "untestable" if ratio["p"] is None else f"p = {ratio['p']:.2g}"
    if ratio.get("low") is not None:
        share = f"{ratio['confidence']:.0%} " if "confidence" in ratio else ""
        p = f"{share}interval {ratio['low']:.3f} to {ratio['high']:.3f}, {p}"
    reused = measured.get("drift")
    counted = f"{reused['n_references']} reference runs" if reused else f"{ratio['n']} rounds"
    mine = f", {ratio['n']} runs" if reused else ""
    return f"time is {ratio['ratio']:.3f} of the start's over {counted}{mine} ({p})"


def _drift_sentence(drift: dict[str, Any]) -> str:
    if drift["ratio"] is None:
        return "the drift since the reference runs is unknown: no run of the start in the block"
    state = "within" if drift["ok"] else "beyond"
    return (
        f"the start takes {drift['ratio']:.3f} of its {drift['n_references']} reference runs' time "
        f"here (n = {drift['n']}), {state} the limit of {drift['limit']:.0%}"
    )
