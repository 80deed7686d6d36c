"""How many jobs a sweep is when nothing of it is there yet: counted, without a DAG.

The numbers are those that `snakemake -n` plans from scratch (tests/test_estimate.py). The rules in
workflow/rules decide them: one that is added there is added here.
"""

from __future__ import annotations

import functools
from collections import Counter
from typing import Any

from speedrun import plan, search, specs

CELL_JOBS = 20_000  # 80 s CPU and 1 GB to plan (27,000 took 107 s and 1.4 GB)
PLAN_JOBS = 50_000  # more are not planned at once unless somebody insists


def count(config: dict[str, Any]) -> Counter[str]:
    """Return the number of jobs of each rule, for a resolved sweep."""
    found = _of_tasks(config, plan.tasks(config))
    for trial in plan.trials(config):
        found.update(of_trial(trial))
    return +found  # without the rules that make nothing


def _of_tasks(config: dict[str, Any], tasks: list[plan.Task]) -> Counter[str]:
    """Return the jobs that do not depend on the arms."""
    records = {name for task in tasks for name in (task.start, task.target)}
    runs = {
        run for task in tasks for runs in plan.references(config, task).values() for run in runs
    }
    eras = {specs.built_environment(config["hardware"], task.setting.era) for task in tasks}
    once = ("all", "corpus", "tokenize", "report", "publish")
    each = ("task", "similarity", "judge", "review", "audit", "score")
    return Counter(
        {
            **dict.fromkeys(once, 1),
            **dict.fromkeys(each, len(tasks)),
            "upstream": int("registry" in config["track"]),
            "environment": len(eras - {""}),
            "records": len(records),
            "train_reference": len(runs),
            "analyze_reference": len(runs),
        }
    )


def of_trial(trial: plan.Trial) -> Counter[str]:
    """Return the jobs of one trial: its nodes, and what its arm asks for besides."""
    nodes = trial.n_nodes
    found = Counter({"generate": nodes, "train": nodes, "analyze": nodes})
    if trial.arm["mode"] == plan.CUMULATIVE:
        found["chain"] = int(bool(trial.start_from))
    if "preflight" in trial.arm:
        found.update({"draft": nodes, "preflight": nodes})
    if "summary" in trial.arm:
        found["summarize"] = summarised(trial)
    return found


def summarised(trial: plan.Trial) -> int:
    """Return how many nodes a later one reads of: all but those of the last generation."""
    return sum(generation_sizes(trial)[:-1])


def generation_sizes(trial: plan.Trial) -> tuple[int, ...]:
    """Return how many nodes each generation of a trial proposes."""
    return _sizes(tuple(sorted(trial.arm["scaffold"].items())), trial.n_nodes)


@functools.cache
def _sizes(scaffold: tuple[tuple[str, Any], ...], n_nodes: int) -> tuple[int, ...]:
    """Sweeps have thousands of trials, and few scaffolds."""
    grouped = search.generations(search.scaffold(dict(scaffold)), n_nodes)
    return tuple(len(generation) for generation in grouped)
