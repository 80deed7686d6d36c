"""Conduct: rules that a finished run may break though its numbers are in order.

Its code is compared with the task's start record (speedrun.rules), and what the harness saw of
its files is looked at. Findings that the human's target has too are no violations; nothing else of
the target enters a reason, which agents read.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from speedrun import rules
from speedrun.runner.shards import TRAINING
from speedrun.schema import Analysis, Outcome, RunExit, TrackSpec
from speedrun.stages.analyze.reading import harmless
from speedrun.trials import READS, SOLUTION

REASONS = 3  # of several violations; how many more there are is said
FILES = "files"
WATCHED = (READS, FILES)  # the rules of which ``observed`` speaks


def violation(node: Path, task: Path, track: TrackSpec, own: Path | None, ended: RunExit) -> str:
    """Return what a node's code and run break of the track's rules, "" for nothing.

    ``task`` is the task's folder, with public/start and private/target, ``own`` the code that a
    cumulative trial starts from.
    """
    found = [*observed(track, ended), *_written(node / SOLUTION, task, track, own)]
    more = [f"and {len(found) - REASONS} more"] if len(found) > REASONS else []
    return "; ".join([*found[:REASONS], *more])


def observed(track: TrackSpec, ended: RunExit) -> list[str]:
    """Return what the harness saw from outside; a run that could not be watched is not blamed."""
    said = []
    training = [read for read in ended.reads or [] if TRAINING in read.file]
    if READS in track.rules and training and not any(read.opens for read in training):
        said.append(f"rule {READS}: it never opened a training shard under data/")
    if FILES in track.rules and ended.changed:
        said.append(f"rule {FILES}: it changed its own files as it ran ({ended.changed[0]})")
    return [harmless(sentence) for sentence in said]


def watched(track: TrackSpec, ended: RunExit, found: Analysis) -> Analysis:
    """Return what is known of a re-run, held to what was seen of its files; a miss is held, too."""
    said = observed(track, ended)
    if not said or found.outcome not in (Outcome.OK, Outcome.MISSED_TARGET):
        return found
    return replace(found, outcome=Outcome.RULE_VIOLATION, reason="; ".join(said))


def _written(solution: Path, task: Path, track: TrackSpec, own: Path | None) -> list[str]:
    """Return the violations in a solution's files."""
    start, target = task / "public" / "start", task / "private" / "target"
    loss = track.target_loss
    found = rules.check(solution, start, track.entry, track.rules, target, loss, own)
    broken = [finding for finding in found if finding.severity == rules.VIOLATION]
    return [harmless(sentence(finding)) for finding in broken]


def sentence(finding: rules.Finding) -> str:
    """Return a finding as a person reads it, with its file and line."""
    place = f"{finding.file}:{finding.line}" if finding.line else finding.file
    return f"rule {finding.rule}: {finding.what} ({place})"
