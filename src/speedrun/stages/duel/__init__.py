"""duel: two solutions of one track, timed in turn, and one verdict on the second.

A is what is there, B what wants to replace it. Both run once a round, in random order, with one
seed and on one core, so that the machine's drift cancels; how many rounds is fixed beforehand.
In the block A is called "start", so that the audit's rules compare B with it. What the verdicts
mean: ``conclusion``. Source of the tests: docs/duel.md.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from speedrun import files, interleave, schema, stats, untimed, verdict
from speedrun.interleave import Run, Timing
from speedrun.stages.duel.conclusion import CANDIDATE, conclude
from speedrun.stages.duel.conclusion import EXIT_CODES as EXIT_CODES
from speedrun.stages.duel.conclusion import NOT_SHOWN as NOT_SHOWN
from speedrun.stages.duel.conclusion import Settings as Settings
from speedrun.stages.duel.table import text as text

VERSION = 1  # part of the runs' keys: raised by hand when a run would be made otherwise
A, B = verdict.START, CANDIDATE


@dataclass(frozen=True)
class Side:
    """One of the two. ``trusted``: a record of the track, whose failure is ours and no result."""

    label: str  # as the user named it
    solution: Path
    trusted: bool = False


def duel(
    track: schema.TrackSpec,
    sides: tuple[Side, Side],
    run: Run,
    store: Path,
    out: Path,
    settings: Settings,
    spec_digest: str,
    facts: dict[str, Any],
    findings: Sequence[dict[str, Any]] = (),
    progress: Callable[[str], None] = lambda line: None,
    decisions: Sequence[dict[str, str]] = (),
) -> dict[str, Any]:
    """Time both in one interleaved block, judge B and write ``out``; return what was written.

    ``facts`` stand in the product as they are: where and how it was run, and which ``rules`` are
    enabled. ``findings`` are theirs in B against A, ``decisions`` people's on flags of its runs.
    Finished runs in ``store`` are reused. Errors: SpeedrunError for a missing folder, or a record A
    that fails.
    """
    block = _block(track, sides, settings, spec_digest)
    timings = interleave.run_block(block, track, run, store, progress)
    measured = measure(track, timings, settings, findings, decisions)
    word, sentence, evidence = conclude(measured, settings)
    result = {
        **facts,
        "track": track.name,
        "target_loss": track.target_loss,
        "version": VERSION,
        "block": block.digest,
        "settings": schema.to_dict(settings),
        "a": {"label": sides[0].label, "digest": block.members[0].digest},
        "b": {"label": sides[1].label, "digest": block.members[1].digest},
        **measured,
        "runs": [schema.to_dict(timing) for timing in timings],
        "verdict": word,
        "sentence": sentence,
        "evidence": evidence,
    }
    files.write_json(out, result)
    return result


def _block(
    track: schema.TrackSpec, sides: tuple[Side, Side], settings: Settings, spec_digest: str
) -> interleave.Block:
    """Return the block: one core a lane on the CPU clock, else one lane, the whole machine."""
    members = [
        interleave.member(A, sides[0].solution, trusted=sides[0].trusted),
        interleave.member(B, sides[1].solution, trusted=False),
    ]
    cpus = None if track.clock == "cpu" else interleave.WHOLE_MACHINE
    key = files.digest_value(["duel", track.name, spec_digest, VERSION])
    return interleave.plan_block(
        members, track.entry, settings.rounds, settings.lanes, settings.seed, key, cpus
    )


def measure(
    track: schema.TrackSpec,
    timings: Sequence[Timing],
    settings: Settings,
    findings: Sequence[dict[str, Any]] = (),
    decisions: Sequence[dict[str, str]] = (),
) -> dict[str, Any]:
    """Return all that the verdict rests on, as JSON values."""
    sides = {name: [one for one in timings if one.member == name] for name in (A, B)}
    probes = verdict.probe_rule(sides[B], timings, probed=track.probe_contexts > 0)
    late = verdict.late_rule(sides[B], timings)
    off_clock = untimed.compare(
        [(f"round {run.round + 1}", run.untimed) for run in sides[B]],
        [run.untimed for run in sides[A] if run.untimed],
    )
    of_a = [run.val_loss for run in sides[A] if run.val_loss is not None]
    return {
        "sides": {
            A: _side(sides[A], track.target_loss, 0.0),
            B: _side(sides[B], track.target_loss, probes["correction"], [of_a]),
        },
        "time": _times(sides[A], sides[B], settings, late),
        "probes": probes,
        "late": late,
        "untimed": off_clock.violations if off_clock else None,
        "findings": [*findings, *_long_start(off_clock, decisions)],
    }


def _side(
    runs: Sequence[Timing],
    target_loss: float,
    correction: float,
    records: Sequence[Sequence[float]] = (),
) -> dict[str, Any]:
    """Return the row of one side: means over the runs that have a time or a loss."""
    return {
        "n": len(runs),
        "val_loss": stats.summary_of_known(run.val_loss for run in runs),
        "loss_rule": verdict.loss_rule(runs, target_loss, correction, records),
        "time_s": stats.summary_of_known(run.time_s for run in runs),
        "failures": [f"round {r.round + 1}: {r.outcome}: {r.reason}" for r in runs if r.failed],
        "n_missed": sum(run.outcome == schema.Outcome.MISSED_TARGET for run in runs),
    }


def _long_start(
    off_clock: untimed.Found | None, decisions: Sequence[dict[str, str]]
) -> list[dict[str, Any]]:
    """Return the flag that B starts longer than A off the clock, as a finding without a place."""
    if not off_clock or not off_clock.flag:
        return []
    mine = [one for one in decisions if one["key"] == verdict.LONG_START]
    state = {"state": "open", "by": "", "why": ""}
    if mine:
        state = {"state": mine[-1]["decision"], "by": mine[-1]["by"], "why": mine[-1]["why"]}
    place = {"rule": verdict.AUDIT, "severity": "review", "file": "its runs", "line": 0}
    return [{**place, "what": off_clock.flag, "key": verdict.LONG_START, **state}]


def _times(
    a: Sequence[Timing], b: Sequence[Timing], settings: Settings, late: dict[str, Any]
) -> dict[str, Any] | None:
    """Return the ratio of B's times to A's with the tests; None without a round that has both.

    What is claimed for B is claimed of its charged times (verdict.charged), that it is slower of
    those measured: the charge is at times noise.
    """
    raw = _paired(a, b)
    if not raw:
        return None
    xs, ys = ([pair[i] for pair in _paired(a, verdict.charged(b, late))] for i in (0, 1))
    faster = stats.ratio_below(ys, xs, 1.0, settings.confidence)
    slower = stats.ratio_below([x for x, _ in raw], [y for _, y in raw], 1.0, settings.confidence)
    found = {
        **schema.to_dict(faster),
        "confidence": settings.confidence,
        "p_slower": slower.p,
    }
    if settings.no_worse_percent is not None:
        bound = 1.0 + settings.no_worse_percent / 100.0
        test = stats.ratio_below(ys, xs, bound, settings.confidence)
        found |= {"no_worse_bound": bound, "p_no_worse": test.p}
    return found


def _paired(a: Sequence[Timing], b: Sequence[Timing]) -> list[tuple[float, float]]:
    """Return the times of both in the rounds that have both."""
    clock = {run.round: run.time_s for run in a}
    return [(x, y) for run in b if (x := clock.get(run.round)) and (y := run.time_s)]
