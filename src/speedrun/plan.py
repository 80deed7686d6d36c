"""The plan of a sweep: which trials, references and products there are, and where they lie.

Pure: from the resolved configuration to plain values. The Snakefile turns a plan into jobs and
writes it as plan.json, which the scoring stages read (trials.py). Paths are relative to the
working directory.
"""

from __future__ import annotations

import difflib
import itertools
from dataclasses import dataclass
from typing import Any

from speedrun import files, specs
from speedrun.files import SpeedrunError

RESULTS = "results"
ARM_NAME = r"[a-z0-9_+]+"  # a folder's name, and a wildcard of the workflow
STAGE_SECTIONS = {"audit": "audit", "similarity": "embedder", "judge": "judge", "score": "audit"}


@dataclass(frozen=True)
class Task:
    """A start record and its target record of one track."""

    name: str
    start: str
    target: str


@dataclass(frozen=True)
class Trial:
    """One arm on one task with one seed. ``arm`` is the slice of configuration that decides it."""

    task: str
    name: str
    folder: str
    arm: dict[str, Any]
    seed: int
    n_nodes: int


def chain(records: list[str]) -> list[Task]:
    """Return the tasks of a record chain: every pair of consecutive records."""
    pairs = itertools.pairwise(records)
    return [Task(f"{start}-{target}", start, target) for start, target in pairs]


def choose_tasks(records: list[str], wanted: list[str] | str) -> list[Task]:
    """Return the tasks that a sweep names (one name, a list, or ``all``), in the chain's order.

    Errors: an unknown task is a SpeedrunError that names the nearest one.
    """
    known = {task.name: task for task in chain(records)}
    if wanted == "all":
        return list(known.values())
    names = [wanted] if isinstance(wanted, str) else wanted
    for name in names:
        if name not in known:
            close = difflib.get_close_matches(name, list(known), n=1, cutoff=0.0)
            raise SpeedrunError(
                f"config: unknown task {name!r}; nearest is {close[0]!r} "
                f"(valid: {', '.join(known)}, or all)"
            )
    return [task for name, task in known.items() if name in names]


def trials(config: dict[str, Any]) -> list[Trial]:
    """Return every trial of a sweep: task by arm by seed."""
    tasks = choose_tasks(config["track"]["records"], config["tasks"])
    return [
        _trial(config, task, name, arm, seed)
        for task in tasks
        for name, arm in config["arms"].items()
        for seed in config["seeds"]
    ]


def _trial(config: dict[str, Any], task: Task, name: str, arm: dict[str, Any], seed: int) -> Trial:
    """Name a trial; its arm's digest leaves the budget out, so that more nodes extend it."""
    deciding = {key: value for key, value in arm.items() if key != "n_nodes"}
    deciding["hardware"] = specs.train(config)
    digest = files.digest_value(deciding)[:8]
    base = f"{RESULTS}/trials/{config['track']['name']}/{task.name}"
    return Trial(task.name, name, f"{base}/{name}-{digest}/s{seed}", deciding, seed, arm["n_nodes"])


def reference_folders(config: dict[str, Any], record: str) -> list[str]:
    """Return the folders of a record's reference runs on this hardware."""
    base = f"{RESULTS}/references/{config['track']['name']}/{config['hardware']['name']}/{record}"
    return [f"{base}/run_{run}" for run in range(config["references"]["runs"])]


def run_seed(name: str) -> int:
    """Return the seed of a run from its stable name: repeats differ, reruns agree."""
    return int(files.digest_text(name)[:8], 16) % 2**31


def as_dict(config: dict[str, Any]) -> dict[str, Any]:
    """Return plan.json: what the scoring stages, report and publish need to know of a sweep."""
    tasks = choose_tasks(config["track"]["records"], config["tasks"])
    records = sorted({record for task in tasks for record in (task.start, task.target)})
    return {
        "sweep": config["name"],
        "track": specs.track(config),
        "hardware": config["hardware"]["name"],
        "config_digest": files.digest_value(config),
        "config": config,
        "references": {record: reference_folders(config, record) for record in records},
        "tasks": [_task_entry(config, task) for task in tasks],
        "trials": [_trial_entry(trial) for trial in trials(config)],
        **{section: config[section] for section in set(STAGE_SECTIONS.values())},
    }


def _task_entry(config: dict[str, Any], task: Task) -> dict[str, Any]:
    folder = f"{RESULTS}/tasks/{config['track']['name']}/{task.name}"
    return {"task": task.name, "start": task.start, "target": task.target, "folder": folder}


def _trial_entry(trial: Trial) -> dict[str, Any]:
    arm = trial.arm
    return {
        "task": trial.task,
        "arm": trial.name,
        "folder": trial.folder,
        "coder": arm["coder"]["name"],
        "model": arm["model"]["name"],
        "scaffold": arm["scaffold"]["name"],
        "hints": "+".join(arm["hints"]) or "none",
        "mode": arm["mode"],
        "seed": trial.seed,
        "n_nodes": trial.n_nodes,
    }


def task_slice(plan: dict[str, Any], stage: str, task: str) -> dict[str, Any]:
    """Return the part of a plan that one stage reads for one task, in the plan's own shape.

    Every stage depends on its slice alone, so that an override reruns only what it touches.
    """
    dropped = (set(STAGE_SECTIONS.values()) - {STAGE_SECTIONS[stage]}) | {"config", "config_digest"}
    kept: dict[str, Any] = {
        key: {} if key in dropped and isinstance(value, dict) else value
        for key, value in plan.items()
    }
    kept["config_digest"] = ""
    kept["tasks"] = [entry for entry in plan["tasks"] if entry["task"] == task]
    kept["trials"] = [entry for entry in plan["trials"] if entry["task"] == task]
    records = {record for entry in kept["tasks"] for record in (entry["start"], entry["target"])}
    kept["references"] = {name: plan["references"][name] for name in sorted(records)}
    return kept
