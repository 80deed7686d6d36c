"""What an audit times: the block of a task, by the policy for its references.

- ``interleaved``: start, target and every winner run in every round.
- ``reused``: the block holds the winners, and the start in ``drift_rounds`` of its rounds. Start
  and target are otherwise known from the sweep's reference runs, made on another day and perhaps
  on another node: the start's runs in the block are what the winners are compared with, and show
  by how much the machine has changed since.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from speedrun import files, interleave, schema, trials, untimed, versions
from speedrun.files import SpeedrunError
from speedrun.interleave import Member, Timing
from speedrun.verdict import START, TARGET

INTERLEAVED, REUSED = "interleaved", "reused"
ENDED = (schema.Outcome.OK, schema.Outcome.MISSED_TARGET)


@dataclass(frozen=True)
class Entrant:
    """A trial with its winner, if it has one."""

    trial: trials.TrialPlan
    winner: trials.Node | None


@dataclass(frozen=True)
class Record:
    """The ordinary runs of start or target. Times in seconds; losses with seeds, if known."""

    times: list[float]
    losses: list[tuple[int | None, float]]
    untimed: list[untimed.Untimed]


def entrants(plan: trials.Plan, task: str) -> list[Entrant]:
    """Return the trials of a task with their winners."""
    return [Entrant(one, trials.winner(trials.nodes(one))) for one in plan.trials_of(task)]


def planned(
    plan: trials.Plan, task: trials.TaskPlan, found: Sequence[Entrant], spec_digest: str
) -> interleave.Block:
    """Return the task's block. Errors: SpeedrunError for an unknown policy, a missing source."""
    settings = plan.audit
    winners = [
        interleave.member(entrant.trial.label, entrant.winner.solution, trusted=False)
        for entrant in found
        if entrant.winner
    ]
    records, partly = _records_in(settings, task, timed=bool(winners))
    key = files.digest_value(
        [plan.track.name, task.task, plan.hardware, spec_digest, versions.RETIMING]
    )
    return interleave.plan_block(
        [*records, *winners],
        plan.track.entry,
        settings.rounds,
        settings.lanes,
        settings.seed,
        key,
        cores(plan.track),
        partly,
    )


def _records_in(
    settings: trials.AuditPlan, task: trials.TaskPlan, *, timed: bool
) -> tuple[list[Member], dict[str, list[int]]]:
    """Return the records that run in the block, and the rounds of those that run in some only."""
    if settings.references not in (INTERLEAVED, REUSED):
        raise SpeedrunError(
            f"audit.references is {settings.references!r}: choose {INTERLEAVED} or {REUSED}"
        )
    start, target = record_members(task)
    if settings.references == INTERLEAVED:
        return [start, target], {}
    turns = interleave.spread(settings.drift_rounds, settings.rounds) if timed else []
    return ([start], {START: turns}) if turns else ([], {})


def record_members(task: trials.TaskPlan) -> tuple[Member, Member]:
    """Return start and target of a task."""
    return (
        interleave.member(START, task.start_files, trusted=True),
        interleave.member(TARGET, task.target_files, trusted=True),
    )


def cores(track: schema.TrackSpec) -> Sequence[int | None] | None:
    """Return one core a lane on the CPU clock (None: all usable), else one lane, the machine."""
    return None if track.clock == "cpu" else interleave.WHOLE_MACHINE


def of(timings: Sequence[Timing], name: str) -> list[Timing]:
    """Return the timings of one member."""
    return [timing for timing in timings if timing.member == name]


def records(
    plan: trials.Plan, task: trials.TaskPlan, timings: Sequence[Timing]
) -> dict[str, Record]:
    """Return the ordinary runs of start and target, from the block or from the references."""
    if plan.audit.references == INTERLEAVED:
        return {name: _of_block(of(timings, name)) for name in (START, TARGET)}
    names = {START: task.start, TARGET: task.target}
    return {key: _of_references(plan, record) for key, record in names.items()}


def _of_block(runs: Sequence[Timing]) -> Record:
    return Record(
        times=[run.time_s for run in runs if run.time_s is not None],
        losses=seeded_losses(runs),
        untimed=[run.untimed for run in runs if run.untimed],
    )


def seeded_losses(runs: Sequence[Timing]) -> list[tuple[int | None, float]]:
    """Return the seeds and the finite losses of timings."""
    return [(run.seed, run.val_loss) for run in runs if run.val_loss is not None]


def _of_references(plan: trials.Plan, record: str) -> Record:
    folders = trials.reference_runs(plan, record)
    times = trials.run_times(plan.track, folders)
    if not times:
        raise SpeedrunError(
            f"none of {len(folders)} reference runs of {record} came to its end: look at "
            f"summary.md in {', '.join(map(str, folders))}, or set audit.references={INTERLEAVED}"
        )
    runs = [(folder, schema.load(schema.Analysis, folder / "analysis.json")) for folder in folders]
    ended = [(folder, run) for folder, run in runs if run.outcome in ENDED]
    return Record(
        times=times,
        losses=[(None, run.val_loss) for _, run in ended if run.val_loss is not None],
        untimed=_untimed(plan.track, ended),
    )


def _untimed(
    track: schema.TrackSpec, ended: Sequence[tuple[Path, schema.Analysis]]
) -> list[untimed.Untimed]:
    if track.clock != "train_time":
        return []
    found: list[Any] = [
        untimed.measure(run, schema.load(schema.RunExit, folder / "run" / "exit.json"))
        for folder, run in ended
    ]
    return [one for one in found if one is not None]
