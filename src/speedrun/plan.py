"""The plan of a sweep: which trials, references and products there are, and where they lie.

Pure: from the resolved configuration to plain values. The Snakefile turns a plan into jobs and
writes it as plan.json, which the scoring stages read (trials.py). Paths are relative to the
working directory.
"""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass
from typing import Any

from speedrun import files, specs

RESULTS = "results"
ARM_NAME = r"[a-z0-9_+]+"  # a folder's name, and a wildcard of the workflow
# Of a corpus: whence and how much of it is fetched. What a run is shown of it, its setting says.
WHENCE = ("endpoint", "store", "offline", "train_shards", "available_shards", "shard_steps")
CUMULATIVE = "cumulative"  # the mode of an arm whose task starts where its own last one ended
OPERATIONAL = ("budget", "models", "whole")  # no result depends on them
WEEK_MIN = 7 * 24 * 60
STAGE_SECTIONS = {
    "review": "review",
    "audit": "audit",
    "similarity": "embedder",
    "judge": "judge",
    "score": "audit",
}


@dataclass(frozen=True)
class Task:
    """A start record and its target record of one track, and what all its runs share."""

    name: str
    start: str
    target: str
    setting: specs.Setting = specs.EVERYTHING


@dataclass(frozen=True)
class Trial:
    """One arm on one task with one seed. ``arm`` is the slice of configuration that decides it.

    ``start_from``: in cumulative mode the folder of the trial of the task before, whose best
    solution this one starts from; "" where the human's record is the start.
    """

    task: str
    name: str
    folder: str
    arm: dict[str, Any]
    seed: int
    n_nodes: int
    start_from: str = ""


def chain(records: list[str]) -> list[Task]:
    """Return the tasks of a record chain: every pair of consecutive records."""
    pairs = itertools.pairwise(records)
    return [Task(f"{start}-{target}", start, target) for start, target in pairs]


def tasks(config: dict[str, Any]) -> list[Task]:
    """Return the tasks of a resolved sweep (adapters/task_table.py), in the track's order."""
    table = config["track"]["tasks"]
    return [
        Task(row["task"], row["start"], row["target"], specs.setting(config, row))
        for row in table
        if row["task"] in config["tasks"]
    ]


def trials(config: dict[str, Any]) -> list[Trial]:
    """Return every trial of a sweep: task by arm by seed."""
    before: dict[str, str] = {}  # of each cumulative arm: the folder of its task before
    return [
        trial
        for task in tasks(config)
        for name, arm in config["arms"].items()
        for trial in _trials(config, task, name, arm, before)
    ]


def _trials(
    config: dict[str, Any], task: Task, name: str, arm: dict[str, Any], before: dict[str, str]
) -> list[Trial]:
    """Return the trials of one arm on one task, which share a folder, and note that folder."""
    deciding = _deciding(config, task, arm)
    start = before.get(name, "")
    if start:
        deciding["start_from"] = start
    base = f"{RESULTS}/trials/{config['track']['name']}"
    folder = f"{task.name}/{name}-{files.digest_value(deciding)[:8]}"
    if arm["mode"] == CUMULATIVE:
        before[name] = folder
    return [
        Trial(
            task.name,
            name,
            f"{base}/{folder}/s{seed}",
            deciding,
            seed,
            arm["n_nodes"],
            f"{base}/{start}/s{seed}" if start else "",
        )
        for seed in config["seeds"]
    ]


def _deciding(config: dict[str, Any], task: Task, arm: dict[str, Any]) -> dict[str, Any]:
    """Return what an arm's digest stands for: not the budget, so that more nodes extend it."""
    deciding = {key: value for key, value in arm.items() if key != "n_nodes"}
    deciding["hardware"] = specs.train(config, task.setting)
    if specs.corpus_kind(config) != "distributions":
        deciding["data"] = _data(config)
    return deciding


def reference_folders(
    config: dict[str, Any], record: str, shared: specs.Setting = specs.EVERYTHING
) -> list[str]:
    """Return the folders of a record's reference runs, shared by all arms and sweeps.

    Their key stands for what decides such a run besides the record's code and the seed: hardware
    and environment, entry and data. So two settings never take turns in one folder, and what one
    sweep measured the next one reads. ``train`` itself runs again when the code is another.
    """
    track, key = config["track"]["name"], reference_key(config, shared)
    base = f"{RESULTS}/references/{track}/{config['hardware']['name']}/{record}/{key}"
    return [f"{base}/run_{run}" for run in range(config["references"]["runs"])]


def reference_key(config: dict[str, Any], shared: specs.Setting) -> str:
    """Return the digest that stands for all but the code and the seed of reference runs."""
    track, probes = config["track"], ("probe_sets", "probe_contexts", "probe_length")
    shown = {name: track.get(name, 0) for name in probes}
    parts = [specs.train(config, shared), track["entry"], shown, _data(config)]
    return files.digest_value(parts)[:8]


def _data(config: dict[str, Any]) -> dict[str, Any]:
    """Return what decides the content of a corpus's shards."""
    return {name: value for name, value in config["corpus"].items() if name not in WHENCE}


def references(config: dict[str, Any], task: Task) -> dict[str, list[str]]:
    """Return the reference folders of a task's start and target, in the task's setting."""
    records = (task.start, task.target)
    return {record: reference_folders(config, record, task.setting) for record in records}


def unseen_runs(config: dict[str, Any]) -> int:
    """Return how often an audit runs each program on noise and hold-out; a simulation never."""
    if config["hardware"]["trainer"] == "simulated":
        return 0
    return int(config["audit"]["noise_runs"]) + int(config["audit"]["holdout_runs"])


def audit_runs(config: dict[str, Any], winners: int) -> dict[str, int]:
    """Return the runs of a task's audit by program.

    Left out are the records' runs on noise and hold-out, which are kept and shared by tasks.
    """
    settings = config["audit"]
    rounds, interleaved = int(settings["rounds"]), settings["references"] == "interleaved"
    return {
        "start": rounds if interleaved else min(rounds, int(settings["drift_rounds"])),
        "target": rounds if interleaved else 0,
        "winners": winners * (rounds + unseen_runs(config)),
    }


def audit_minutes(config: dict[str, Any], task: str, lanes: int) -> int:
    """Return the minutes that an audit may take: every trial a winner, every run its cap.

    A week at most: an audit that a cluster kills goes on where it stopped when it is started again.
    """
    winners = sum(trial.task == task for trial in trials(config))
    runs = sum(audit_runs(config, winners).values()) + 2 * unseen_runs(config)
    caps_min = runs * float(config["hardware"]["timeout_s"]) / 60 / lanes
    return min(WEEK_MIN, math.ceil(caps_min) + 30)


def run_seed(name: str) -> int:
    """Return the seed of a run from its stable name: repeats differ, reruns agree."""
    return int(files.digest_text(name)[:8], 16) % 2**31


def as_dict(config: dict[str, Any]) -> dict[str, Any]:
    """Return plan.json: what the scoring stages, report and publish need to know of a sweep.

    Budgets and endpoints are left out: raising a cap makes no product again.
    """
    config = {key: value for key, value in config.items() if key not in OPERATIONAL}
    chosen = tasks(config)
    return {
        "sweep": config["name"],
        "track": specs.track(config),
        "hardware": config["hardware"]["name"],
        "config_digest": files.digest_value(config),
        "config": config,
        "references": _all_references(config, chosen),
        "tasks": [_task_entry(config, task) for task in chosen],
        "not_run": config["not_run"],
        "p_max": config["references"]["p_max"],
        "trials": [_trial_entry(trial) for trial in trials(config)],
        **{section: config[section] for section in set(STAGE_SECTIONS.values())},
    }


def _all_references(config: dict[str, Any], chosen: list[Task]) -> dict[str, list[str]]:
    """Return the folders of each record; on the border of two settings it runs in both."""
    found: dict[str, dict[str, None]] = {}
    for task in chosen:
        for record, folders in references(config, task).items():
            found.setdefault(record, {}).update(dict.fromkeys(folders))
    return {record: list(found[record]) for record in sorted(found)}


def _task_entry(config: dict[str, Any], task: Task) -> dict[str, Any]:
    folder = f"{RESULTS}/tasks/{config['track']['name']}/{task.name}"
    return {"task": task.name, "start": task.start, "target": task.target, "folder": folder}


def _trial_entry(trial: Trial) -> dict[str, Any]:
    arm = trial.arm
    before = {"start_from": trial.start_from} if trial.start_from else {}
    return {
        **before,
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
    kept["config_digest"], kept["not_run"] = "", []
    if stage != "score":
        del kept["p_max"]
    kept["tasks"] = [entry for entry in plan["tasks"] if entry["task"] == task]
    kept["trials"] = [entry for entry in plan["trials"] if entry["task"] == task]
    one = next(entry for entry in tasks(plan["config"]) if entry.name == task)
    kept["references"] = references(plan["config"], one)
    return kept
