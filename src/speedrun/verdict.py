"""The audit's rules: what a winner's re-timings must show, and the sentences that say so.

The speedrun's own rule is statistical: mean loss <= target at a small p. The probe rule guards the
printed loss, the late rule the clock: a program whose clock has stopped may answer its probes, but
not train on for them. All compare a winner with the two records of the same round.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from speedrun import stats
from speedrun.interleave import Timing

START, TARGET = "start", "target"
# Checks of their own modules: each a mapping with the sentences "failures" (the winner fails),
# "held" (a person must look) and "evidence" (all is well).
CHECKS = ("review", "pace", "untimed", "noise", "holdout")
# A person decides on a check's own flag as on a finding of the rule AUDIT, by one of these keys.
AUDIT = "audit"
LONG_START, FAST = "untimed_before", "very_fast"
FLAGS = (
    LONG_START,
    FAST,
    "noise_rise",
    *(f"{kind}_{what}" for kind in ("noise", "holdout") for what in ("loss", "steps")),
)
FASTER_P = 0.05  # one-sided: what the two-sided 90 % interval shows
UNSEEN = {"noise": "noise", "holdout": "a hold-out shard"}
NOT_FASTER = "not shown to be faster than the start"
PROBE_CONFIDENCE = 0.99
# nats per token. The records of a chain differ by up to 0.05 in their means over rounds, with a
# standard deviation of 0.02 to 0.05 a round: what is surely above this is no honest print.
PROBE_EXCESS_MAX = 0.05
# The exit of the interpreter and the probes cost an honest run 1 to 2.8 CPU s on the micro track;
# over four rounds on a busy machine an honest winner's mean was up to 0.54 s (25 %) above them.
# On nano (0.03 s beside runs of 0.45 s) 28 honest programs' means over six rounds were at most
# 0.007 s above. All limits must be passed: the first two, of which the lesser counts, are work that
# would matter to the time; the third spares tracks whose probes cost seconds.
LATE_EXCESS_MAX_S = 0.5
LATE_EXCESS_MAX_TIME_SHARE = 0.1  # of the records' mean time
LATE_EXCESS_MAX_SHARE = 0.3
# Losses over seeds that surely vary by less than half of the less variable record's standard
# deviation are no sample of seeds. Micro's records have 0.011 to 0.024: any beside any two
# neighbours is stopped in at most 0.06 % of audits. Were the limit the whole deviation and not
# half, that were up to 6 % with ten rounds, 23 % with sixteen. A sixteenth of the records'
# deviation is found in 69 % of audits of six rounds, 99 % of ten.
SPREAD_SHARE = 0.5
SPREAD_P = 0.001


def loss_rule(
    runs: Sequence[Timing],
    target_loss: float,
    correction: float,
    records: Sequence[Sequence[float]] = (),
) -> dict[str, Any]:
    """Return n, mean loss and the one-sided p that it is <= the target; p None: no evidence.

    ``correction`` (nats, >= 0, the probe rule's) is added to every printed loss first. Where a run
    ended without a finite loss (``n_diverged``) the others' mean is no evidence. Neither is it
    where the losses hardly vary beside those of ``records`` (``fixed``): who ignores the seed shows
    one lucky run as many, with a p as small as he likes.
    """
    ended = [run.val_loss for run in runs if not run.failed]
    printed = [loss for loss in ended if loss is not None]
    base = {"n": len(printed), "n_diverged": len(ended) - len(printed)}
    base |= _spread(printed, records)
    if not printed:
        return {**base, "mean": None, "printed_mean": None, "p": None}
    losses = [loss + correction for loss in printed]
    means = {"mean": _mean(losses), "printed_mean": _mean(printed)}
    none = base["n_diverged"] or base["fixed"]
    p = None if none else stats.mean_below(losses, target_loss)
    return {**base, **means, "p": p}


def _spread(losses: Sequence[float], records: Sequence[Sequence[float]]) -> dict[str, Any]:
    """Return the losses' standard deviation beside the smaller one of the records'.

    The one-sided F-test leaves room for honest programs that vary less (SPREAD_SHARE).
    """
    mine = stats.summarise(losses).sd if losses else None
    known = [(sd, one) for one in records if one and (sd := stats.summarise(one).sd)]
    least, reference = min(known, default=(None, []), key=lambda pair: pair[0] or 0.0)
    p = stats.spread_below(losses, reference, SPREAD_SHARE)
    return {"sd": mine, "records_sd": least, "p_spread": p, "fixed": p is not None and p < SPREAD_P}


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

    Each round's yardstick is the slower of its start and target; all three are of that round. A
    mean excess is what ``charged`` adds to the winner's times (``charge_s``), allowed or not.
    Only the clock "cpu" has such seconds (interleave.Timing): on another the rule is silent, n = 0.
    """
    pairs = [
        (run.after_clock_s, max(records), _mean(_records(run, timings, "time_s") or [0.0]))
        for run in runs
        if run.after_clock_s is not None and (records := _records(run, timings, "after_clock_s"))
    ]
    if not pairs:
        silent = dict.fromkeys(("mean_s", "records_s", "excess_s", "limit_s"))
        return {"n": 0, **silent, "charge_s": 0.0, "ok": True}
    mean, yardstick, time_s = (_mean(values) for values in zip(*pairs, strict=True))
    excess, limit_s = mean - yardstick, _late_limit_s(yardstick, time_s)
    found = {"mean_s": mean, "records_s": yardstick, "excess_s": excess, "limit_s": limit_s}
    return {"n": len(pairs), **found, "charge_s": max(0.0, excess), "ok": excess <= limit_s}


def _late_limit_s(yardstick_s: float, time_s: float) -> float:
    matters = min(LATE_EXCESS_MAX_S, LATE_EXCESS_MAX_TIME_SHARE * time_s)
    return max(matters, LATE_EXCESS_MAX_SHARE * yardstick_s)


def charged(runs: Sequence[Timing], late: dict[str, Any]) -> list[Timing]:
    """Return ``runs`` with the late rule's charge on each time, so that late work never pays.

    The charge is the mean excess over the rounds and not each round's: the positive part of single
    rounds, which are noise, would charge an honest micro program 0.5 to 2 % of its time.
    """
    more = late["charge_s"]
    return [run if run.time_s is None else replace(run, time_s=run.time_s + more) for run in runs]


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
        (probes["ok"], _probe_sentence(measured)),
        *([(drift["ok"], _drift_sentence(drift))] if drift else []),
        *((False, sentence) for sentence in held),
        *([(True, _late_sentence(late))] if late["n"] else []),
        (True, _time_sentence(measured)),
        *((True, sentence) for sentence in _said(measured, "evidence")),
    ]
    slow = [NOT_FASTER] if faster(measured["faster_than_start"]) == "no" else []
    against, support = ([said for ok, said in checks if ok is word] for word in (False, True))
    evidence = [*against, *slow, *support]
    if not (loss_ok and probes["ok"] and (drift is None or drift["ok"])):
        return "not_confirmed", evidence
    return "review" if held else "confirmed", evidence


def faster(ratio: dict[str, Any] | None) -> str:
    """Return whether the time ratio to the start is shown to be below 1: yes, no or unknown.

    No is not slower: it is "not shown". A verdict says nothing of it: a copy of the start that
    reaches the target is confirmed.
    """
    p = ratio["p"] if ratio else None
    return "unknown" if p is None else "yes" if p < FASTER_P else "no"


def _said(measured: dict[str, Any], kind: str) -> list[str]:
    """Return the sentences of one kind that the further checks bring."""
    found = [measured.get(name) for name in CHECKS]
    return [sentence for check in found if check for sentence in check[kind]]


def _loss_sentence(loss: dict[str, Any], correction: float, loss_p_max: float) -> str:
    if loss["n_diverged"]:
        runs = loss["n"] + loss["n_diverged"]
        return f"{loss['n_diverged']} of {runs} runs ended without a finite loss"
    if loss["fixed"]:
        return fixed_sentence(loss)
    if loss["p"] is None:
        return f"the losses of {loss['n']} runs have no spread to test (seed ignored, or n < 2)"
    relation = "<" if loss["p"] < loss_p_max else ">="
    added = f" (printed {loss['printed_mean']:.4f}, {correction:.4f} added for the probes)"
    corrected = added if correction else ""
    return (
        f"mean loss {loss['mean']:.4f}{corrected} over {loss['n']} runs is below the target at "
        f"p = {loss['p']:.2g} {relation} {loss_p_max:g}"
    )


def fixed_sentence(loss: dict[str, Any]) -> str:
    """Say that losses hardly vary over the seeds."""
    return (
        f"losses hardly vary: {loss['n']} runs, sd {loss['sd']:.2g}, records' "
        f"{loss['records_sd']:.2g}: the seed seems to be ignored"
    )


def _probe_sentence(measured: dict[str, Any]) -> str:
    probes = measured["probes"]
    if not probes["probed"]:
        ran = [said for key, said in UNSEEN.items() if (measured.get(key) or {}).get("n")]
        seen = f"were checked on {' and '.join(ran)} alone" if ran else "stand unchecked"
        return f"no probes on this track: the printed losses {seen}"
    if not probes["n"]:
        return "no probe answers to compare"
    more = f"{probes['mean_excess']:+.4f} more than the records'"
    excess = f"probe loss exceeds the printed loss by {more}"
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
    if not late["ok"]:
        return f"works after the clock: {figures}, allowed {late['limit_s']:.2f} s more"
    charge = f"; {late['charge_s']:.2f} s are charged to its time" if late["charge_s"] else ""
    return f"used {figures}{charge}"


def _time_sentence(measured: dict[str, Any]) -> str:
    ratio = measured["faster_than_start"]
    if ratio is None:
        return "no round with three times"
    p = "untestable" if ratio["p"] is None else f"p = {ratio['p']:.2g}"
    if ratio.get("low") is not None:
        share = f"{ratio['confidence']:.0%} " if "confidence" in ratio else ""
        p = f"{share}interval {ratio['low']:.3f} to {ratio['high']:.3f}, {p}"
    start = f" and {ratio['n_start']} of the start beside them" if measured.get("drift") else ""
    counted = f"{ratio['n']} {'runs' if start else 'rounds'}{start}"
    return f"time is {ratio['ratio']:.3f} of the start's over {counted} ({p})"


def _drift_sentence(drift: dict[str, Any]) -> str:
    if drift["ratio"] is None:
        return "the drift since the reference runs is unknown: no run of the start in the block"
    state = "within" if drift["ok"] else "beyond"
    return (
        f"the start takes {drift['ratio']:.3f} of its {drift['n_references']} reference runs' time "
        f"here (n = {drift['n']}), {state} the limit of {drift['limit']:.0%}"
    )
