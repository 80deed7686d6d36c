"""What a sweep will take: estimate.py's answer from the facts that are known here."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from speedrun import estimate, jobs, plan, specs
from speedrun.adapters import spending
from speedrun.adapters.facts import Facts
from speedrun.adapters.spending import Spend
from speedrun.estimate import Share

Config = dict[str, Any]
IDENTICAL = ("oracle", "null")  # coders whose code is a record's own


@dataclass(frozen=True)
class Forecast:
    """All that `speedrun plan` says. None: not known, or not bounded."""

    sweep: str
    track: str
    hardware: str
    tasks: int
    arms: int
    seeds: int
    trials: int
    nodes: int
    not_run: int  # chosen tasks that this hardware cannot run
    unjudged: int  # tasks whose winners no recorded reply can judge
    jobs: dict[str, int]  # by rule, most first
    device_hours: dict[str, Share]  # by kind of work, without caps
    hours_from: dict[str, int]  # how many records' times are from where
    models: dict[str, Spend]  # the judge's under "judge: <name>", the reviewer's alike
    budget: dict[str, dict[str, float | None]]
    usd_worst: float | None  # of all trials under the caps; the judge's not included
    tokens_worst: float | None
    device_hours_worst: float


def forecast(repository: Path, config: Config) -> Forecast:
    """Return what a resolved sweep will take. Relative paths are those of the working directory."""
    facts, trials = Facts(repository, config), plan.trials(config)
    shares = estimate.device_hours(config, {at: hours for at, (hours, _) in facts.times.items()})
    models, most = spending.spend(facts, trials)
    judge = spending.judging(facts, trials)
    if judge is not None:
        models[f"judge: {config['judge']['model']['name']}"] = judge
    reviewer = spending.reviewing(facts, trials)
    if reviewer is not None:
        models[f"reviewer: {config['review']['reviewer']['name']}"] = reviewer
    return Forecast(
        sweep=config["name"],
        track=config["track"]["name"],
        hardware=config["hardware"]["name"],
        tasks=len(config["tasks"]),
        arms=len(config["arms"]),
        seeds=len(config["seeds"]),
        trials=len(trials),
        nodes=sum(trial.n_nodes for trial in trials),
        not_run=len(config["not_run"]),
        unjudged=_unjudged(repository / "replies" / "judge" / config["track"]["name"], config),
        jobs=dict(jobs.count(config).most_common()),
        device_hours=shares,
        hours_from=dict(Counter(origin for _, origin in facts.times.values()).most_common()),
        models=models,
        budget=config["budget"],
        usd_worst=_bounded([one.usd for one in most], config["budget"], "usd"),
        tokens_worst=_bounded([one.tokens for one in most], config["budget"], "tokens"),
        device_hours_worst=_hours_worst(config, trials, shares),
    )


def _unjudged(replies: Path, config: Config) -> int:
    """Return how many tasks have no recorded judgement; code equal to a record's needs none."""
    needless = all(arm["coder"]["name"] in IDENTICAL for arm in config["arms"].values())
    if config["judge"]["kind"] != "recorded" or needless:
        return 0
    return sum(not (replies / task).is_dir() for task in config["tasks"])


def _bounded(
    each: list[float | None], caps: Mapping[str, Mapping[str, float | None]], unit: str
) -> float | None:
    """Return the most that trials can spend under the caps, None where nothing bounds it."""
    most = estimate.capped(each, caps["trial"][unit], caps["sweep"][unit])
    return most if math.isfinite(most) else None


def _hours_worst(config: Config, trials: list[plan.Trial], shares: Mapping[str, Share]) -> float:
    """Return the most device hours under the caps; what references take no cap stops."""
    caps, cap = config["budget"], specs.device_hours_cap(config)
    each = [estimate.trial_hours_worst(config, trial, cap) for trial in trials]
    nodes = estimate.capped(each, caps["trial"]["device_hours"], None)
    references, most = shares["references"].worst, caps["sweep"]["device_hours"]
    whole = nodes + references + shares["audit"].worst
    return whole if most is None else min(whole, max(most, references))
