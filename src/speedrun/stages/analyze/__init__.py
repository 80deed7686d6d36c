"""analyze: what one run was worth, from its stamped log, its exit and its probe logits."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from functools import partial
from pathlib import Path

from speedrun import files, schema, trainlog, trials
from speedrun.schema import Analysis, Outcome, Parent, RunExit, TrackSpec
from speedrun.search import ROOT
from speedrun.stages.analyze import clocks, conduct, digest
from speedrun.stages.analyze.digest import Before, error_lines
from speedrun.stages.analyze.reading import Seen, read_log, thin
from speedrun.stages.analyze.rules import Verdict, judge
from speedrun.stages.analyze.summary import summary

__all__ = ["Before", "analyze", "analyze_node", "error_lines", "summary"]

CURVE_POINTS = 1000


def analyze(
    run: Path,
    track: TrackSpec,
    probe_targets: Path | None,
    coder_outcome: Outcome | None = None,
    coder_reason: str = "",
    vocab_size: int | None = None,
    before: Before | None = None,
    violation: Callable[[RunExit], str] | None = None,
) -> Analysis:
    """Return what the finished run folder ``run`` shows.

    ``probe_targets`` is the private file of withheld tokens, uint16 (contexts,); None where the
    track has no probes. ``coder_outcome`` is set when the coder gave no code. With
    ``vocab_size`` the logits must have exactly that many columns. The digest compares the run with
    its parent's, ``before``, if that is given. ``violation`` is asked of a run that is otherwise ok
    which rules it broke; "" is none.
    """
    ended = schema.load(RunExit, run / "exit.json")
    seen = read_log(run / "log.jsonl", two_lines=track.clock == "train_time")
    if coder_outcome is not None:
        verdict = Verdict(coder_outcome, coder_reason)
    else:
        verdict = judge(run, seen, ended, track, probe_targets, vocab_size)
        verdict = _held(verdict, ended, violation) if violation else verdict
    found = _analysis(verdict, seen, ended, track)
    text = digest.describe(found, seen, ended, track, before)
    return dataclasses.replace(found, digest=text)


def _held(verdict: Verdict, ended: RunExit, violation: Callable[[RunExit], str]) -> Verdict:
    """Return the verdict on a run whose numbers are in order, its conduct included."""
    broken = violation(ended) if verdict.outcome is Outcome.OK else ""
    return Verdict(Outcome.RULE_VIOLATION, broken, verdict.probes) if broken else verdict


def analyze_node(
    node: Path,
    track: TrackSpec,
    probe_targets: Path | None,
    vocab_size: int | None = None,
    root_analysis: Path | None = None,
    task: Path | None = None,
    start: Path | None = None,
) -> Analysis:
    """Analyze ``node/run`` and write ``analysis.json`` and ``summary.md`` beside it.

    With ``task``, the task's folder, a node's code is held against its start record's and the
    track's rules; references are run without. ``start`` is the folder start/ of a cumulative trial:
    what its own code does already is a flag and no violation (rules).

    A parent.json, which references lack, says what the coder did. The parent's analysis lies beside
    the node; the start record's is ``root_analysis``, without which nothing is compared with it.
    """
    path = node / "parent.json"
    parent = schema.load(Parent, path) if path.is_file() else None
    outcome, reason = (parent.outcome, parent.reason) if parent else (None, "")
    before = _before(node, parent, root_analysis) if parent else None
    own = trials.own_code(start) if start else None
    found = partial(conduct.violation, node, task, track, own) if task else None
    options = outcome, reason, vocab_size, before, found
    analysis = analyze(node / "run", track, probe_targets, *options)
    ended = schema.load(RunExit, node / "run" / "exit.json")
    files.write_text(node / "summary.md", summary(analysis, ended, track, parent))
    schema.save(node / "analysis.json", analysis)
    return analysis


def _before(node: Path, parent: Parent, root_analysis: Path | None) -> Before | None:
    beside = node.parent / f"node_{parent.parent}" / "analysis.json"
    path = root_analysis if parent.parent == ROOT else beside
    return Before(parent.parent, schema.load(Analysis, path)) if path else None


def _analysis(verdict: Verdict, seen: Seen, ended: RunExit, track: TrackSpec) -> Analysis:
    last = seen.last if seen.lines else None
    curve = thin(seen.curve, CURVE_POINTS)
    allocated, reserved = trainlog.peak_memory("\n".join(seen.tail))
    time_s = clocks.time_s(seen, track) if verdict.outcome is Outcome.OK else None
    return Analysis(
        outcome=verdict.outcome,
        reason=verdict.reason,
        val_loss=last.val_loss if last and math.isfinite(last.val_loss) else None,
        time_s=time_s,
        train_time_ms=last.train_time_ms if last else None,
        steps=last.steps if last else None,
        curve=curve,
        probes=verdict.probes,
        device_seconds=_device_seconds(ended),
        digest="",
        solution_digest=ended.solution_digest,
        gpu_memory_mib=allocated,
        gpu_memory_reserved_mib=reserved,
        gpus=ended.gpus.names if ended.gpus else [],
        torch=ended.torch,
    )


def _device_seconds(ended: RunExit) -> float | None:
    """Return what the run cost: CPU seconds on a CPU, else the time that it held the device."""
    if not ended.ran:
        return 0.0
    return ended.cpu_total_s if ended.device == "cpu" else ended.wall_s
