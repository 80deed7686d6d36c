"""The statistics behind every published number; pure functions on lists of floats.

Intervals and tests return ``None`` where the data cannot bear them (one run, no spread),
so that a missing p-value can never be read as a small one.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import stats as distributions

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Summary:
    """Mean and sample standard deviation (n - 1) of ``n`` values; ``sd`` is None for n = 1."""

    n: int
    mean: float
    sd: float | None


@dataclass(frozen=True)
class Interval:
    """An estimate with its bounds; ``unbounded`` means that no finite interval exists."""

    estimate: float
    low: float | None
    high: float | None
    confidence: float
    unbounded: bool = False


@dataclass(frozen=True)
class RatioTest:
    """Geometric mean ratio with its two-sided interval and the one-sided p of ratio < bound."""

    n: int
    ratio: float
    low: float | None
    high: float | None
    bound: float
    p: float | None


def summarise(values: Sequence[float]) -> Summary:
    """Return n, mean and sample standard deviation; an empty list is a ValueError."""
    if not values:
        raise ValueError("no values to summarise")
    sd = float(np.std(values, ddof=1)) if len(values) > 1 else None
    return Summary(len(values), float(np.mean(values)), sd)


def fsr(t_start: float, t_agent: float, t_target: float) -> float | None:
    """Return the fraction of speedup recovered, (t_start - t_agent) / (t_start - t_target).

    Times in one unit, on one machine. Not clipped: slower than the start is negative, faster
    than the human is above 1. None when the target is not faster than the start here.
    """
    gained = t_start - t_target
    return (t_start - t_agent) / gained if gained > 0 else None


def savings(start: Sequence[float], other: Sequence[float]) -> list[float]:
    """Return 1 - other_i / start_i for each round i: the share of the start's time saved."""
    return [1.0 - b / a for a, b in zip(start, other, strict=True)]


def audited_fsr(
    start: Sequence[float],
    agent: Sequence[float],
    target: Sequence[float],
    confidence: float = 0.9,
) -> Interval | None:
    """Return mean(1 - B/A) / mean(1 - C/A) over interleaved rounds, with Fieller's interval.

    ``start``, ``agent``, ``target`` hold A_i, B_i, C_i of the same round i, so that the drift
    of the machine between rounds cancels inside each ratio. None, as in ``fsr``, when the target
    is not faster than the start here: the ratio's sign would praise what is slower.
    """
    saved = savings(start, target)
    return fieller(savings(start, agent), saved, confidence) if sum(saved) > 0 else None


def fieller(x: Sequence[float], y: Sequence[float], confidence: float = 0.9) -> Interval:
    """Return mean(x)/mean(y) of paired samples with Fieller's interval (Fieller 1954).

    The interval is the set of r with (X - rY)^2 <= t^2 (Vx - 2rVxy + r^2 Vy), where X and Y are
    means, V their (co)variances divided by n, t the Student quantile at n - 1. It is finite only
    if mean(y) differs from 0 at that level; otherwise the bounds are None and ``unbounded`` set.
    """
    n, mean_x, mean_y = len(x), float(np.mean(x)), float(np.mean(y))
    estimate = mean_x / mean_y if mean_y else math.nan
    if n < 2:
        return Interval(estimate, None, None, confidence, unbounded=True)
    covariance = np.cov(x, y) / n
    t2 = float(distributions.t.ppf(0.5 + confidence / 2, n - 1)) ** 2
    a = mean_y**2 - t2 * float(covariance[1, 1])
    b = mean_x * mean_y - t2 * float(covariance[0, 1])
    c = mean_x**2 - t2 * float(covariance[0, 0])
    if a <= 0:
        return Interval(estimate, None, None, confidence, unbounded=True)
    half = math.sqrt(max(b * b - a * c, 0.0))
    return Interval(estimate, (b - half) / a, (b + half) / a, confidence)


def equivalent(interval: Interval, centre: float, margin: float) -> bool:
    """Say whether the whole interval lies in [centre - margin, centre + margin].

    With a 90 % interval this is the two one-sided tests procedure (TOST, Schuirmann 1987) at
    level 0.05. An unbounded interval is never equivalent to anything.
    """
    if interval.low is None or interval.high is None:
        return False
    return centre - margin <= interval.low and interval.high <= centre + margin


def mean_below(values: Sequence[float], bound: float) -> float | None:
    """Return the one-sided p of the t-test of mean(values) < bound.

    None for fewer than two values or no spread at all: equal losses under different seeds are
    repeats of one run, not evidence (two equal values would otherwise give p = 0).
    """
    summary = summarise(values)
    if summary.sd is None or summary.sd == 0.0:
        return None
    t = (summary.mean - bound) / (summary.sd / math.sqrt(summary.n))
    return float(distributions.t.cdf(t, summary.n - 1))


def welch_below(values: Sequence[float], reference: Sequence[float]) -> float | None:
    """Return the one-sided p of mean(values) < mean(reference), independent samples (Welch 1947).

    Degrees of freedom after Welch and Satterthwaite. None for fewer than two values a side or no
    spread on either: nothing is known of the noise.
    """
    sides = (summarise(values), summarise(reference))
    variances = [side.sd**2 / side.n for side in sides if side.sd is not None]
    whole = sum(variances)
    if len(variances) < 2 or whole == 0.0:
        return None
    shares = zip(variances, sides, strict=True)
    freedom = 1.0 / sum((one / whole) ** 2 / (side.n - 1) for one, side in shares)
    t = (sides[0].mean - sides[1].mean) / math.sqrt(whole)
    return float(distributions.t.cdf(t, freedom))


def ratio_below(
    values: Sequence[float],
    reference: Sequence[float],
    bound: float = 1.0,
    confidence: float = 0.9,
) -> RatioTest:
    """Test that the paired ratio values_i / reference_i is below ``bound`` (t-test on logs).

    Times are positive and their errors multiply, so the test and the interval are those of the
    mean log ratio; the estimate is the geometric mean ratio.
    """
    logs = [math.log(b / a) for b, a in zip(values, reference, strict=True)]
    summary = summarise(logs)
    p = mean_below(logs, math.log(bound))
    ratio = math.exp(summary.mean)
    if summary.sd is None:
        return RatioTest(summary.n, ratio, None, None, bound, p)
    t = float(distributions.t.ppf(0.5 + confidence / 2, summary.n - 1))
    half = t * summary.sd / math.sqrt(summary.n)
    low, high = math.exp(summary.mean - half), math.exp(summary.mean + half)
    return RatioTest(summary.n, ratio, low, high, bound, p)


def mean_lower_bound(values: Sequence[float], confidence: float) -> float | None:
    """Return the one-sided lower confidence limit of the mean (Student t); None for n < 2."""
    summary = summarise(values)
    if summary.sd is None:
        return None
    t = float(distributions.t.ppf(confidence, summary.n - 1))
    return summary.mean - t * summary.sd / math.sqrt(summary.n)


def mean_of_tasks(runs: Sequence[Floats]) -> float:
    """Return the mean over tasks of each task's mean: every task weighs the same."""
    return float(np.mean([task.mean() for task in runs]))


def iqm(runs: Sequence[Floats]) -> float:
    """Return the interquartile mean over all runs, every task weighing the same.

    The mean of the middle half of the score distribution (rliable, arXiv 2108.13264). A task's
    weight is spread over its runs, so that unequal numbers of runs do not tilt it; a run that
    straddles a quartile counts by its share.
    """
    values = np.concatenate(list(runs))
    weights = np.concatenate([np.full(len(task), 1.0 / (len(task) * len(runs))) for task in runs])
    order = np.argsort(values, kind="stable")
    ends = np.cumsum(weights[order])
    inside = np.clip(ends, 0.25, 0.75) - np.clip(ends - weights[order], 0.25, 0.75)
    return float(np.sum(values[order] * inside) / np.sum(inside))


def stratified_bootstrap(
    runs: Mapping[str, Sequence[float]],
    statistic: Callable[[Sequence[Floats]], float] = mean_of_tasks,
    confidence: float = 0.95,
    replicates: int = 2000,
    seed: int = 0,
) -> Interval:
    """Return ``statistic`` of the runs by task with a stratified percentile bootstrap interval.

    Runs are resampled with replacement within each task, tasks are kept (rliable, arXiv
    2108.13264). Percentile intervals are narrow for few runs: at a dozen runs a task, 90 % covers
    about 85 %. The bounds are None when no task has two runs: there is nothing to resample.
    """
    strata = [np.asarray(runs[task], dtype=np.float64) for task in sorted(runs)]
    estimate = statistic(strata)
    if all(len(task) < 2 for task in strata):
        return Interval(estimate, None, None, confidence, unbounded=True)
    generator = np.random.default_rng(seed)
    draws = [statistic([_resample(task, generator) for task in strata]) for _ in range(replicates)]
    return _percentiles(estimate, draws, confidence)


def round_bootstrap(
    trials: Sequence[Floats], confidence: float = 0.95, replicates: int = 2000, seed: int = 0
) -> Interval:
    """Return the mean over trials of mean(x)/mean(y), resampling each trial's audit rounds.

    For arms with one trial a task: it shows the noise of the clock, not that between seeds.
    A trial is an array of shape (rounds, 2) holding x_i and y_i; a fixed score s without
    rounds is the single row (s, 1).
    """
    generator = np.random.default_rng(seed)
    estimate = _mean_ratio(trials)
    draws = [
        _mean_ratio([_resample(trial, generator) for trial in trials]) for _ in range(replicates)
    ]
    return _percentiles(estimate, draws, confidence)


def _mean_ratio(trials: Sequence[Floats]) -> float:
    return float(np.mean([trial[:, 0].mean() / trial[:, 1].mean() for trial in trials]))


def _resample(values: Floats, generator: np.random.Generator) -> Floats:
    return values[generator.integers(0, len(values), len(values))]


def _percentiles(estimate: float, draws: Sequence[float], confidence: float) -> Interval:
    tail = (1.0 - confidence) / 2
    low, high = np.quantile(draws, [tail, 1.0 - tail])
    return Interval(estimate, float(low), float(high), confidence)
