"""review: what the rules find in each winner, and which of it a person has to look at.

Of a finding that only may be a breach (severity "review") the state is

- ``covered``: the track's probes show such a breach anyhow, so that it holds up no verdict;
- ``accepted`` or ``rejected``: a person has decided, by name and reason (decisions.py);
- ``open``: everything else. The audit confirms no winner with an open flag.

A finding of severity "violation", and one that a person rejected, is a broken rule. A language
model's opinion is kept beside them where one was asked for; it decides nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from speedrun import files, rules, schema, trials, versions
from speedrun.stages.review import decisions
from speedrun.stages.review.decisions import ACCEPTED, REJECTED, Decision
from speedrun.stages.review.opinion import Reviewer, ask

__all__ = ["ACCEPTED", "REJECTED", "Reviewer", "examine", "review_task", "sentence"]

RECORDS = {"start": Path("public/start"), "target": Path("private/target")}  # in a task's folder
OPEN, COVERED = "open", "covered"


def review_task(
    plan: trials.Plan, task_name: str, reviews: Path, reviewer: Reviewer | None, out: Path
) -> dict[str, Any]:
    """Review the winner of every trial of a task and write ``out``.

    ``reviews`` is the track's folder of people's decisions. Where a ``reviewer`` is asked, prompt
    and reply lie beside ``out``, under opinions/<task>/. Errors: SpeedrunError for a malformed
    decision.
    """
    task = plan.task(task_name)
    result = {
        "task": task_name,
        "track": plan.track.name,
        "version": versions.REVIEW,
        "rules": plan.track.rules,
        "trials": [
            {"trial": trial.label, "arm": trial.arm, "seed": trial.seed}
            | _review(plan.track, task, trial, reviews, reviewer, out)
            for trial in plan.trials_of(task_name)
        ],
    }
    files.write_json(out, result)
    return result


def _review(
    track: schema.TrackSpec,
    task: trials.TaskPlan,
    trial: trials.TrialPlan,
    reviews: Path,
    reviewer: Reviewer | None,
    out: Path,
) -> dict[str, Any]:
    """Return one trial's part of the product."""
    winner = trials.winner(trials.nodes(trial))
    if winner is None:
        none: dict[str, Any] = {"findings": [], "violations": [], "held": [], "decisions": []}
        return {"winner": None, "same_as": "", **none, "opinion": None}
    own = trials.own_code(Path(trial.folder) / trials.START)
    found = examine(winner.solution, Path(task.folder), track, reviews, own)
    folder = out.parent / "opinions" / task.task
    opinion = ask(reviewer, winner.solution, task, track, found, folder) if reviewer else None
    return {
        "winner": winner.number,
        "solution_digest": files.digest_tree(winner.solution),
        "same_as": same_as(winner.solution, Path(task.folder)),
        "findings": found,
        "violations": [sentence(one) for one in found if _broken(one)],
        "held": [sentence(one) for one in found if _held(one)],
        "decisions": decisions.on_audit(decisions.path(reviews, winner.solution)),
        "opinion": opinion,
    }


def examine(
    solution: Path,
    task: Path,
    track: schema.TrackSpec,
    reviews: Path,
    own: Path | None = None,
) -> list[dict[str, Any]]:
    """Return what the rules find in a folder against a task's start, each with its state.

    ``task`` is the task's folder. What the human's target has too is no finding, and what the code
    ``own`` has, from which a cumulative trial started, a flag and no violation.
    """
    if same_as(solution, task):
        return []  # spared the oracle and the null coder, which every sweep has
    start, target = (task / folder for folder in RECORDS.values())
    found = rules.check(solution, start, track.entry, track.rules, target, track.target_loss, own)
    decided = decisions.read(decisions.path(reviews, solution)) if found else []
    return [stated(one, track, decided) for one in found]


def same_as(solution: Path, task: Path) -> str:
    """Return which record a solution is byte for byte, "start" or "target"; else nothing."""
    mine = files.digest_tree(solution)
    same = (name for name, one in RECORDS.items() if files.digest_tree(task / one) == mine)
    return next(same, "")


def stated(
    finding: rules.Finding, track: schema.TrackSpec, decided: Sequence[Decision]
) -> dict[str, Any]:
    """Return a finding with its state; of several decisions on it the last one counts."""
    mine = [one for one in decided if (one.rule, one.key) == (finding.rule, finding.key)]
    state, by, why = OPEN, "", ""
    if finding.severity == rules.REVIEW:
        state = COVERED if _covered(finding.rule, track) else OPEN
        if mine:
            state, by, why = mine[-1].decision, mine[-1].by, mine[-1].why
    return {**asdict(finding), "state": state, "by": by, "why": why}


def _covered(rule: str, track: schema.TrackSpec) -> bool:
    return track.probe_contexts > 0 and rules.RULES[rule].probed


def _broken(entry: dict[str, Any]) -> bool:
    return bool(entry["severity"] == rules.VIOLATION or entry["state"] == REJECTED)


def _held(entry: dict[str, Any]) -> bool:
    return bool(entry["severity"] == rules.REVIEW and entry["state"] == OPEN)


def sentence(entry: dict[str, Any]) -> str:
    """Return a finding in one line, with its place and with what a person said of it."""
    place = f"{entry['file']}:{entry['line']}" if entry["line"] else entry["file"]
    said = f", {entry['state']} by {entry['by']}: {entry['why']}" if entry["by"] else ""
    return f"rule {entry['rule']}: {entry['what']} ({place or 'the solution'}){said}"
