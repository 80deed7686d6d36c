"""What a program must show on data that no record reads: noise, and a hold-out shard.

For tracks without probes, where nothing else checks the printed loss. A program is run again on a
view of the data (``views``) with the training shards as they are and another validation shard.
Such a run is judged on its own check and on its time alone: it may miss the target, but not crash.

**Noise.** No causal, normalised model beats chance there (``noise_bound``). A print that does fails
the audit: it looked at the target, or trained on the validation shard, which is noise in this run.
A loss that is only scaled, or leaked in part, stays above the bound; a model that is sure of itself
pays for it on noise, so a print that rises less than that of the records is held up until a person
has looked. Scaling a loss can hide in the rise that a surer model than the records earns: records
of one chain rise by 6 to 10 nats on nano, by 6.9 to 7.8 on micro.

**Hold-out.** Another shard is harder or easier by as much as the records find it. A program for
which it is harder than that by more than the margin carries validation data in its code (weights,
tables, hash values), or was tuned to it. One that reads the validation shard to train on it finds
the hold-out shard there instead: that is for the noise run.

**Time.** A program that knows the data and trains otherwise on them shows it in its steps or its
time. One that trains until its loss reaches a level takes other steps on noise: its time is not
compared, which is held up too. One that recognises noise, trains as ever and prints another loss
is not seen here: only reading the code (``rules``) finds it.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from speedrun import stats
from speedrun.interleave import Timing
from speedrun.views import HOLDOUT, NOISE, View

ACCEPTED = "accepted"  # of a person's decision on a flag
NOISE_P = 1e-6  # of an honest model below the bound, were its print exact
NOISE_GRAIN = 0.01  # nats: what rounding a print and summing in bfloat16 may take off
# Of the records' mean rise. Over three seeds a nano record's rises on noise lie within 1.3 %.
RISE_SHARE = 0.02
# The hold-out margin is this over the root of the number of tokens: nats. In what they find the
# hold-out harder nano's records differ by 0.12 at 8,192 tokens, micro's by 0.02 at 65,536, which is
# 11 and 6 over the root.
HOLDOUT_NATS = 15.0
HOLDOUT_GRAIN = 0.003  # nats, at any number of tokens
# How far the time may be from the ordinary re-runs', a share of their mean. CPU time drifts by 30 %
# on a shared machine, and these runs are made after the block and not within it.
TIME_SHARE = {"train_time": 0.1}
TIME_SHARE_ELSE = 0.35


@dataclass(frozen=True)
class Losses:
    """A program's runs on a view, and the seeds and losses of its ordinary ones.

    A seed of None is not known. Equal seeds are compared with each other, others with the mean.
    """

    runs: Sequence[Timing]
    ordinary: Sequence[tuple[int | None, float]]

    @property
    def rises(self) -> list[float]:
        """By how much each run's loss is above the ordinary one, in nats; finite losses only."""
        if not self.ordinary:
            return []
        mean = _mean([loss for _, loss in self.ordinary])
        known = dict(self.ordinary)
        return [r.val_loss - known.get(r.seed, mean) for r in self.runs if r.val_loss is not None]


@dataclass
class Check:
    """What one check found: figures, and sentences by what they mean for the verdict.

    ``held`` are flags by key, which wait for a person.
    """

    figures: dict[str, Any] = field(default_factory=dict)
    failures: list[str] = field(default_factory=list)
    held: dict[str, str] = field(default_factory=dict)
    evidence: list[str] = field(default_factory=list)

    def settle(self, decisions: Mapping[str, Mapping[str, str]]) -> None:
        """Move the flags that a person has decided, by key; a rejected one is a failure."""
        for key in [key for key in self.held if key in decisions]:
            made, flag = decisions[key], self.held.pop(key)
            sentences = self.evidence if made["decision"] == ACCEPTED else self.failures
            sentences.append(f"{flag}: {made['decision']} by {made['by']}: {made['why']}")

    def to_json(self) -> dict[str, Any]:
        """Return plain JSON values, as verdict.judge reads them."""
        sentences = {"failures": self.failures, "evidence": self.evidence}
        held = {"held": list(self.held.values()), "flags": list(self.held)}
        return {**self.figures, **sentences, **held}


def open_flags(entry: Mapping[str, Any]) -> dict[str, str]:
    """Return the flags of the checks in an audit's entry that wait for a person, by key."""
    checks = [one for one in entry.values() if isinstance(one, dict) and "flags" in one]
    pairs = [pair for one in checks for pair in zip(one["flags"], one["held"], strict=True)]
    return dict(pairs)


def noise_bound(
    tokens: int, end_of_text_share: float, vocab_size: int, p: float = NOISE_P
) -> float:
    """Return the mean loss, in nats per token, that no causal, normalised model prints on noise.

    Of N targets R = (1 - f) N are drawn uniformly from V - 1 tokens, independently of all before;
    the other fN are end-of-text, on which a loss is >= 0. Given what came before, a model's
    probabilities q of a drawn token x have E[q(x) (V - 1)] = the sum of q over the V - 1 tokens
    <= 1. So the product of q(x_i) (V - 1) over the drawn targets, exp(R ln(V - 1) - their summed
    loss), is a non-negative supermartingale with expectation <= 1, whatever the model, also one
    that goes on learning from what it has read (Ville 1939). By Markov's inequality it reaches
    1 / p with probability <= p: the summed loss is otherwise > R ln(V - 1) - ln(1 / p), and the
    mean over N tokens > (1 - f) ln(V - 1) - ln(1 / p) / N.
    """
    return (1 - end_of_text_share) * math.log(vocab_size - 1) - math.log(1 / p) / tokens


def noise_check(mine: Losses, records: Sequence[Losses], view: View) -> Check:
    """Return whether a program's losses on noise are possible, and rise as the records' do."""
    check = _runs_check(mine, NOISE)
    bound = noise_bound(view.tokens, view.end_of_text_share, view.vocab_size)
    losses = [run.val_loss for run in mine.runs if run.val_loss is not None]
    check.figures |= {"losses": losses, "bound": bound, "tokens": view.tokens}
    for loss in losses:
        if loss < bound - NOISE_GRAIN:
            check.failures.append(
                f"prints {loss:.4f} on random tokens, where no causal, normalised model ends below "
                f"{bound:.4f}: it sees its targets, or trains on validation data"
            )
    if losses and not check.failures:
        check.evidence.append(f"loss {min(losses):.4f} on noise, the bound is {bound:.4f}")
    _rise_check(check, mine, records)
    return check


def _rise_check(check: Check, mine: Losses, records: Sequence[Losses]) -> None:
    means = [_mean(record.rises) for record in records if record.rises]
    if not means or not mine.rises:
        return
    rise, lowest = _mean(mine.rises), min(means)
    ranges = [max(one.rises) - min(one.rises) for one in records if one.rises]
    limit = lowest - max(RISE_SHARE * _mean(means), *ranges)
    check.figures |= {"rise": rise, "records_rise": means, "rise_limit": limit}
    said = f"rises by {rise:.3f} on noise, the records by {_list(means)}"
    if rise < limit:
        check.held["noise_rise"] = (
            f"the printed loss {said}, at least {limit:.3f} is expected: a scaled or leaked loss?"
        )
    else:
        check.evidence.append(f"the loss {said}")


def holdout_check(mine: Losses, records: Sequence[Losses], view: View) -> Check:
    """Return whether a program finds the hold-out shard harder than the records do."""
    check = _runs_check(mine, HOLDOUT)
    found = [rise for record in records for rise in record.rises]
    if not mine.rises or not found:
        return check
    excess, spread = _mean(mine.rises), max(found) - min(found)
    margin = max(spread, HOLDOUT_GRAIN, HOLDOUT_NATS / math.sqrt(view.tokens))
    check.figures |= {"difference": excess, "records_difference": found, "margin": margin}
    said = (
        f"loss on the hold-out shard less that on validation is {excess:+.4f}, the records' "
        f"{_list(found, '+.4f')}, allowed {max(found) + margin:+.4f}"
    )
    if excess > max(found) + margin:
        check.failures.append(f"carries or is tuned to validation data: {said}")
    else:
        check.evidence.append(said)
    return check


def _runs_check(mine: Losses, kind: str) -> Check:
    check = Check(figures={"n": len(mine.runs)})
    for run in mine.runs:
        if run.failed:
            check.failures.append(f"{kind} run {run.round + 1}: {run.outcome}: {run.reason}")
        elif run.val_loss is None:
            said = f"{kind} run {run.round + 1} ended without a finite loss"
            check.held[f"{kind}_loss"] = said
    return check


def time_check(
    check: Check, mine: Losses, ordinary: Sequence[Timing], kind: str, clock: str
) -> None:
    """Add to ``check`` whether the runs took the steps and the time of the ordinary ones."""
    ended = [run for run in mine.runs if run.time_s is not None]
    times = [run.time_s for run in ordinary if run.time_s is not None]
    if not ended or not times:
        return
    usual = {run.steps for run in ordinary if run.steps is not None}
    for run in ended:
        if usual and usual != {run.steps}:
            _other_steps(check, run, usual, kind)
        else:
            _compare_time(check, run, times, kind, clock)


def _other_steps(check: Check, run: Timing, usual: set[int], kind: str) -> None:
    span = "-".join(str(steps) for steps in sorted({min(usual), max(usual)}))
    said = f"takes {run.steps} steps on the {kind} data, {span} otherwise"
    if kind == NOISE and run.steps is not None and run.steps < min(usual):
        check.failures.append(f"{said}: it tells the data apart")
    else:
        check.held[f"{kind}_steps"] = (
            f"{said}: if it trains until its loss reaches a level, its time there says nothing, "
            "and it was not compared"
        )


def _compare_time(check: Check, run: Timing, times: Sequence[float], kind: str, clock: str) -> None:
    time_s, share = run.time_s or 0.0, TIME_SHARE.get(clock, TIME_SHARE_ELSE)
    room = max(share * _mean(times), max(times) - min(times))
    low, high = min(times) - room, max(times) + room
    said = f"{time_s:.2f} s on the {kind} data, {min(times):.2f} to {max(times):.2f} s otherwise"
    if low <= time_s <= high:
        check.evidence.append(said)
    else:
        check.failures.append(
            f"tells the data apart: {said}, allowed {max(0.0, low):.2f} to {high:.2f} s"
        )


def _mean(values: Sequence[float]) -> float:
    return stats.summarise(values).mean


def _list(values: Sequence[float], form: str = ".3f") -> str:
    """Return numbers as words: the lowest and the highest of more than two."""
    if len(values) > 2:
        return f"{min(values):{form}} to {max(values):{form}}"
    return " and ".join(f"{value:{form}}" for value in values)
