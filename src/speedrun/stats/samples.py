"""Means, their intervals and one-sided t-tests: of one sample, of two, and of time ratios."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

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
    if sd is not None and _equal(values):
        sd = 0.0
    return Summary(len(values), float(np.mean(values)), sd)


def summary_of_known(values: Iterable[float | None]) -> dict[str, Any] | None:
    """Return the summary of the values that there are, as JSON values; None without any."""
    known = [value for value in values if value is not None]
    return dataclasses.asdict(summarise(known)) if known else None


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


def _equal(values: Sequence[float]) -> bool:
    """Return whether all are one number; its computed deviation may be 1e-16 instead of 0."""
    return min(values) == max(values)


def spread_below(
    values: Sequence[float], reference: Sequence[float], share: float = 1.0
) -> float | None:
    """Return the one-sided p of sd(values) < ``share`` of sd(reference), an F-test of variances.

    None for fewer than two values a side, or a reference without spread.
    """
    if len(values) < 2 or len(reference) < 2 or _equal(reference):
        return None
    usual = float(share**2 * np.var(reference, ddof=1))
    if usual == 0.0:  # numbers so small that their squares are 0
        return None
    ratio = float(np.var(values, ddof=1)) / usual
    return float(distributions.f.cdf(ratio, len(values) - 1, len(reference) - 1))


def welch_below(values: Sequence[float], reference: Sequence[float]) -> float | None:
    """Return the one-sided p of mean(values) < mean(reference), independent samples (Welch 1947).

    Degrees of freedom after Welch and Satterthwaite. None for fewer than two values a side or no
    spread on either: nothing is known of the noise.
    """
    found = _welch(values, reference)
    return found and float(distributions.t.cdf(found[0] / found[1], found[2]))


def _welch(
    values: Sequence[float], reference: Sequence[float]
) -> tuple[float, float, float] | None:
    """Return the difference of means, its standard error and degrees of freedom."""
    sides = (summarise(values), summarise(reference))
    variances = [side.sd**2 / side.n for side in sides if side.sd is not None]
    freedom = satterthwaite(variances, sides) if len(variances) == 2 else None
    if freedom is None:
        return None
    return sides[0].mean - sides[1].mean, math.sqrt(sum(variances)), freedom


def satterthwaite(variances: Sequence[float], sides: Sequence[Summary]) -> float | None:
    """Return the degrees of freedom of a sum of estimated variances; None without any spread."""
    whole = sum(variances)
    pairs = zip(variances, sides, strict=True)
    return 1 / sum((one / whole) ** 2 / (side.n - 1) for one, side in pairs) if whole else None


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
    half = quantile(confidence, summary.n - 1) * summary.sd / math.sqrt(summary.n)
    low, high = math.exp(summary.mean - half), math.exp(summary.mean + half)
    return RatioTest(summary.n, ratio, low, high, bound, p)


def ratio_of_independent(
    values: Sequence[float], reference: Sequence[float], confidence: float = 0.9
) -> RatioTest:
    """Test that the geometric mean ratio of two independent samples is below 1 (Welch on logs).

    ``n`` counts ``values``. Without two of each or any spread there is neither p nor interval.
    """
    logs = [[math.log(one) for one in times] for times in (values, reference)]
    shift = summarise(logs[0]).mean - summarise(logs[1]).mean
    found = _welch(*logs)
    if found is None:
        return RatioTest(len(values), math.exp(shift), None, None, 1.0, None)
    half = quantile(confidence, found[2]) * found[1]
    p = float(distributions.t.cdf(shift / found[1], found[2]))
    low, high = math.exp(shift - half), math.exp(shift + half)
    return RatioTest(len(values), math.exp(shift), low, high, 1.0, p)


def mean_lower_bound(values: Sequence[float], confidence: float) -> float | None:
    """Return the one-sided lower confidence limit of the mean (Student t); None for n < 2."""
    summary = summarise(values)
    if summary.sd is None:
        return None
    t = float(distributions.t.ppf(confidence, summary.n - 1))
    return summary.mean - t * summary.sd / math.sqrt(summary.n)


def quantile(confidence: float, freedom: float) -> float:
    """Return Student's quantile of a two-sided interval."""
    return float(distributions.t.ppf(0.5 + confidence / 2, freedom))
