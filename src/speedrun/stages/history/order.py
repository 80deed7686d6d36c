"""Whether deep ideas came early, and whether gains shrink: exact and rank tests over the order."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean, median
from typing import Literal

from scipy import stats as distributions

from speedrun.stages.history.steps import Step

LEVEL = 0.05


@dataclass(frozen=True)
class Placement:
    """Where the deep steps lie among all, 1 being the first; the null is that any place is as good.

    Statistic: the mean place of the k deep steps among n. Null hypothesis: each choice of k places
    out of n is as likely. ``p_front`` is the exact share of all choices whose mean place is as low
    or lower (the permutation distribution of Wilcoxon's rank sum, without ties), ``p_two_sided``
    twice the smaller tail. ``critical``: the largest mean place that would have been called
    front-loaded at 0.05, which says how little k places can show.
    """

    k: int
    n: int
    mean_place: float
    expected_place: float
    p_front: float
    p_two_sided: float
    critical: float


def placement(steps: Sequence[Step], critical: bool = True) -> Placement | None:
    """Return where the deep steps lie; None where there are none, or nothing else.

    ``critical``: calculate that too, which takes many tests.
    """
    deep = [place for place, step in enumerate(steps, start=1) if step.deep]
    rest = [place for place, step in enumerate(steps, start=1) if not step.deep]
    if not deep or not rest:
        return None
    return Placement(
        k=len(deep),
        n=len(steps),
        mean_place=fmean(deep),
        expected_place=(len(steps) + 1) / 2,
        p_front=_p(deep, rest, "less"),
        p_two_sided=_p(deep, rest, "two-sided"),
        critical=_critical(len(deep), len(rest)) if critical else 0.0,
    )


def _p(
    deep: Sequence[int], rest: Sequence[int], alternative: Literal["less", "two-sided"]
) -> float:
    test = distributions.mannwhitneyu(deep, rest, alternative=alternative, method="exact")
    return float(test.pvalue)


def _critical(k: int, others: int) -> float:
    """Return the largest mean place of k with p_front <= LEVEL; 0 where even the first are not."""
    best = 0.0
    for shift in range(k * others + 1):  # the rank sum from its least value up, one by one
        places, rest = _arrangement(k, others, shift)
        if _p(places, rest, "less") > LEVEL:
            break
        best = fmean(places)
    return best


def _arrangement(k: int, others: int, shift: int) -> tuple[list[int], list[int]]:
    """Return k places whose sum is ``shift`` above the least, and the other places."""
    whole, left = divmod(shift, others) if others else (0, 0)
    places = list(range(1, k + 1))
    for i in range(whole):
        places[k - 1 - i] += others
    if left:
        places[k - 1 - whole] += left
    return places, sorted(set(range(1, k + others + 1)) - set(places))


@dataclass(frozen=True)
class Trend:
    """How the gains of steps go with their order: Spearman's rank correlation, two-sided p."""

    n: int
    median_percent: float  # of time saved a step
    mean_ln_gain: float
    rho: float | None
    p: float | None


def trend(steps: Sequence[Step]) -> Trend:
    """Return the trend of log gains over the order; no correlation for fewer than three steps."""
    gains = [step.ln_gain for step in steps]
    saved = [100 * (1 - step.target.time_minutes / step.start.time_minutes) for step in steps]
    if len(gains) < 3:
        return Trend(len(gains), median(saved), fmean(gains), None, None)
    test = distributions.spearmanr(range(len(gains)), gains)
    return Trend(len(gains), median(saved), fmean(gains), float(test.statistic), float(test.pvalue))
