"""The digest: what the next generation is told of a run. A few lines, the same for the same run.

It goes into prompts, and most of its words may be a candidate's. So nothing that was printed starts
a line, every line and their number are bounded, control characters are replaced and no fence is
left that could close or open a block of the prompt.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from speedrun import trials
from speedrun.runner import sandbox
from speedrun.schema import Analysis, CurvePoint, Outcome, RunExit, TrackSpec
from speedrun.stages.analyze.reading import Seen, harmless, read_log, thin
from speedrun.stages.analyze.tracebacks import Crash, Frame

LINES = 30
OWN_FRAMES = 4
QUOTED_LINES = 6  # of the output's end, where no traceback tells
POINTS = 5  # of a curve
QUOTE = "  | "

_LIBRARY = re.compile(r"(?:^|/)(?:site-packages|dist-packages|lib(?:64)?/python3[.\d]*)/|^<")


@dataclass(frozen=True)
class Before:
    """The parent of a node, 0 being what the trial starts from, and its analysis."""

    node: int
    analysis: Analysis

    @property
    def name(self) -> str:
        """How the digest calls it, which is how the prompts do that show the digest."""
        return f"attempt {self.node}" if self.node else "the start record"


def describe(
    analysis: Analysis, seen: Seen, ended: RunExit, track: TrackSpec, before: Before | None = None
) -> str:
    """Return the digest of a run; ``analysis`` is complete but for it."""
    reason = [f"reason: {analysis.reason}"] if analysis.reason else []
    lines = [
        f"outcome: {analysis.outcome}",
        *reason,
        *(_error(seen) if _died(analysis, ended) else []),
        *_time(analysis, ended, track, before),
        *_memory(analysis, ended),
        *_curve(analysis, track),
        *(_against(analysis.curve, before) if before else []),
    ]
    return "\n".join(map(harmless, lines[:LINES]))


def _died(analysis: Analysis, ended: RunExit) -> bool:
    """Say whether the run ended itself: at a memory cap its output tells nothing of why."""
    by_itself = analysis.outcome is Outcome.OOM and ended.reason == "exited"
    return ended.ran and (by_itself or analysis.outcome is Outcome.CANDIDATE_ERROR)


def error_lines(run: Path) -> list[str]:
    """Return what ended a failed run, for those who have no analysis of it (preflight)."""
    return [harmless(line) for line in _error(read_log(run / "log.jsonl"))[:LINES]]


def _error(seen: Seen) -> list[str]:
    """Return the exception, or the end of the output of a run that died without one."""
    if seen.crash is None:
        quoted = [QUOTE + line for line in seen.tail[-QUOTED_LINES:]]
        return ["last lines of the output:", *quoted] if quoted else []
    crash, rank = seen.crash, seen.crash.rank
    process = "" if rank is None else f" in rank {rank}, the first to fail"
    first, *more = crash.message
    return [
        f"error{process}: {crash.exception}" + (f": {first}" if first else ""),
        *[QUOTE + line for line in more],
        *_frames(crash),
    ]


def _frames(crash: Crash) -> list[str]:
    own = [frame for frame in crash.frames if not _LIBRARY.search(frame.file)]
    lines = ["last frames in its own files:"] if own else []
    for frame in own[-OWN_FRAMES:]:
        lines.append(f"{QUOTE}{_place(frame)}")
        lines += [f"{QUOTE}    {frame.source}"] if frame.source else []
    inner = crash.frames[-1]
    return lines + ([] if inner in own else [f"raised in: {_place(inner)}"])


def _place(frame: Frame) -> str:
    """Return where a frame is, without the folders of this machine."""
    folder = next((work for work in sandbox.WORK if frame.file.startswith(f"{work}/")), None)
    if _LIBRARY.search(frame.file):
        file = re.split(r"(?:site|dist)-packages/|/python3[.\d]*/", frame.file)[-1]
    elif folder:
        file = frame.file.removeprefix(f"{folder}/")
    else:
        file = frame.file.rpartition("/")[2]
    return f"{file}, line {frame.line}" + (f", in {frame.function}" if frame.function else "")


def _time(analysis: Analysis, ended: RunExit, track: TrackSpec, before: Before | None) -> list[str]:
    """Return the time on the track's clock, also of a run that missed the target."""
    time_s = trials.time_s(track, analysis)
    if time_s is None:
        return [f"time: ended after {ended.wall_s:.1f} s"] if ended.wall_s is not None else []
    end = "to the target" if analysis.outcome is Outcome.OK else "to its end"
    line = f"time: {time_s:.2f} s {end}"
    parent_s = trials.time_s(track, before.analysis) if before else None
    if before is None or not parent_s:
        return [line]
    return [f"{line}, {time_s / parent_s:.3f} times that of {before.name} ({parent_s:.2f} s)"]


def _memory(analysis: Analysis, ended: RunExit) -> list[str]:
    figures = [
        (ended.peak_rss_mb, "MB of main memory"),
        (analysis.gpu_memory_mib, "MiB allocated on a GPU, as printed"),
        (analysis.gpu_memory_reserved_mib, "MiB reserved there"),
    ]
    known = [f"{value:.0f} {unit}" for value, unit in figures if value is not None]
    return ["memory at most: " + ", ".join(known)] if known else []


def _curve(analysis: Analysis, track: TrackSpec) -> list[str]:
    if not analysis.curve:
        return []
    points = [
        f"{point.step}: {point.val_loss:.4f} at {trials.point_s(track, point):.1f} s"
        for point in thin(analysis.curve, POINTS)
    ]
    return [f"val_loss by step, of {analysis.curve[-1].steps}: {'; '.join(points)}"]


def _against(curve: list[CurvePoint], before: Before) -> list[str]:
    """Return where the curve stood against the parent's: at common steps, and at both ends."""
    theirs = before.analysis.curve
    if not curve or not theirs:
        return []
    losses = {point.step: point.val_loss for point in theirs}
    common = [point for point in curve if point.step in losses]
    differences = [
        f"{point.step}: {point.val_loss - losses[point.step]:+.4f}"
        for point in thin(common, POINTS)
    ]
    last, parent = curve[-1], theirs[-1]
    return [
        f"val_loss less that of {before.name} at the same steps: "
        + ("; ".join(differences) if common else "no step in common"),
        f"last val_loss: {last.val_loss:.4f} at step {last.step}, {before.name} had "
        f"{parent.val_loss:.4f} at step {parent.step} ({last.val_loss - parent.val_loss:+.4f})",
    ]
