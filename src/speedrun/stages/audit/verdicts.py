"""One trial's entry in the audit: every check of its winner, and the verdict on them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from speedrun import files, interleave, pace, schema, stats, trials, untimed, verdict
from speedrun.interleave import Timing
from speedrun.stages.audit import speed
from speedrun.stages.audit.block import REUSED, Entrant, Record, of, record_members, seeded_losses
from speedrun.stages.audit.reruns import Unseen
from speedrun.stages.audit.reviewed import Review, settled
from speedrun.unseen import Check
from speedrun.verdict import START, TARGET
from speedrun.views import HOLDOUT, KINDS, NOISE


@dataclass(frozen=True)
class Bench:
    """What all winners of a task are compared with."""

    plan: trials.Plan
    task: trials.TaskPlan
    timings: Sequence[Timing]
    records: Mapping[str, Record]
    drift: dict[str, Any] | None
    reviews: Mapping[str, Review]
    unseen: Unseen
    simulated: bool = False


def judged(bench: Bench, entrant: Entrant) -> dict[str, Any]:
    """Return the verdict on a trial's winner, with all that it rests on."""
    trial, node = entrant.trial, entrant.winner
    base = {"trial": trial.label, "arm": trial.arm, "seed": trial.seed}
    if node is None:
        return {**base, "winner": None, "verdict": None, "evidence": ["no node reached the target"]}
    runs, timings, track = of(bench.timings, trial.label), bench.timings, bench.plan.track
    probes = verdict.probe_rule(runs, timings, probed=track.probe_contexts > 0)
    late, correction = verdict.late_rule(runs, timings), probes["correction"]
    charged = verdict.charged(runs, late)
    measured = {
        **summary(runs),
        **speed.measured(bench.plan.audit, charged, timings, bench.records),
        "loss": verdict.loss_rule(runs, track.target_loss, correction, _losses(bench)),
        "probes": probes,
        "late": late,
        "pace": _pace(charged, bench, bench.reviews.get(trial.label)),
        "untimed": _untimed(runs, bench, bench.reviews.get(trial.label)),
        "drift": bench.drift,
        "review": _review(bench, entrant),
        **_unseen(bench, entrant, runs),
        "n_failed": sum(run.failed for run in runs),
        "n_missed": sum(run.outcome == schema.Outcome.MISSED_TARGET for run in runs),
    }
    measured["faster"] = verdict.faster(measured["faster_than_start"])
    word, evidence = verdict.judge(runs, measured, bench.plan.audit.loss_p_max)
    winner = {"node": node.number, "search_time_s": node.analysis.time_s}
    return {**base, "winner": winner, **measured, "verdict": word, "evidence": evidence}


def summary(runs: Sequence[Timing]) -> dict[str, Any]:
    """Return mean and sd of time and loss over the runs that have them."""
    return {
        "time_s": stats.summary_of_known(run.time_s for run in runs),
        "val_loss": stats.summary_of_known(run.val_loss for run in runs),
    }


def _pace(charged: Sequence[Timing], bench: Bench, review: Review | None) -> dict[str, Any] | None:
    times = [run.time_s for run in charged if run.time_s is not None]
    found = None if bench.simulated else pace.check(times, bench.records[TARGET].times)
    return settled(found, review) if found else None


def _review(bench: Bench, entrant: Entrant) -> dict[str, Any] | None:
    """Return what the review says of this winner. Errors: SpeedrunError if it is of another."""
    assert entrant.winner
    found = bench.reviews.get(entrant.trial.label)
    if found is None:
        return None
    found.check_winner(entrant.winner.number, files.digest_tree(entrant.winner.solution))
    return {"failures": found.violations, "held": found.held, "evidence": found.evidence}


def _losses(bench: Bench) -> list[list[float]]:
    """Return the losses of start and target, by record; those of the block's start are with it."""
    found = {name: [loss for _, loss in one.losses] for name, one in bench.records.items()}
    if bench.plan.audit.references == REUSED:
        found[START] += [loss for _, loss in seeded_losses(of(bench.timings, START))]
    return list(found.values())


def _known(bench: Bench) -> list[untimed.Untimed]:
    """Return the stretches off the clock of start and target; the block's start is among them."""
    known = [one for record in bench.records.values() for one in record.untimed]
    again = [run.untimed for run in of(bench.timings, START) if run.untimed]
    return known + [one for one in again if one not in known]


def _untimed(runs: Sequence[Timing], bench: Bench, review: Review | None) -> dict[str, Any] | None:
    """Return the stretches off the clock beside those of start and target; None without such."""
    known = _known(bench)
    found = untimed.compare([(f"round {run.round + 1}", run.untimed) for run in runs], known)
    if found is None:
        return None
    check = Check(figures={"n": found.n, "n_references": len(known)}, failures=found.violations)
    if found.flag:
        check.held[verdict.LONG_START] = found.flag
    if not found.violations and not found.flag:
        check.evidence = [f"no longer off the clock than {len(known)} runs of start and target"]
    return settled(check, review)


def _unseen(bench: Bench, entrant: Entrant, runs: Sequence[Timing]) -> dict[str, Any]:
    """Return the noise and hold-out checks; a winner whose re-run failed is not run on them."""
    assert entrant.winner
    if any(run.failed for run in runs):
        return dict.fromkeys(KINDS)
    winner = interleave.member(entrant.trial.label, entrant.winner.solution, trusted=False)
    members = dict(zip((START, TARGET), record_members(bench.task), strict=True))
    records = {members[name]: record for name, record in bench.records.items()}
    checks = bench.unseen.checks(winner, runs, records, _known(bench))
    settings = bench.plan.audit
    asked = {NOISE: settings.noise_runs, HOLDOUT: settings.holdout_runs}
    found: dict[str, Any] = {}
    for kind in KINDS:
        if kind in checks:
            found[kind] = settled(checks[kind], bench.reviews.get(entrant.trial.label))
        else:
            said = [f"{kind}: not run, as nothing is in a simulation"] if asked[kind] else []
            found[kind] = Check(evidence=said).to_json() if said else None
    return found
