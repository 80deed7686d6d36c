"""score: one row a trial, from the analyses, the references, the review, the audit and the rest.

Search-time FSR uses the winner's single run during the search against the mean of the references'
runs, so it carries the winner's curse and the machine's drift; audited FSR comes from interleaved
re-timings. What the first is above the second is ``winners_curse``, of winners whose audit did not
fail. A trial without a winner scores 0 in both. A winner whose audit failed scores an audited 0
without an interval; one that is not confirmed, or waits for a person's review, keeps its measured
value beside the verdict. Neither is clipped: a winner slower than the start is below 0.

In cumulative mode ``fsr`` still is against the human's start, so that it compares with all other
arms; ``fsr_own_start`` puts the time of the trial's own start in its place. That is the search run
of a winner, the fastest of several, and so a little too fast. Where the chain had ended, both are 0
and the reason says where it did.

Every row says whether its task is measurable here (measurable.py): by the frozen list of this
hardware where one holds the task, else by this sweep's own runs of the two records.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from speedrun import files, measurable, schema, stats, trials, unseen, versions
from speedrun.schema import Outcome
from speedrun.stages.score.spent import costs
from speedrun.verdict import AUDIT

# how far a failed node got, farthest first: a trial without winner is named by its best attempt
PROGRESS = (
    Outcome.OK,
    Outcome.MISSED_TARGET,
    Outcome.RULE_VIOLATION,
    Outcome.OOM,
    Outcome.TIMEOUT,
    Outcome.CANDIDATE_ERROR,
    Outcome.REFUSED,
    Outcome.NOT_ATTEMPTED,
)
FLAGS_SHOWN = 5  # in a row; the review's file has all
CUMULATIVE = "cumulative"  # the mode of trials that start from their own best solution


def score_task(
    plan: trials.Plan,
    task_name: str,
    audit: Path,
    similarity: Path,
    judge: Path,
    review: Path,
    out: Path,
    frozen: Path | None = None,
) -> dict[str, Any]:
    """Score all trials of a task from the four stages' files and write ``out``.

    ``frozen`` is the hardware's list of measurable tasks, where there is one.
    """
    task = plan.task(task_name)
    sources = [_by_trial(path) for path in (audit, similarity, judge, review)]
    times = {name: reference_times(plan, name) for name in (task.start, task.target)}
    t_start, t_target = (stats.summarise(times[name]).mean for name in (task.start, task.target))
    rows = [
        score_trial(trial, t_start, t_target, *(source[trial.label] for source in sources))
        for trial in plan.trials_of(task_name)
    ]
    rounds = measurable.rounds_of(files.read_json(audit))
    own = measurable.judge(times[task.start], times[task.target], rounds, plan.p_max)
    found, origin = _frozen(plan, task, frozen, own)
    said = {"measurable": found.word, "measurable_reason": found.reason}
    result = {
        "task": task_name,
        "track": plan.track.name,
        "version": versions.SCORE,
        "t_start_s": t_start,
        "t_target_s": t_target,
        "measurable": schema.to_dict(found) | {"word": found.word, "origin": origin},
        "trials": [row | said for row in rows],
    }
    files.write_json(out, result)
    return result


def _frozen(
    plan: trials.Plan, task: trials.TaskPlan, path: Path | None, own: measurable.Finding
) -> tuple[measurable.Finding, str]:
    """Return the frozen answer for a task, else this sweep's own, and in words which it is."""
    if path is None:
        return own, "not frozen: from this sweep's own runs of the records"
    frozen = measurable.load(path)
    references = {name: trials.reference_folder(plan, name) for name in (task.start, task.target)}
    found = frozen.finding(task.task, references, plan.p_max)
    name = "/".join(path.parts[-4:])  # tracks/<track>/measurable/<hardware>.yaml
    if found is None:
        return own, f"not frozen: {name} has no answer from these references at this p_max"
    return found, f"frozen on {frozen.date} in {name} ({frozen.machine})"


def _by_trial(path: Path) -> dict[str, dict[str, Any]]:
    return _Named(path, {entry["trial"]: entry for entry in files.read_json(path)["trials"]})


class _Named(dict[str, dict[str, Any]]):
    """Entries of one stage's file by trial; an absent trial is an error that names the file."""

    def __init__(self, path: Path, entries: dict[str, dict[str, Any]]) -> None:
        super().__init__(entries)
        self._path = path

    def __missing__(self, label: str) -> dict[str, Any]:
        raise files.SpeedrunError(f"{self._path} has no trial {label}: delete it and run again")


def reference_times(plan: trials.Plan, record: str) -> list[float]:
    """Return the times in seconds of a record's reference runs, on the track's clock.

    A run that ended just above the target has a time all the same: records are only measured.
    Errors: a SpeedrunError that names the folders when no run came to its end.
    """
    folders = trials.reference_runs(plan, record)
    times = trials.run_times(plan.track, folders)
    if not times:
        raise files.SpeedrunError(
            f"none of {len(folders)} reference runs of {record} came to its end: look at "
            f"summary.md in {', '.join(map(str, folders))}; a record that cannot run here is left "
            f"out with tasks=\"start != '{record}' and target != '{record}'\""
        )
    return times


def score_trial(
    trial: trials.TrialPlan,
    t_start: float,
    t_target: float,
    audit: dict[str, Any],
    similarity: dict[str, Any],
    judge: dict[str, Any],
    review: dict[str, Any],
) -> dict[str, Any]:
    """Return the row of one trial: SCORE_COLUMNS, ``trial`` and ``winner``; times in seconds."""
    nodes = trials.nodes(trial)
    winner = trials.winner(nodes)
    fsr, audited = search_fsr(winner, t_start, t_target), _audited(audit)
    own = [f"{AUDIT}:{key}: {said}" for key, said in unseen.open_flags(audit).items()]
    held = [*review["held"], *own]
    return {
        "trial": trial.label,
        "task": trial.task,
        "arm": trial.arm,
        "coder": trial.coder,
        "model": trial.model,
        "scaffold": trial.scaffold,
        "hints": trial.hints,
        "mode": trial.mode,
        "seed": trial.seed,
        "nodes": len(nodes),
        "winner": winner.number if winner else None,
        "outcome": str(trial_outcome(nodes, winner)),
        "fsr": fsr,
        **own_start_fsr(trial, nodes, t_start, t_target),
        **audited,
        "winners_curse": _curse(fsr, audited),
        "n_flags": len(held),
        "flags": _flags(held),
        "similarity": similarity["recovered_l2"],
        "judge": judge["score"],
        **costs(nodes),
        "reason": _reason(nodes, winner, audit, judge),
    }


def search_fsr(winner: trials.Node | None, t_start: float, t_target: float) -> float | None:
    """Return the winner's search-time FSR, 0 without one, None without a human speedup here."""
    if winner is None or winner.analysis.time_s is None:
        return 0.0
    return stats.fsr(t_start, winner.analysis.time_s, t_target)


def own_start_fsr(
    trial: trials.TrialPlan, nodes: list[trials.Node], t_start: float, t_target: float
) -> dict[str, Any]:
    """Return ``fsr_own_start`` of a cumulative trial and why it is not a plain number.

    None where the trial has no start of its own, or one that leaves nothing to gain here or ran
    elsewhere; what the trial then made of it does not matter, so that means are not biased.
    """
    if trial.mode != CUMULATIVE:
        return _own(None, "")
    start = Path(trial.folder) / trials.START
    link = trials.link(start)
    if link is None:
        fsr = search_fsr(trials.winner(nodes), t_start, t_target)
        return _own(fsr, "the first of its chain: human's start")
    if link.ended:
        return _own(0.0, link.reason)
    return _against_own(schema.load(schema.Analysis, start / trials.ANALYSIS), nodes, t_target)


def _own(fsr: float | None, reason: str) -> dict[str, Any]:
    return {"fsr_own_start": fsr, "own_start_reason": reason}


def _against_own(own: schema.Analysis, nodes: list[trials.Node], t_target: float) -> dict[str, Any]:
    if own.time_s is None or own.time_s <= t_target:
        took = f"its own start took {own.time_s or 0:.2f} s, the target {t_target:.2f} s"
        return _own(None, f"{took}: nothing is left to gain")
    settings = {_setting(node.analysis) for node in nodes if node.analysis.torch}  # of those run
    if settings - {_setting(own)}:
        return _own(None, f"its own start ran with {_setting(own)}: not comparable")
    return _own(search_fsr(trials.winner(nodes), own.time_s, t_target), "")


def _setting(run: schema.Analysis) -> str:
    """Return what two times must share: at the border of two eras the environment changes."""
    return ", ".join([f"PyTorch {run.torch or 'unknown'}", *run.gpus])


def trial_outcome(nodes: Sequence[trials.Node], winner: trials.Node | None) -> Outcome:
    """Return ok with a winner, else the outcome of the node that got farthest (PROGRESS)."""
    if winner is not None:
        return Outcome.OK
    found = {node.analysis.outcome for node in nodes} - {Outcome.OK}
    return min(found, key=PROGRESS.index, default=Outcome.CANDIDATE_ERROR)


def _audited(audit: dict[str, Any]) -> dict[str, Any]:
    verdict, interval = audit["verdict"], audit.get("fsr")
    row: dict[str, Any] = {"fsr_audited": None, "fsr_low": None, "fsr_high": None}
    if verdict in (None, "failed"):
        row["fsr_audited"] = 0.0
    elif interval is not None:
        row.update(
            fsr_audited=interval["estimate"], fsr_low=interval["low"], fsr_high=interval["high"]
        )
    equivalence = {
        key: audit.get(key) if verdict not in (None, "failed") else None
        for key in ("equivalent_to_1", "equivalent_to_0")
    }
    ratio = audit.get("faster_than_start") or {}
    return {**row, "p_faster": ratio.get("p"), "verdict": verdict, **equivalence}


def _curse(fsr: float | None, audited: dict[str, Any]) -> float | None:
    """Return by how much the search flattered the winner, None unless it was timed again."""
    again = audited["fsr_audited"]
    known = fsr is not None and again is not None
    return fsr - again if known and audited["verdict"] not in (None, "failed") else None


def _flags(held: Sequence[str]) -> str:
    """Return the flags that wait for a person, the first few in words."""
    more = [f"and {len(held) - FLAGS_SHOWN} more"] if len(held) > FLAGS_SHOWN else []
    return "; ".join([*held[:FLAGS_SHOWN], *more])


def _reason(
    nodes: Sequence[trials.Node],
    winner: trials.Node | None,
    audit: dict[str, Any],
    judge: dict[str, Any],
) -> str:
    """Return why a row is not a plain success: the best attempt's reason, the audit's, the judge's.

    Empty when all is well.
    """
    if winner is None:
        outcome = trial_outcome(nodes, None)
        reasons = [n.analysis.reason for n in nodes if n.analysis.outcome == outcome]
        return reasons[-1] if reasons else "no node was asked for"
    well = audit["verdict"] == "confirmed" and audit.get("faster") != "no"
    parts = [] if well else audit["evidence"][:1]
    parts += [f"judge: {judge['reason']}"] if judge["reason"] else []
    return "; ".join(parts)
