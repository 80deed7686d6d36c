"""Pace: a winner so much faster than the human target that a person should read it first.

What no probe shows and no parser tells for sure, such as counts in the place of learning, tends to
pay more than research does: a 4-gram model counted in NumPy takes 0.05 of the time of micro's
fastest record. The bound comes from the records: no step of either chain takes less than half of
the time of the one before it (nanogpt 0.68, micro 0.51), so that a third of the *target's* time is
beyond any of them. An honest program can be that fast, which is why it is a flag. The times of a
simulation are made up and are not compared.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from speedrun import stats
from speedrun.unseen import Check
from speedrun.verdict import FAST

SHARE_MIN = 1 / 3


def check(times_s: Sequence[float], target_s: Sequence[float]) -> Check | None:
    """Compare the winner's fastest run with the target's mean, in seconds; None without either.

    Not its mean: who is that fast could afford one slow run in each six, so that nobody looks.
    """
    if not times_s or not target_s:
        return None
    share = min(times_s) / stats.summarise(target_s).mean
    found = Check(figures={"share_of_target": share, "limit": SHARE_MIN})
    if math.isfinite(share) and share < SHARE_MIN:
        found.held[FAST] = (
            f"takes {share:.2f} of the target's time at its fastest; no record takes less than "
            "half of that before it: read the code"
        )
    return found
