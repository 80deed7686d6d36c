"""The report's tables: plain rows from the stages' files, and CSV text.

Equal rows give equal bytes: no dates, no paths of a machine, six significant digits.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from speedrun import files, schema, stats, trials
from speedrun.schema import Outcome

Row = dict[str, Any]
ARM_COLUMNS = (
    "arm", "task", "n_tasks", "n_trials", "n_winners", "n_confirmed", "fsr", "fsr_audited",
    "fsr_low", "fsr_high", "confidence", "interval", "fsr_audited_iqm", "n_left_out", "measurable",
    "n_not_attempted", "fsr_own_start", "winners_curse", "n_review",
)  # fmt: skip
CURVE_COLUMNS = (
    "task", "kind", "name", "node", "step", "steps", "time_s", "wall_s", "train_time_ms", "val_loss"
)  # fmt: skip
NODE_COLUMNS = (
    "task", "trial", "arm", "seed", "node", "parent", "generation", "action", "outcome", "winner",
    "time_s", "val_loss", "device_seconds", "lines_added", "lines_removed", "sandbox", "reason",
)  # fmt: skip
ALL_TASKS = "all"
OTHER_RULE = "clock or probes"
_RULE = re.compile(r"(?:^|; )rule (\w+): ")  # as the analysis says it, several in a reason


@dataclass(frozen=True)
class Results:
    """Everything the report reads. Stage files are by task name."""

    plan: trials.Plan
    score: dict[str, Any]
    audit: dict[str, Any]
    judge: dict[str, Any]
    similarity: dict[str, Any]
    review: dict[str, Any]
    nodes: dict[str, list[trials.Node]]  # by task/trial label

    @property
    def rows(self) -> list[Row]:
        """The score rows of all tasks in plan order."""
        return [row for task in self.plan.tasks for row in self.score[task.task]["trials"]]

    @property
    def left_out(self) -> list[str]:
        """The tasks that means leave out: not shown to be measurable on this hardware."""
        return [task for task, score in self.score.items() if not counts(score)]


def counts(score: Mapping[str, Any]) -> bool:
    """Say whether a task's score counts in means: only where it is shown to be measurable."""
    return score["measurable"]["measurable"] is True


def read(plan: trials.Plan, sweep: Path) -> Results:
    """Read the stage files under ``sweep`` and the nodes of all trials."""
    stages = {
        stage: {
            task.task: files.read_json(sweep / stage / plan.track.name / f"{task.task}.json")
            for task in plan.tasks
        }
        for stage in ("score", "audit", "judge", "similarity", "review")
    }
    nodes = {f"{trial.task}/{trial.label}": trials.nodes(trial) for trial in plan.trials}
    return Results(plan, nodes=nodes, **stages)


def arms(results: Results) -> list[Row]:
    """Return each arm's FSR over all measurable tasks, then by task, with intervals.

    Tasks that are not shown to be measurable count in ``n_left_out`` alone. The interval's kind is
    stated: ``trials`` resamples the trials of each task (stratified bootstrap), ``rounds`` the
    audit's rounds where every task has one trial, ``fieller`` is the audit's own for a single
    trial; ``none`` where no interval exists.
    """
    names = list(dict.fromkeys(row["arm"] for row in results.rows))
    scopes = [(name, scope) for name in names for scope in (ALL_TASKS, *results.score)]
    picked = [(name, scope, _pick(results.rows, name, scope)) for name, scope in scopes]
    return [_arm_row(results, name, scope, rows) for name, scope, rows in picked if rows]


def _pick(rows: Sequence[Row], arm: str, scope: str) -> list[Row]:
    return [row for row in rows if row["arm"] == arm and scope in (ALL_TASKS, row["task"])]


def _arm_row(results: Results, arm: str, scope: str, whole: list[Row]) -> Row:
    mean = scope == ALL_TASKS
    rows = [row for row in whole if not mean or row["task"] not in results.left_out]
    audited = _by_task(rows, "fsr_audited")
    kind, interval = _interval(results, scope, rows, audited) if rows else ("none", None)
    return {
        "arm": arm,
        "task": scope,
        "n_tasks": len({row["task"] for row in rows}),
        "n_trials": len(rows),
        "n_winners": sum(row["winner"] is not None for row in rows),
        "n_confirmed": sum(row["verdict"] == "confirmed" for row in rows),
        "n_review": sum(row["verdict"] == "review" for row in rows),
        "n_not_attempted": sum(row["outcome"] == Outcome.NOT_ATTEMPTED for row in rows),
        "fsr": _mean(_by_task(rows, "fsr")),
        "fsr_own_start": _mean(_by_task(rows, "fsr_own_start")),
        "fsr_audited": _mean(audited),
        "winners_curse": _mean(_by_task(rows, "winners_curse")),
        "fsr_low": interval.low if interval else None,
        "fsr_high": interval.high if interval else None,
        "confidence": interval.confidence if interval else None,
        "interval": kind,
        "fsr_audited_iqm": stats.iqm(_arrays(audited)) if audited else None,
        "n_left_out": len({row["task"] for row in whole} - {row["task"] for row in rows}),
        "measurable": None if mean else rows[0]["measurable"],
    }


def _by_task(rows: Sequence[Row], column: str) -> dict[str, list[float]]:
    """Return the known values of a column by task; a task without any is left out."""
    tasks = dict.fromkeys(row["task"] for row in rows)
    values = {
        task: [r[column] for r in rows if r["task"] == task and r[column] is not None]
        for task in tasks
    }
    return {task: found for task, found in values.items() if found}


def _arrays(values: Mapping[str, Sequence[float]]) -> list[stats.Floats]:
    return [np.asarray(values[task], dtype=np.float64) for task in values]


def _mean(values: Mapping[str, Sequence[float]]) -> float | None:
    return stats.mean_of_tasks(_arrays(values)) if values else None


def _interval(
    results: Results, scope: str, rows: Sequence[Row], audited: dict[str, list[float]]
) -> tuple[str, stats.Interval | None]:
    confidence = results.plan.audit.confidence
    if any(len(found) > 1 for found in audited.values()):
        return "trials", stats.stratified_bootstrap(audited, confidence=confidence)
    if scope != ALL_TASKS or len(rows) == 1:
        low, high = rows[0]["fsr_low"], rows[0]["fsr_high"]
        if low is None:
            return "none", None
        return "fieller", stats.Interval(rows[0]["fsr_audited"], low, high, confidence)
    rounds = [_rounds(results, row) for row in rows if row["fsr_audited"] is not None]
    if not any(len(one) > 1 for one in rounds):
        return "none", None
    return "rounds", stats.round_bootstrap(rounds, confidence)


def _rounds(results: Results, row: Row) -> stats.Floats:
    """Return the audit's (x_i, y_i) of a trial, or its fixed score without a usable audit."""
    entries = {e["trial"]: e for e in results.audit[row["task"]]["trials"]}
    entry = entries[row["trial"]]
    if entry["verdict"] in (None, "failed") or not entry["savings"]:
        return np.array([[row["fsr_audited"], 1.0]])
    return np.asarray(entry["savings"], dtype=np.float64)


def references(plan: trials.Plan) -> list[tuple[str, Path, schema.Analysis]]:
    """Return (record, folder, analysis) of every reference run."""
    return [
        (record, Path(folder), schema.load(schema.Analysis, Path(folder) / "analysis.json"))
        for record in sorted(plan.references)
        for folder in plan.references[record]
    ]


def curves(results: Results) -> list[Row]:
    """Return every validation point of every reference run and node, in the track's seconds."""
    plan, track = results.plan, results.plan.track
    rows = [
        _point(track, "", "reference", name, folder.name.removeprefix("run_"), point)
        for record, folder, analysis in references(plan)
        for name in [trials.reference_name(plan, record, folder)]
        for point in analysis.curve
    ]
    return rows + [
        _point(track, trial.task, "trial", trial.label, node.number, point)
        for trial in plan.trials
        for node in results.nodes[f"{trial.task}/{trial.label}"]
        for point in node.analysis.curve
    ]


def _point(
    track: schema.TrackSpec,
    task: str,
    kind: str,
    name: str,
    node: int | str,
    point: schema.CurvePoint,
) -> Row:
    return {
        "task": task,
        "kind": kind,
        "name": name,
        "node": node,
        "step": point.step,
        "steps": point.steps,
        "time_s": trials.point_s(track, point),
        "wall_s": point.wall_s,
        "train_time_ms": point.train_time_ms,
        "val_loss": point.val_loss,
    }


def node_rows(results: Results) -> list[Row]:
    """Return one row a node with its place in the search tree; node 0, the start, has none."""
    return [
        _node_row(trial, node, best)
        for trial in results.plan.trials
        for found in [results.nodes[f"{trial.task}/{trial.label}"]]
        for best in [trials.winner(found)]
        for node in found
    ]


def _node_row(trial: trials.TrialPlan, node: trials.Node, best: trials.Node | None) -> Row:
    parent = schema.load(schema.Parent, node.folder / "parent.json")
    run = schema.load(schema.RunExit, node.folder / "run" / "exit.json")
    return {
        "task": trial.task,
        "trial": trial.label,
        "arm": trial.arm,
        "seed": trial.seed,
        "node": node.number,
        "parent": parent.parent,
        "generation": parent.generation,
        "action": parent.action,
        "outcome": str(node.analysis.outcome),
        "winner": best is not None and best.number == node.number,
        "time_s": node.analysis.time_s,
        "val_loss": node.analysis.val_loss,
        "device_seconds": node.analysis.device_seconds,
        "lines_added": parent.lines_added,
        "lines_removed": parent.lines_removed,
        "sandbox": run.sandbox if run.ran else "",
        "reason": node.analysis.reason,
    }


def violations(nodes: Sequence[Row]) -> tuple[list[str], list[Row]]:
    """Return the rules that nodes broke, and one row an arm counting its nodes by rule.

    What no rule of the code names is called after what was checked: the clock or the probes.
    """
    broken = [row for row in nodes if row["outcome"] == Outcome.RULE_VIOLATION]
    named = [(row["arm"], set(_RULE.findall(row["reason"])) or {OTHER_RULE}) for row in broken]
    kinds = sorted({kind for _, found in named for kind in found})
    arms = dict.fromkeys(arm for arm, _ in named)
    return kinds, [
        {"arm": arm}
        | {kind: sum(kind in found for a, found in named if a == arm) for kind in kinds}
        for arm in arms
    ]


def failures(nodes: Sequence[Row]) -> tuple[list[str], list[Row]]:
    """Return the outcomes that occur, and one row an arm counting its nodes by outcome.

    A node of a chain that had ended is counted apart: nothing was asked, so that nothing failed.
    """
    apart = Outcome.NOT_ATTEMPTED
    found = {row["outcome"] for row in nodes} - {apart}
    kinds = [str(outcome) for outcome in Outcome if outcome in found]
    names = dict.fromkeys(row["arm"] for row in nodes)
    ended = {name: [row["outcome"] for row in nodes if row["arm"] == name] for name in names}
    counted = [*kinds, str(apart)]
    return kinds, [{"arm": n} | {kind: ended[n].count(kind) for kind in counted} for n in names]
