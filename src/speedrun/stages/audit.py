"""audit: the winners of a task re-timed, interleaved with start and target, and judged.

One block holds the start record, the target record and the winner of every trial of the task
(the fastest node that reached the target; a trial without one is not re-timed). Per trial the
rule is:

- ``failed``: any re-run of the winner crashed, timed out, ran out of memory or broke a rule; or
  the winner works after the clock: its CPU seconds after the last protocol line, where only the
  probes are answered, exceed on average those of the slower record of the round by more than
  0.5 s and 30 %.
- ``confirmed``: no re-run failed; the mean corrected loss over the rounds is <= the target at
  p < ``loss_p_max`` (one-sided t-test; a single loss above the target is no failure); and the
  probe check passes, on a track that has probes.
- ``not_confirmed``: everything else, with the evidence.

The probe check is stricter than the check of one run. Per round, the winner's probe difference
(harness loss - printed loss - track offset) is compared with the mean of the two records' in the
same round, whose noise it shares. The lower 99 % limit of the mean excess is what the printed
loss is surely too low by: where positive it is added to every printed loss before the loss is
tested, and above 0.05 nats, or unknown for want of a second round, it confirms nothing.

Audited FSR is mean(1 - B/A) / mean(1 - C/A) over the rounds, with Fieller's interval; a run
that ended above the target still has a time, a failed one has none and drops its round. Where the
target is not faster than the start in the block, it is unknown.

On the CPU clock every lane is pinned to a core. On any other a run takes the whole machine, its
GPUs included: rounds follow one another and nothing is pinned.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from speedrun import files, interleave, schema, stats, trials, verdict, versions
from speedrun.interleave import Run, Timing
from speedrun.verdict import START, TARGET

CHAIN_RATIO_BOUND = 0.95  # each record at least 5 % faster than the last


@dataclass(frozen=True)
class Entrant:
    """A trial with its winner, if it has one."""

    trial: trials.TrialPlan
    winner: trials.Node | None


def audit_task(
    plan: trials.Plan,
    task_name: str,
    run: Run,
    store: Path,
    out: Path,
    spec_digest: str,
    progress: Callable[[str], None] = lambda line: None,
) -> dict[str, Any]:
    """Re-time one task's winners and write ``out``; finished re-timings in ``store`` are reused.

    ``spec_digest`` covers the run's specification and data. Errors: SpeedrunError for missing
    inputs or a record that fails.
    """
    task = plan.task(task_name)
    entrants = [
        Entrant(trial, trials.winner(trials.nodes(trial))) for trial in plan.trials_of(task_name)
    ]
    block = _block(plan, task, entrants, spec_digest)
    timings = interleave.run_block(block, plan.track, run, store, progress)
    result = {
        "task": task_name,
        "track": plan.track.name,
        "hardware": plan.hardware,
        "references": {n: trials.reference_folder(plan, n) for n in (task.start, task.target)},
        "block": block.digest,
        "version": versions.AUDIT,
        "target_loss": plan.track.target_loss,
        "settings": schema.to_dict(plan.audit),
        "members": {item.name: item.digest for item in block.members},
        "rounds": [_round(turn, timings) for turn in block.rounds],
        "records": {name: _summary(_of(timings, name)) for name in (START, TARGET)},
        "trials": [_verdict(plan, entrant, timings) for entrant in entrants],
    }
    files.write_json(out, result)
    return result


def _block(
    plan: trials.Plan, task: trials.TaskPlan, entrants: Sequence[Entrant], spec_digest: str
) -> interleave.Block:
    members = [
        interleave.member(START, task.start_files, trusted=True),
        interleave.member(TARGET, task.target_files, trusted=True),
        *(
            interleave.member(entrant.trial.label, entrant.winner.solution, trusted=False)
            for entrant in entrants
            if entrant.winner
        ),
    ]
    settings = plan.audit
    key = files.digest_value(
        [plan.track.name, task.task, plan.hardware, spec_digest, versions.AUDIT]
    )
    return _planned(plan.track, members, settings, key)


def _planned(
    track: schema.TrackSpec,
    members: Sequence[interleave.Member],
    settings: trials.AuditPlan,
    key: str,
) -> interleave.Block:
    """Return the block: one core a lane on the CPU clock, else one lane, the whole machine."""
    cpus = None if track.clock == "cpu" else interleave.WHOLE_MACHINE
    return interleave.plan_block(
        members, track.entry, settings.rounds, settings.lanes, settings.seed, key, cpus
    )


def _of(timings: Sequence[Timing], name: str) -> list[Timing]:
    return [timing for timing in timings if timing.member == name]


def _round(turn: interleave.Round, timings: Sequence[Timing]) -> dict[str, Any]:
    runs = {
        timing.member: {
            "outcome": timing.outcome,
            "reason": timing.reason,
            "time_s": timing.time_s,
            "val_loss": timing.val_loss,
            "probe_difference": timing.probe_difference,
            "after_clock_s": timing.after_clock_s,
            "cpu": timing.cpu,
        }
        for timing in timings
        if timing.round == turn.index
    }
    order = [item.name for item in turn.order]
    where = runs[order[0]]["cpu"]  # as timed, perhaps by an earlier run with other lanes
    return {"round": turn.index, "cpu": where, "seed": turn.seed, "order": order, "runs": runs}


def _summary(runs: Sequence[Timing]) -> dict[str, Any]:
    """Return mean and sd of time and loss over the runs that have them."""
    times = [run.time_s for run in runs if run.time_s is not None]
    losses = [run.val_loss for run in runs if run.val_loss is not None]
    return {
        "time_s": schema.to_dict(stats.summarise(times)) if times else None,
        "val_loss": schema.to_dict(stats.summarise(losses)) if losses else None,
    }


def _verdict(plan: trials.Plan, entrant: Entrant, timings: Sequence[Timing]) -> dict[str, Any]:
    trial = entrant.trial
    base = {"trial": trial.label, "arm": trial.arm, "seed": trial.seed}
    if entrant.winner is None:
        return {**base, "winner": None, "verdict": None, "evidence": ["no node reached the target"]}
    runs = _of(timings, trial.label)
    probes = verdict.probe_rule(runs, timings, probed=plan.track.probe_contexts > 0)
    measured = {
        **_summary(runs),
        **_speed(plan.audit, runs, timings),
        "loss": verdict.loss_rule(runs, plan.track.target_loss, probes["correction"]),
        "probes": probes,
        "late": verdict.late_rule(runs, timings),
        "n_failed": sum(run.failed for run in runs),
        "n_missed": sum(run.outcome == schema.Outcome.MISSED_TARGET for run in runs),
    }
    word, evidence = verdict.judge(runs, measured, plan.audit.loss_p_max)
    winner = {"node": entrant.winner.number, "search_time_s": entrant.winner.analysis.time_s}
    return {**base, "winner": winner, **measured, "verdict": word, "evidence": evidence}


def _paired_times(
    runs: Sequence[Timing], timings: Sequence[Timing]
) -> tuple[list[float], list[float], list[float]]:
    """Return A, B, C (start, agent, target) of the rounds in which all three have a time."""
    clock = {(timing.member, timing.round): timing.time_s for timing in timings}
    rows = [(clock[START, r.round], r.time_s, clock[TARGET, r.round]) for r in runs]
    whole = [(a, b, c) for a, b, c in rows if a is not None and b is not None and c is not None]
    return [a for a, _, _ in whole], [b for _, b, _ in whole], [c for _, _, c in whole]


def _speed(
    settings: trials.AuditPlan, runs: Sequence[Timing], timings: Sequence[Timing]
) -> dict[str, Any]:
    a, b, c = _paired_times(runs, timings)
    interval = stats.audited_fsr(a, b, c, settings.confidence)
    margin = settings.equivalence_margin
    faster = stats.ratio_below(b, a, 1.0, settings.confidence) if a else None
    pairs = zip(stats.savings(a, b), stats.savings(a, c), strict=True)
    return {
        "fsr_audited": interval.estimate if interval else None,
        "fsr": schema.to_dict(interval) if interval else None,
        "equivalent_to_1": interval is not None and stats.equivalent(interval, 1.0, margin),
        "equivalent_to_0": interval is not None and stats.equivalent(interval, 0.0, margin),
        "faster_than_start": schema.to_dict(faster) if faster else None,
        "savings": [list(pair) for pair in pairs],
    }


def measure_chain(
    track: schema.TrackSpec,
    records: Sequence[tuple[str, Path]],
    settings: trials.AuditPlan,
    run: Run,
    store: Path,
    spec_digest: str,
    progress: Callable[[str], None] = lambda line: None,
) -> list[dict[str, Any]]:
    """Time all records of a track in one interleaved block; return one table row a record.

    Per record: n, mean and sd of loss and time, the geometric mean time ratio to the previous
    record with the one-sided p of ratio < 0.95, and how many sd of the loss lie between its
    mean and the target.
    """
    members = [interleave.member(name, folder, trusted=True) for name, folder in records]
    key = files.digest_value([track.name, spec_digest, versions.AUDIT])
    block = _planned(track, members, settings, key)
    timings = interleave.run_block(block, track, run, store, progress)
    rows = [_chain_row(track, _of(timings, name)) for name, _ in records]
    for before_row, row in itertools.pairwise(rows):
        now, before = (_clocks(timings, one["record"]) for one in (row, before_row))
        row.update(_step(stats.ratio_below(now, before, CHAIN_RATIO_BOUND, settings.confidence)))
    return rows


def _clocks(timings: Sequence[Timing], name: str) -> list[float]:
    return [timing.time_s for timing in _of(timings, name) if timing.time_s is not None]


def _step(test: stats.RatioTest) -> dict[str, Any]:
    return {
        "ratio": test.ratio,
        "ratio_low": test.low,
        "ratio_high": test.high,
        "p_ratio_below": test.p,
        "ratio_bound": test.bound,
    }


def _chain_row(track: schema.TrackSpec, runs: Sequence[Timing]) -> dict[str, Any]:
    times = stats.summarise([run.time_s for run in runs if run.time_s is not None])
    losses = stats.summarise([run.val_loss for run in runs if run.val_loss is not None])
    margin = (track.target_loss - losses.mean) / losses.sd if losses.sd else None
    return {
        "record": runs[0].member,
        "n": len(runs),
        "loss_mean": losses.mean,
        "loss_sd": losses.sd,
        "time_mean_s": times.mean,
        "time_sd_s": times.sd,
        "n_missed": sum(run.outcome == schema.Outcome.MISSED_TARGET for run in runs),
        "margin_sd": margin,
        **dict.fromkeys(("ratio", "ratio_low", "ratio_high", "p_ratio_below", "ratio_bound")),
    }
