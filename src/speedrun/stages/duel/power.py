"""How many rounds a duel needs: power of the paired t-test on log ratios. Pure."""

from __future__ import annotations

import math
from typing import Any

from scipy import stats as distributions

EFFECT, POWER, MOST = math.log(1.05), 0.8, 10_000


def power(rounds: int, sd_log: float, effect: float, p_max: float) -> float:
    """Return how likely one-sided p < ``p_max`` is for a true log ratio ``effect`` off the bound.

    ``sd_log`` is the standard deviation of a round's log ratio; noncentral t, n - 1 degrees.
    """
    if rounds < 2:
        return 0.0
    if sd_log <= 0.0:
        return 1.0
    critical = float(distributions.t.ppf(1.0 - p_max, rounds - 1))
    return float(distributions.nct.sf(critical, rounds - 1, math.sqrt(rounds) * effect / sd_log))


def spread(time: dict[str, Any]) -> float:
    """Return the standard deviation of a round's log ratio from the interval of their mean."""
    quantile = float(distributions.t.ppf(0.5 + time["confidence"] / 2, time["n"] - 1))
    half = (math.log(time["high"]) - math.log(time["low"])) / 2
    return half * math.sqrt(time["n"]) / quantile


def rounds_needed(time: dict[str, Any], p_max: float) -> int:
    """Return the fewest rounds that show 5 % with power 0.8, with a measured duel's noise."""
    sd_log, low, high = spread(time), 2, MOST
    while low < high:
        middle = (low + high) // 2
        if power(middle, sd_log, EFFECT, p_max) >= POWER:
            high = middle
        else:
            low = middle + 1
    return low
