"""Simulated audit blocks for error_rates.py, judged by the audit's own functions.

Only the data are made up here: every p-value, interval and verdict comes from speedrun.stats and
speedrun.verdict. The size of the noise comes from real runs (error_table.py); what its shape does
to a rule is shown by four shapes of the same standard deviation, one of them with drift on top.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from speedrun import schema, stats, trials
from speedrun.interleave import Timing
from speedrun.stages.audit import speed
from speedrun.stages.audit.block import REUSED, Record
from speedrun.verdict import START, TARGET

WINNER = "winner"
TAIL_DF = 3  # of the heavy-tailed noise: Student's t, scaled to the same standard deviation
DRIFT = 0.05  # standard deviation of the random walk of log time between two successive runs
SHAPES = ("normal", "measured", "heavy", "drifting")


@dataclass(frozen=True)
class Part:
    """Noise of one quantity: what all runs of a round share, and each run's own; as residuals.

    ``residuals`` are real runs' own noise, standardised, for the shape "measured".
    """

    shared_sd: float
    own_sd: float
    residuals: tuple[float, ...] = ()


@dataclass(frozen=True)
class Noise:
    """Log CPU seconds, probe difference (nats) and log CPU seconds after the last line."""

    time: Part
    probe: Part
    late: Part
    late_s: float  # their mean


@dataclass(frozen=True)
class Program:
    """One member of a simulated block: CPU s, true loss, and by how much its print is too low."""

    time_s: float
    loss_mean: float
    loss_sd: float
    shave: float = 0.0
    late_extra_s: float = 0.0


def own(
    generator: np.random.Generator, part: Part, shape: str, size: tuple[int, int]
) -> np.ndarray:
    """Return each run's noise: rows are rounds, columns members in running order."""
    if shape == "heavy":
        scale = part.own_sd / math.sqrt(TAIL_DF / (TAIL_DF - 2))
        return generator.standard_t(TAIL_DF, size) * scale
    if shape == "measured":
        return generator.choice(np.array(part.residuals), size) * part.own_sd
    values = generator.normal(0.0, part.own_sd, size)
    if shape == "drifting":
        values += np.cumsum(generator.normal(0.0, DRIFT, size[0] * size[1])).reshape(size)
    return values


def draw(
    generator: np.random.Generator, part: Part, shape: str, rounds: int, members: int
) -> np.ndarray:
    """Return noise by round and member: members run in a random order, anew in each round."""
    values = own(generator, part, shape, (rounds, members))
    values = generator.permuted(values, axis=1)
    return values + generator.normal(0.0, part.shared_sd, (rounds, 1))


def times(
    generator: np.random.Generator, part: Part, shape: str, rounds: int, means: Sequence[float]
) -> list[list[float]]:
    """Return the CPU seconds of each member, one list a member."""
    noise = draw(generator, part, shape, rounds, len(means))
    return [(mean * np.exp(noise[:, i])).tolist() for i, mean in enumerate(means)]


def timing(index: int, member: str, outcome: str = "ok", **values: float | None) -> Timing:
    """Return one run as the harness would have seen it; the round stands for its seed."""
    unknown = dict.fromkeys(("time_s", "val_loss", "probe_difference", "device_seconds"))
    return Timing(
        round=index,
        member=member,
        cpu=None,
        seed=index,
        outcome=schema.Outcome(outcome),
        reason="",
        **{**unknown, **values},
    )


def block(
    generator: np.random.Generator,
    noise: Noise,
    shape: str,
    rounds: int,
    programs: dict[str, Program],
    target_loss: float,
) -> list[Timing]:
    """Return a block's timings as interleave.run_block would."""
    clock = times(generator, noise.time, shape, rounds, [p.time_s for p in programs.values()])
    probe = draw(generator, noise.probe, "normal", rounds, len(programs))
    late = noise.late_s * np.exp(draw(generator, noise.late, shape, rounds, len(programs)))
    found = []
    for i, (name, program) in enumerate(programs.items()):
        losses = generator.normal(program.loss_mean, program.loss_sd, rounds) - program.shave
        for j in range(rounds):
            found.append(
                timing(
                    j,
                    name,
                    outcome="ok" if losses[j] <= target_loss else "missed_target",
                    time_s=clock[i][j],
                    val_loss=float(losses[j]),
                    probe_difference=float(probe[j, i]) + program.shave,
                    after_clock_s=float(late[j, i]) + program.late_extra_s,
                )
            )
    return found


def faster_share(
    generator: np.random.Generator,
    part: Part,
    shape: str,
    rounds: int,
    saved: float,
    p_max: float,
    repeats: int,
) -> float:
    """Return how often a program that takes 1 - ``saved`` of the time is called faster."""
    hits = 0
    for _ in range(repeats):
        start, winner = times(generator, part, shape, rounds, [1.0, 1.0 - saved])
        p = stats.ratio_below(winner, start).p
        hits += p is not None and p < p_max
    return hits / repeats


def reused(
    generator: np.random.Generator,
    part: Part,
    counts: tuple[int, int, int],
    chain: float,
    saved: float,
    moved: float,
    p_max: float,
    repeats: int,
) -> tuple[float, float, float]:
    """Return the shares called faster and passing the drift rule, and of FSR intervals that hold.

    ``counts``: runs of each reference, of the winner and of the start beside it; ``chain``: the
    target's time over the start's; ``moved``: by which share the whole machine has become faster
    since the references.
    """
    spread, truth = math.hypot(part.shared_sd, part.own_sd), saved / (1 - chain)
    settings = trials.AuditPlan(references=REUSED, drift_rounds=counts[2])
    hits = held = passed = 0
    for _ in range(repeats):
        known = {
            name: Record(_alone(generator, mean, spread, counts[0]), [], [])
            for name, mean in ((START, 1.0), (TARGET, chain))
        }
        means = ((WINNER, (1 - saved) * (1 - moved), counts[1]), (START, 1 - moved, counts[2]))
        timings = [
            timing(i, name, time_s=time_s)
            for name, mean, count in means
            for i, time_s in enumerate(_alone(generator, mean, spread, count))
        ]
        runs = [one for one in timings if one.member == WINNER]
        found = speed.measured(settings, runs, timings, known)
        hits += _below(found["faster_than_start"], p_max)
        passed += bool((speed.drift(settings, timings, known) or {})["ok"])
        held += _holds(found["fsr"], truth)
    return hits / repeats, passed / repeats, held / repeats


def _alone(generator: np.random.Generator, mean: float, spread: float, count: int) -> list[float]:
    return (mean * np.exp(generator.normal(0.0, spread, count))).tolist()


def _below(test: dict[str, Any] | None, p_max: float) -> bool:
    return test is not None and test["p"] is not None and test["p"] < p_max


def _holds(interval: dict[str, Any] | None, truth: float) -> bool:
    """Return whether an interval holds the truth; one without bounds claims nothing, and holds."""
    if interval is None or interval["low"] is None or interval["high"] is None:
        return True
    return bool(interval["low"] <= truth <= interval["high"])


def fsr_coverage(
    generator: np.random.Generator,
    part: Part,
    shape: str,
    rounds: int,
    means: tuple[float, float, float],
    repeats: int,
) -> tuple[float, float, float]:
    """Return how often the 90 % interval holds the true FSR, its median width, how often unbounded.

    Without bounds it claims nothing, and holds. ``means``: start, winner, target.
    """
    truth = (1 - means[1] / means[0]) / (1 - means[2] / means[0])
    inside, widths = 0, []
    for _ in range(repeats):
        found = stats.audited_fsr(*times(generator, part, shape, rounds, means))
        if found is None or found.low is None or found.high is None:
            inside += 1
            continue
        inside += found.low <= truth <= found.high
        widths.append(found.high - found.low)
    median = float(np.median(widths)) if widths else math.nan
    return inside / repeats, median, 1 - len(widths) / repeats


def winners_curse(
    generator: np.random.Generator,
    part: Part,
    nodes: int,
    saved: float,
    spread: float,
    chain_ratio: float,
    repeats: int,
    rounds: int = 6,
    references: int = 2,
) -> tuple[float, float, float]:
    """Return the median search-time, audited and true FSR of the fastest of ``nodes`` nodes.

    Each node is timed once, in the search; the references ``references`` times; the winner again
    in ``rounds`` interleaved rounds. ``spread``: sd of the nodes' true log times about 1 - saved.
    """
    noise, rows = math.hypot(part.shared_sd, part.own_sd), []
    for _ in range(repeats):
        true = (1 - saved) * np.exp(generator.normal(0.0, spread, nodes))
        seen = true * np.exp(generator.normal(0.0, noise, nodes))
        best = int(np.argmin(seen))
        start, target = (
            mean * np.exp(generator.normal(0.0, noise, references)).mean()
            for mean in (1.0, chain_ratio)
        )
        again = times(generator, part, "normal", rounds, [1.0, float(true[best]), chain_ratio])
        search, audited = stats.fsr(start, seen[best], target), stats.audited_fsr(*again)
        if search is not None and audited is not None:
            rows.append((search, audited.estimate, stats.fsr(1.0, true[best], chain_ratio)))
    found = np.median(np.array(rows, dtype=float), axis=0)
    return float(found[0]), float(found[1]), float(found[2])
