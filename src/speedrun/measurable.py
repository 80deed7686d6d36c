"""Which tasks can be measured on this hardware: do start and target times differ significantly?

FSR divides by the time between start and target. Where that time is lost in the noise of the clock
FSR is noise too, of any size, and one such task would swamp a mean over tasks. So by rule only
tasks *shown* to be measurable enter means: the target's time is below the start's, one-sided
p < p_max. The others stay in every table by task, with their figures and the reason.

Only runs of the two records count, never an agent's. Two sets of them may exist, and their sizes
alone, which the configuration fixes before any time is known, choose the one that is tested:

- the audit's interleaved rounds of start and target, where there are at least as many as reference
  runs of either record: paired t-test on the log ratios, so that the machine's drift cancels;
- else the independent reference runs: Welch's t-test on the log times.

Fewer than two runs a side, or no spread at all, show nothing: the answer is unknown (None), and the
task is left out of means too. Otherwise whoever measures less would keep more tasks.

The answer is frozen per hardware in a file, from reference data, so that a list of tasks does not
change from sweep to sweep with the noise. About one in 1 / p_max tasks without any difference is
still taken for measurable.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from speedrun import files, schema, stats
from speedrun.files import SpeedrunError

RUNS_MIN = 2  # a side: one run shows no noise
ROUNDS, RUNS = "interleaved rounds", "reference runs"


@dataclass(frozen=True)
class Finding:
    """The answer for one task; ``measurable`` None is unknown. Times in seconds."""

    measurable: bool | None
    reason: str
    data: str  # what was tested: ROUNDS or RUNS
    start: stats.Summary | None
    target: stats.Summary | None
    ratio: float | None  # geometric mean of the target's time over the start's
    p: float | None  # one-sided, of ratio < 1
    p_max: float
    digest: str  # of the times that were tested

    @property
    def word(self) -> str:
        """The answer as tables show it: true, false or unknown."""
        return "unknown" if self.measurable is None else str(self.measurable).lower()


def judge(
    start: Sequence[float],
    target: Sequence[float],
    rounds: Sequence[tuple[float, float]] = (),
    p_max: float = 0.05,
) -> Finding:
    """Return whether the target is significantly faster than the start.

    ``start`` and ``target`` are the times of independent reference runs, ``rounds`` the (start,
    target) times of interleaved rounds, all in seconds on the track's clock. Errors: SpeedrunError
    for a time that is not positive and finite.
    """
    paired = len(rounds) >= max(len(start), len(target), 1)
    if paired:
        start, target = [a for a, _ in rounds], [b for _, b in rounds]
    if wrong := [time_s for time_s in (*start, *target) if not 0 < time_s < math.inf]:
        raise SpeedrunError(f"a record took {wrong[0]:g} s: look at its run and make it again")
    p = _p(start, target, paired=paired)
    return Finding(
        measurable=None if p is None else p < p_max,
        reason=_reason(start, target, p, p_max, paired=paired),
        data=ROUNDS if paired else RUNS,
        start=stats.summarise(start) if start else None,
        target=stats.summarise(target) if target else None,
        ratio=_ratio(start, target),
        p=p,
        p_max=p_max,
        digest=files.digest_value([paired, list(start), list(target)]),
    )


def _logs(times: Sequence[float]) -> list[float]:
    return [math.log(time_s) for time_s in times]


def _ratio(start: Sequence[float], target: Sequence[float]) -> float | None:
    if not start or not target:
        return None
    before, after = (stats.summarise(_logs(times)).mean for times in (start, target))
    return math.exp(after - before)


def _p(start: Sequence[float], target: Sequence[float], *, paired: bool) -> float | None:
    if min(len(start), len(target)) < RUNS_MIN:
        return None
    if paired:
        return stats.ratio_below(target, start).p
    return stats.welch_below(_logs(target), _logs(start))


def _reason(
    start: Sequence[float], target: Sequence[float], p: float | None, p_max: float, *, paired: bool
) -> str:
    counts = f"{len(start)} of the start and {len(target)} of the target"
    size = f"{len(start)} {ROUNDS}" if paired else f"{RUNS}: {counts}"
    if min(len(start), len(target)) < RUNS_MIN:
        return f"too few reference runs to tell ({size}; {RUNS_MIN} are needed, more are better)"
    if p is None:
        return f"equal times cannot be tested ({size})"
    ratio = f"the target takes {_ratio(start, target):.3f} of the start's time"
    if p < p_max:
        return f"{ratio}, p = {p:.2g} < {p_max:g} ({size})"
    return f"no significant gain: {ratio}, p = {p:.2g} >= {p_max:g} ({size})"


def rounds_of(audit: dict[str, Any]) -> list[tuple[float, float]]:
    """Return the (start, target) times of an audit's rounds that hold both."""
    runs = [one["runs"] for one in audit.get("rounds", [])]
    whole = [one for one in runs if "start" in one and "target" in one]
    pairs = [(one["start"]["time_s"], one["target"]["time_s"]) for one in whole]
    return [(a, b) for a, b in pairs if a is not None and b is not None]


@dataclass(frozen=True)
class Entry:
    """One task of a frozen list. ``references`` are the folders whose runs were used, by record."""

    task: str
    references: dict[str, str]
    finding: Finding


@dataclass(frozen=True)
class Frozen:
    """tracks/<track>/measurable/<hardware>.yaml: the answers, from reference data alone."""

    track: str
    hardware: str
    machine: str
    date: str  # ISO 8601
    tasks: list[Entry] = field(default_factory=list)

    def finding(self, task: str, references: dict[str, str], p_max: float) -> Finding | None:
        """Return the answer for a task, None where it is not that of these references and limit.

        A hardware profile whose settings were changed has other reference folders.
        """
        same = (one for one in self.tasks if (one.task, one.references) == (task, references))
        return next((one.finding for one in same if one.finding.p_max == p_max), None)


def frozen_path(tracks: Path, track: str, hardware: str) -> Path:
    """Return where a track's frozen list for a hardware profile lies below ``tracks``."""
    return tracks / track / "measurable" / f"{hardware}.yaml"


def load(path: Path) -> Frozen:
    """Read a frozen list; every error names the file and what to do."""
    try:
        return schema.from_dict(Frozen, yaml.safe_load(path.read_text(encoding="utf-8")))
    except (OSError, yaml.YAMLError, UnicodeDecodeError, SpeedrunError) as error:
        cause = " ".join(str(error).split())
        raise SpeedrunError(
            f"{path} is no list of measurable tasks ({cause}): "
            "make it again with `speedrun references --freeze --fresh`"
        ) from error


def save(path: Path, frozen: Frozen) -> None:
    """Write a frozen list, atomically."""
    text = yaml.safe_dump(schema.to_dict(frozen), sort_keys=False, allow_unicode=True, width=100)
    files.write_text(path, text)
