"""The task table of a track, and which of its tasks a sweep runs.

A track with a registry has the tasks of its registry; any other has every pair of consecutive
records. The tasks that the hardware cannot run faithfully are set apart with their reasons.
"""

from __future__ import annotations

import functools
import itertools
from pathlib import Path
from typing import Any

from speedrun import faithful, plan, registry
from speedrun.adapters import selection
from speedrun.files import SpeedrunError

Config = dict[str, Any]
Row = dict[str, Any]
WORLD_SIZES = (1, 2, 4, 8)


def resolve(repository: Path, config: Config) -> Config:
    """Return ``config`` with its track's task table, its own tasks by name, and not_run.

    A registry's chain of records is left out (``records`` is empty): all that a stage reads of a
    track decides its runs, and a record added upstream must make no finished task again.

    Errors: SpeedrunError in one line for an unknown or excluded task, a bad expression, a broken
    registry, or when nothing is left to run.
    """
    track = config["track"]
    facts = registry_of(repository, track)
    if facts is None:
        rows = [_local_row(task) for task in plan.chain(track["records"])]
        chosen = selection.choose(rows, {}, config["tasks"])
        return {**config, "track": {**track, "tasks": rows}, "tasks": chosen, "not_run": []}
    rows = [registry_row(pair) for pair in facts.tasks]
    excluded = {pair.task: pair.excluded for pair in facts.transitions if pair.excluded}
    chosen = selection.choose(rows, excluded, config["tasks"])
    not_run = _unfaithful(facts, config["hardware"], chosen)
    resolved = {**track, "records": [], "tasks": rows}
    return {**config, "track": resolved, "not_run": not_run, "tasks": _left(chosen, not_run)}


def registry_of(repository: Path, track: Config) -> registry.Registry | None:
    """Return a track's registry, None where its records lie in tracks/."""
    if "registry" not in track:
        return None
    path = repository / track["registry"]
    return _read(path, path.stat().st_mtime_ns) if path.is_file() else registry.load(path)


@functools.cache
def _read(path: Path, mtime_ns: int) -> registry.Registry:
    """Read a registry once, until it changes: parsing it takes a third of a second."""
    return registry.load(path)


def first_break(repository: Path, config: Config) -> tuple[str, str] | None:
    """Return the first two neighbours among the chosen tasks that are no chain, None if all are.

    A task follows another when it starts at that one's target: at the same record, at a later
    timing of it (r21c for r21), or at one that the registry tells apart by its PyTorch alone.
    """
    facts = registry_of(repository, config["track"])
    same = {pair.task for pair in facts.transitions if pair.excluded} if facts else set()
    number = {record.id: record.number for record in facts.records} if facts else {}
    for before, after in itertools.pairwise(plan.tasks(config)):
        ended, starts = before.target, after.start
        retimed = facts and number[ended] == number[starts]
        if not (ended == starts or retimed or f"{ended}-{starts}" in same):
            return before.name, after.name
    return None


def _local_row(task: plan.Task) -> Row:
    number = int(task.target.removeprefix("r"))
    return {"task": task.name, "number": number, "start": task.start, "target": task.target}


def registry_row(pair: registry.Transition) -> Row:
    """Return a task's row: what a selection may ask about. Times are the published ones."""
    sizes = set(pair.start.world_sizes) & set(pair.target.world_sizes)
    return {
        "task": pair.task,
        "number": pair.target.number,
        "start": pair.start.id,
        "target": pair.target.id,
        "era": pair.target.era,
        "gain_percent": round(pair.gain_percent, 3),
        "start_minutes": pair.start.time_minutes,
        "target_minutes": pair.target.time_minutes,
        "start_date": pair.start.date,
        "target_date": pair.target.date,
        "strict": pair.strict,
        "ai_system": pair.target.ai_system,
        "train_tokens": _most_tokens(pair),
        "downloads": any(
            faithful.DOWNLOADS & set(side.needs) for side in (pair.start, pair.target)
        ),
        **{f"gpus_{size}": size in sizes for size in WORLD_SIZES},
    }


def _most_tokens(pair: registry.Transition) -> int | None:
    """Return what the longer of the two runs trains on, None where that is not known."""
    tokens = [side.train_tokens for side in (pair.start, pair.target)]
    known = [count for count in tokens if count is not None]
    return max(known) if len(known) == len(tokens) else None


def _unfaithful(facts: registry.Registry, hardware: Config, chosen: list[str]) -> list[Row]:
    """Return the tasks of which a record cannot run here as it ran upstream, with the reason.

    The simulated trainer runs no script, so that nothing can be unfaithful.
    """
    if hardware["trainer"] == "simulated":
        return []
    reasons = {
        pair.task: faithful.unfaithful(pair.start, hardware)
        or faithful.unfaithful(pair.target, hardware)
        for pair in facts.tasks
        if pair.task in chosen
    }
    return [{"task": task, "reason": reason} for task, reason in reasons.items() if reason]


def _left(chosen: list[str], not_run: list[Row]) -> list[str]:
    dropped = {row["task"]: row["reason"] for row in not_run}
    left = [task for task in chosen if task not in dropped]
    if not left:
        task, reason = next(iter(dropped.items()))
        raise SpeedrunError(
            f"config: this hardware can run none of the {len(chosen)} chosen tasks faithfully; "
            f"{task}: {reason}: choose another hardware or other tasks"
        )
    return left
