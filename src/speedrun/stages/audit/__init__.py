"""audit: the winners of a task re-timed beside start and target, checked, and judged.

One block holds the winner of every trial of the task (the fastest node that reached the target; a
trial without one is not re-timed) and, by the policy ``references``, start and target (block.py).
Where the plan asks for it each winner also runs on noise and on the hold-out shard (reruns.py).
All numbers of runs are fixed before any result is known. Per trial the rule is:

- ``failed``: any re-run of the winner crashed, timed out, ran out of memory or broke a rule; the
  review found a violation; the winner works after the clock: its CPU seconds after the last
  protocol line, where only the probes are answered, exceed on average those of the slower record
  of the round by more than 30 % and by more than 0.5 s or a tenth of the records' time; on the
  clock "train_time" it spends longer outside its printed time than the records do (untimed.py); or
  its noise or hold-out check is broken (unseen.py).
- else ``not_confirmed``: the mean corrected loss over the rounds is not shown to be <= the target
  at p < ``loss_p_max`` (one-sided t-test; a single loss above the target is no failure), or the
  losses hardly vary over the seeds; the probe check does not pass, on a track that has probes; or
  the machine has drifted from the references.
- else ``review``: open flags of the review, or of these checks, wait for a person.
- else ``confirmed``: honest in what was checked, and at the target. Whether it is faster than the
  start is said apart, by ``faster``.

The probe check is stricter than the check of one run. Per round, the winner's probe difference
(harness loss - printed loss - track offset) is compared with the mean of the records' in the same
round, whose noise it shares. The lower 99 % limit of the mean excess is what the printed loss is
surely too low by: where positive it is added to every printed loss before the loss is tested, and
above 0.05 nats, or unknown for want of a second round, it confirms nothing.

Audited FSR is mean(1 - B/A) / mean(1 - C/A) over interleaved rounds. With reused references it is
(1 - B/A) / (1 - C'/A') of means, B and A of the block, C' and A' of the reference runs. Each has
Fieller's interval; a run that ended above the target still has a time, a failed one has none and
drops its round. What the winner spends after its last line beyond the records is charged to its
time. Where the target is not faster than the start, FSR is unknown.

On the CPU clock every lane is pinned to a core. On any other a run takes the whole machine, its
GPUs included: rounds follow one another and nothing is pinned.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from speedrun import files, interleave, schema, stats, trials, versions
from speedrun.interleave import Run, Timing
from speedrun.stages.audit import block as blocks
from speedrun.stages.audit import reviewed, speed, verdicts
from speedrun.stages.audit.block import Record
from speedrun.stages.audit.chain_table import measure_chain
from speedrun.stages.audit.reruns import Bench, Unseen

__all__ = ["Bench", "audit_task", "measure_chain"]


def audit_task(
    plan: trials.Plan,
    task_name: str,
    run: Run,
    store: Path,
    out: Path,
    spec_digest: str,
    progress: Callable[[str], None] = lambda line: None,
    review: Path | None = None,
    unseen: Mapping[str, Bench] | None = None,
    *,
    simulated: bool = False,
) -> dict[str, Any]:
    """Re-time and check one task's winners and write ``out``; finished runs in ``store`` are kept.

    ``spec_digest`` covers the run's specification and data. ``review`` is the product of the stage
    of that name. ``unseen`` runs programs on noise and on the hold-out shard, by kind; a kind that
    it lacks is not run, and the verdict says so. ``simulated``: the times are made up, and none is
    too good to be true. Errors: SpeedrunError for missing inputs or a
    record that fails.
    """
    task, entrants = plan.task(task_name), blocks.entrants(plan, task_name)
    block = blocks.planned(plan, task, entrants, spec_digest)
    timings = interleave.run_block(block, plan.track, run, store, progress)
    records = blocks.records(plan, task, timings)
    bench = verdicts.Bench(
        plan=plan,
        task=task,
        timings=timings,
        records=records,
        drift=speed.drift(plan.audit, timings, records),
        reviews=reviewed.read(review),
        unseen=Unseen(plan, unseen or {}, store, progress),
        simulated=simulated,
    )
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
        "records": {name: _summary(record) for name, record in records.items()},
        "drift": bench.drift,
        "trials": [verdicts.judged(bench, entrant) for entrant in entrants],
    }
    files.write_json(out, result)
    return result


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
    where = runs[order[0]]["cpu"] if order else None  # as timed, perhaps with other lanes
    return {"round": turn.index, "cpu": where, "seed": turn.seed, "order": order, "runs": runs}


def _summary(record: Record) -> dict[str, Any]:
    """Return mean and sd of time and loss over the runs that have them."""
    return {
        "time_s": stats.summary_of_known(record.times),
        "val_loss": stats.summary_of_known(loss for _, loss in record.losses),
    }
