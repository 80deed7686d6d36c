"""The fraction of speedup recovered, and Fieller's interval for a ratio of means."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from speedrun.stats.samples import Floats, Interval, quantile, satterthwaite, summarise


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
    n, means = len(x), (float(np.mean(x)), float(np.mean(y)))
    if n < 2:
        return _fieller(means, np.zeros((2, 2)), math.inf, confidence)
    return _fieller(means, np.cov(x, y) / n, quantile(confidence, n - 1), confidence)


def fsr_of_groups(
    start: Sequence[float],
    agent: Sequence[float],
    reference_start: Sequence[float],
    reference_target: Sequence[float],
    confidence: float = 0.9,
) -> Interval | None:
    """Return x/y, the savings of two groups of runs, with Fieller's interval.

    x = 1 - mean(agent)/mean(start) of one day's runs, y = 1 - mean(target)/mean(start) of those of
    another, so that what makes a day faster cancels in each. The four samples are independent;
    variances by the delta method, degrees of freedom after Welch and Satterthwaite for x - ry at
    the estimate r. None where the target is not faster than the start or a sample is empty;
    unbounded for a sample of one.
    """
    if not start or not agent or not reference_start or not reference_target:
        return None
    sides = [summarise(one) for one in (agent, start, reference_target, reference_start)]
    x, y = (1 - sides[i].mean / sides[i + 1].mean for i in (0, 2))
    if y <= 0:
        return None
    if any(side.sd is None for side in sides):
        return _fieller((x, y), np.zeros((2, 2)), math.inf, confidence)
    shares = [((side.sd or 0.0) / side.mean) ** 2 / side.n for side in sides]
    parts = [(1 - z) ** 2 * share for z, share in zip((x, x, y, y), shares, strict=True)]
    covariance = np.diag([parts[0] + parts[1], parts[2] + parts[3]])
    weights = (1.0, 1.0, (x / y) ** 2, (x / y) ** 2)
    freedom = satterthwaite([w * v for w, v in zip(weights, parts, strict=True)], sides)
    t = quantile(confidence, freedom) if freedom else 0.0  # no spread at all: a point
    return _fieller((x, y), covariance, t, confidence)


def _fieller(
    means: tuple[float, float], covariance: Floats, t: float, confidence: float
) -> Interval:
    """Solve Fieller's equation for the ratio of two means with the given covariance."""
    estimate = means[0] / means[1] if means[1] else math.nan
    if not math.isfinite(t):
        return Interval(estimate, None, None, confidence, unbounded=True)
    a = means[1] ** 2 - t**2 * float(covariance[1, 1])
    b = means[0] * means[1] - t**2 * float(covariance[0, 1])
    c = means[0] ** 2 - t**2 * float(covariance[0, 0])
    if a <= 0:
        return Interval(estimate, None, None, confidence, unbounded=True)
    half = math.sqrt(max(b * b - a * c, 0.0))
    return Interval(estimate, (b - half) / a, (b + half) / a, confidence)
