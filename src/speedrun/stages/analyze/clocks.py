"""Clocks: the time of a run, and whether what it printed agrees with what the harness saw.

On the clocks "cpu" and "wall" the harness's own stamps are the time. On "train_time" it is what the
script prints, because compiling, warming up and validating do not count on that track and only the
script knows when it does them. A wall clock bounds it from both sides:

- printed <= 1.02 x (wall seconds of the run up to the last line) + 0.5 s;
- printed >= train_time_ratio_min x (wall seconds that the script could have trained in).

The latter begin at the first protocol line, step 0, or, for the scripts of records 4 to 21, whose
clock starts again after ten untimed steps, where their printed training times show that restart.
What validation took of them is unknown, which is why the track's ratio is well below 1.

That keeps honest scripts honest about their figures; it does not stop a script that means to cheat:

- What comes before the first protocol line, or before that restart, is free, however long. A script
  that trains first and prints all its lines afterwards can claim any time above 0. An honest one
  compiles there for minutes, so that no bound on it would tell the two apart. The restart is
  accepted on the scripts of every record.
- Of the time that counts, all but the ratio may be passed off as validation.
- What comes after the last line is not bounded. Without probes the printed loss is not checked
  either, so that a last line can be printed early, or its loss made up.

Nothing in one run can tell. So the audit holds these stretches against those of start and target
(untimed.py) and runs the program on data that no record reads (unseen.py), and rules read the code.
"""

from __future__ import annotations

import itertools

from speedrun.files import SpeedrunError
from speedrun.schema import RunExit, TrackSpec
from speedrun.stages.analyze.reading import UNTIMED_STEPS, Seen

CPU_RATIO_MAX = 1.05  # a process cannot have used more CPU than its whole tree
CPU_GRAIN_S = 0.05  # both clocks are good to a few ticks
WALL_RATIO_MAX = 1.02
WALL_GRAIN_S = 0.5


def time_s(seen: Seen, track: TrackSpec) -> float:
    """Return the seconds on the track's clock at the last protocol line."""
    clocks = {
        "cpu": seen.clocks.cpu_s,
        "wall": seen.clocks.wall_s,
        "train_time": seen.last.train_time_ms / 1000,
    }
    if track.clock not in clocks:
        raise SpeedrunError(
            f"track {track.name}: clock {track.clock!r}: choose cpu, wall or train_time"
        )
    return clocks[track.clock]


def violation(seen: Seen, ended: RunExit, track: TrackSpec) -> str:
    """Return which rule about steps and clocks was broken, "" for none."""
    pairs = list(itertools.pairwise(line for line, _ in seen.lines))
    if any(later.step <= earlier.step for earlier, later in pairs):
        return "the printed steps do not increase"
    # A validation at the restart of a script's clock prints less than the one before it.
    untimed = UNTIMED_STEPS if track.clock == "train_time" else -1
    timed = [pair for pair in pairs if pair[1].step > untimed]
    if any(later.train_time_ms < earlier.train_time_ms for earlier, later in timed):
        return "the printed train_time decreases"
    if time_s(seen, track) <= 0:  # which no record takes, and no ratio can hold
        return "no time went by up to the last protocol line by the track's clock"
    if track.clock == "train_time":
        return _wall_violation(seen, track)
    return _late_violation(seen, ended, track) or _cpu_violation(seen, track)


def _late_violation(seen: Seen, ended: RunExit, track: TrackSpec) -> str:
    after_s = (ended.cpu_total_s or 0.0) - seen.clocks.cpu_s
    if after_s <= track.after_clock_s_max:
        return ""
    return (
        f"{after_s:.2f} CPU s were used after the last protocol line, "
        f"{track.after_clock_s_max:g} are allowed"
    )


def _cpu_violation(seen: Seen, track: TrackSpec) -> str:
    printed_s, clock_s = seen.last.train_time_ms / 1000, seen.clocks.cpu_s
    low = track.train_time_ratio_min * clock_s - CPU_GRAIN_S
    high = CPU_RATIO_MAX * clock_s + CPU_GRAIN_S
    if low <= printed_s <= high:
        return ""
    return (
        f"the printed train_time is {printed_s:.2f} s, but the harness's clock shows "
        f"{clock_s:.2f} CPU s (allowed: {max(low, 0):.2f} to {high:.2f})"
    )


def _wall_violation(seen: Seen, track: TrackSpec) -> str:
    printed_s, run_s = seen.last.train_time_ms / 1000, seen.clocks.wall_s
    trained_s = run_s - seen.timed_from_s
    high = WALL_RATIO_MAX * run_s + WALL_GRAIN_S
    if printed_s > high:
        return (
            f"the printed train_time is {printed_s:.2f} s, longer than the {run_s:.2f} s that the "
            "whole run took up to its last protocol line by the harness's clock"
        )
    low = track.train_time_ratio_min * trained_s - WALL_GRAIN_S
    if printed_s < low:
        return (
            f"the printed train_time is {printed_s:.2f} s, but {trained_s:.2f} s went by on the "
            f"harness's clock while it counted; validation included, at least {low:.2f} s must "
            "be train_time"
        )
    return ""
