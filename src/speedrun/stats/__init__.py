"""The statistics behind every published number; pure functions on lists of floats.

Intervals and tests return ``None`` where the data cannot bear them (one run, no spread),
so that a missing p-value can never be read as a small one.
"""

from speedrun.stats.bootstrap import iqm, mean_of_tasks, round_bootstrap, stratified_bootstrap
from speedrun.stats.samples import (
    Floats,
    Interval,
    RatioTest,
    Summary,
    equivalent,
    mean_below,
    mean_lower_bound,
    ratio_below,
    ratio_of_independent,
    spread_below,
    summarise,
    summary_of_known,
    welch_below,
)
from speedrun.stats.speedup import audited_fsr, fieller, fsr, fsr_of_groups, savings

__all__ = [
    "Floats",
    "Interval",
    "RatioTest",
    "Summary",
    "audited_fsr",
    "equivalent",
    "fieller",
    "fsr",
    "fsr_of_groups",
    "iqm",
    "mean_below",
    "mean_lower_bound",
    "mean_of_tasks",
    "ratio_below",
    "ratio_of_independent",
    "round_bootstrap",
    "savings",
    "spread_below",
    "stratified_bootstrap",
    "summarise",
    "summary_of_known",
    "welch_below",
]
