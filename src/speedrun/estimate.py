"""What a sweep will take before any of it is spent: device hours, calls and tokens. Pure.

An expectation is only as good as what it rests on, so that every number here says whether it was
measured on this machine or assumed; what is not known is left out and counted as unknown.
Device hours are GPUs times hours, or CPU hours.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from speedrun import jobs, plan, specs

Hours = Mapping[
    str, float | None
]  # of one run of a record in a task's setting, by reference folder

CHARS_A_TOKEN = 3.5  # code and English prose of our prompts; an assumption
PROMPT_CHARS = 5_000  # of the fixed text of a prompt: 3,200 on nano, whose rules are the shortest
ATTEMPT_CHARS = 4_000  # of one earlier attempt as a prompt shows it: result, digest, change
ATTEMPTS_SHOWN = 9  # three better, three worse, three failed
HISTORY_CHARS = 60_000  # of all attempts together (stages/generate/history.py)
PASSAGE_CHARS = 2_000  # of one retrieved passage
REPLY_TOKENS = 8_000  # of one reply, reasoning included; an assumption
PREFLIGHT_ASKS = 0.3  # of the drafts that preflight finds at fault; an assumption
SUMMARY_IN, SUMMARY_OUT = 6_000, 700  # tokens of one summary; an assumption
TURN_TOKENS = 1_500  # that an agent's turn adds to what its next turn sends again; an assumption
TURNS = {"direct": 1.2, "aider": 1.5}  # calls a node, re-asks included; an assumption
AGENT_TURNS = 30.0  # of any other coder that asks a model


@dataclass(frozen=True)
class Share:
    """Device hours of one kind of work. ``unknown``: runs whose time nothing tells."""

    runs: int
    expected: float
    worst: float
    unknown: int = 0

    def __add__(self, other: Share) -> Share:
        """Return both together."""
        return Share(
            self.runs + other.runs,
            self.expected + other.expected,
            self.worst + other.worst,
            self.unknown + other.unknown,
        )


@dataclass(frozen=True)
class Asked:
    """What is asked of one model: calls, and tokens sent and received."""

    calls: float = 0.0
    tokens_in: float = 0.0
    tokens_out: float = 0.0

    def __add__(self, other: Asked) -> Asked:
        """Return both together."""
        return Asked(
            self.calls + other.calls,
            self.tokens_in + other.tokens_in,
            self.tokens_out + other.tokens_out,
        )

    def times(self, factor: float) -> Asked:
        """Return ``factor`` times as much."""
        return Asked(self.calls * factor, self.tokens_in * factor, self.tokens_out * factor)


def _runs(count: int, hours: float | None, cap: float) -> Share:
    known = min(hours, cap) if hours is not None else 0.0
    return Share(count, count * known, count * cap, 0 if hours is not None else count)


def device_hours(config: dict[str, Any], hours: Hours) -> dict[str, Share]:
    """Return the device hours of a sweep by kind of work: nodes, preflight, references, audit.

    ``hours``: of one run of a record, by its first reference folder. A node is expected to take as
    long as its start record, and every trial to have a winner; a preflight to use up its cap.
    """
    cap, tasks, trials = specs.device_hours_cap(config), plan.tasks(config), plan.trials(config)
    starts = {task.name: _hours_of(config, task, task.start, hours) for task in tasks}
    found = dict.fromkeys(("nodes", "preflight", "references", "audit"), Share(0, 0.0, 0.0))
    for trial in trials:
        found["nodes"] += _runs(trial.n_nodes, starts[trial.task], cap)
        found["preflight"] += _preflight(config, trial)
    for folders in _reference_groups(config, tasks):
        found["references"] += _runs(len(folders), hours.get(folders[0]), cap)
    for task in tasks:
        winners = sum(trial.task == task.name for trial in trials)
        found["audit"] += _audit(config, task, winners, hours)
    unseen = plan.unseen_runs(config)
    for folders in _reference_groups(config, tasks) if unseen else ():
        found["audit"] += _runs(unseen, hours.get(folders[0]), cap)
    return found


def _audit(config: dict[str, Any], task: plan.Task, winners: int, hours: Hours) -> Share:
    """Return a task's audit but for the records' runs on noise and hold-out, which tasks share."""
    counts, cap = plan.audit_runs(config, winners), specs.device_hours_cap(config)
    start, target = (_hours_of(config, task, name, hours) for name in (task.start, task.target))
    each = ((counts["winners"], start), (counts["start"], start), (counts["target"], target))
    return sum((_runs(count, known, cap) for count, known in each), Share(0, 0.0, 0.0))


def _hours_of(config: dict[str, Any], task: plan.Task, record: str, hours: Hours) -> float | None:
    return hours.get(plan.references(config, task)[record][0])


def _reference_groups(config: dict[str, Any], tasks: Iterable[plan.Task]) -> list[list[str]]:
    """Return the reference folders of each record and setting, each once."""
    groups = [group for task in tasks for group in plan.references(config, task).values()]
    return list({group[0]: group for group in groups}.values())


def _preflight(config: dict[str, Any], trial: plan.Trial) -> Share:
    if "preflight" not in trial.arm:
        return Share(0, 0.0, 0.0)
    share = float(trial.arm["preflight"]["timeout_s"]) / float(config["hardware"]["timeout_s"])
    hours = min(1.0, share) * specs.device_hours_cap(config)
    return _runs(trial.n_nodes, hours, hours)


def trial_hours_worst(config: dict[str, Any], trial: plan.Trial, cap: float) -> float:
    """Return the device hours of a trial whose every run takes its cap."""
    return trial.n_nodes * cap + _preflight(config, trial).worst


def asked_of_model(trial: plan.Trial, shown_chars: float) -> Asked:
    """Return what the nodes of one trial are expected to ask, by the assumptions above.

    ``shown_chars``: of start code, hints and documents, which every prompt holds.
    """
    turns = TURNS.get(trial.arm["coder"]["name"], AGENT_TURNS)
    turns += PREFLIGHT_ASKS if "preflight" in trial.arm else 0.0
    again = TURN_TOKENS * turns * (turns - 1) / 2  # an agent sends its conversation again
    passages = PASSAGE_CHARS * int(trial.arm.get("retrieval", {}).get("top_k", 0))
    fixed = PROMPT_CHARS + shown_chars + passages
    sent = (fixed * trial.n_nodes + _history_chars(trial)) / CHARS_A_TOKEN
    received = REPLY_TOKENS if turns < AGENT_TURNS else TURN_TOKENS
    return Asked(
        trial.n_nodes * turns,
        sent * turns + again * trial.n_nodes,
        received * turns * trial.n_nodes,
    )


def _history_chars(trial: plan.Trial) -> float:
    """Return the length of the attempts that all prompts of a trial show together."""
    chars, before = 0.0, 0
    for size in jobs.generation_sizes(trial):
        shown = min(HISTORY_CHARS, ATTEMPT_CHARS * min(before, ATTEMPTS_SHOWN))
        chars += shown * size
        before += size
    return chars


def asked_for_summaries(summaries: int) -> Asked:
    """Return what the summaries of runs are expected to ask."""
    return Asked(summaries, summaries * SUMMARY_IN, summaries * SUMMARY_OUT)


def capped(each: Iterable[float | None], trial_cap: float | None, sweep_cap: float | None) -> float:
    """Return the most that trials can spend under the caps; infinite where nothing bounds it.

    ``each``: what each trial could spend without them, None where it is not bounded.
    """
    most = [math.inf if one is None else one for one in each]
    total = sum(min(one, math.inf if trial_cap is None else trial_cap) for one in most)
    return min(total, math.inf if sweep_cap is None else sweep_cap)
