"""Means over tasks and trials, with bootstrap intervals (rliable, arXiv 2108.13264)."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np

from speedrun.stats.samples import Floats, Interval


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
