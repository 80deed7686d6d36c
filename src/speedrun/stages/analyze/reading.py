"""One pass over a run's log: its protocol lines with their stamps, its end, its exception."""

from __future__ import annotations

import math
import re
from collections import deque
from dataclasses import dataclass
from pathlib import Path

from speedrun.runner import log, protocol
from speedrun.schema import CurvePoint
from speedrun.stages.analyze.tracebacks import Crash, Tracebacks

TAIL_LINES = 20
TAIL_COLUMNS = 200
COLUMNS = 240  # of any other line
UNTIMED_STEPS = 10  # of the scripts of records 4 to 21
_FENCE = re.compile(r"`{3,}|~{3,}")


@dataclass(frozen=True)
class Seen:
    """A log as read: every protocol line with its stamps, and the last lines of any kind."""

    lines: list[tuple[protocol.ProtocolLine, log.LogLine]]
    tail: list[str]
    timed_from_s: float = 0.0  # wall seconds: from when on the printed train_time counts
    crash: Crash | None = None

    @property
    def last(self) -> protocol.ProtocolLine:
        """The last protocol line; there must be one."""
        return self.lines[-1][0]

    @property
    def clocks(self) -> log.LogLine:
        """The stamps of the last protocol line."""
        return self.lines[-1][1]

    @property
    def curve(self) -> list[CurvePoint]:
        """The points of the loss curve; JSON has no word for those that are not finite."""
        return [
            _point(*line, self.last.steps or 0)
            for line in self.lines
            if math.isfinite(line[0].val_loss)
        ]


def read_log(path: Path, two_lines: bool = False) -> Seen:
    """Read log.jsonl in one pass, holding no more than its protocol lines and its tail.

    ``two_lines`` says whether the dialect of the first records' scripts counts as well.
    """
    gathered = _Gathered(two_lines)
    for line in log.read(path):
        gathered.take(line)
    timed_from_s = gathered.clock.reset_s
    if timed_from_s is None:
        timed_from_s = gathered.lines[0][1].wall_s if gathered.lines else 0.0
    crash = gathered.tracebacks.crash()
    return Seen(gathered.lines, list(gathered.tail), timed_from_s, crash)


class _Gathered:
    """What is kept of a log while its lines go by."""

    def __init__(self, two_lines: bool) -> None:
        self.lines: list[tuple[protocol.ProtocolLine, log.LogLine]] = []
        self.tail: deque[str] = deque(maxlen=TAIL_LINES)
        self.clock = _ScriptClock()
        self.tracebacks = Tracebacks()
        self._other = protocol.TwoLineReader() if two_lines else None

    def take(self, line: log.LogLine) -> None:
        parsed = protocol.parse(line.line)
        if parsed and self._other:  # the first line of the speedrun's own dialect ends the other
            self._other = None
            self.lines.clear()
        elif self._other:
            parsed = self._other.feed(line.line)
        if parsed:
            self.lines.append((parsed, line))
        elif not self.lines or self.lines[-1][0].step <= UNTIMED_STEPS:
            self.clock.take(line)
        self.tracebacks.take(line.line)
        if line.line.strip() and not self.tracebacks.launcher_spoke:
            self.tail.append(harmless(line.line, TAIL_COLUMNS))


class _ScriptClock:
    """Sees the one restart that a script's clock is allowed: after the first, untimed steps.

    The scripts of records 4 to 21 compile in their first ten steps, count their time, and forget
    it: the train_time of step 11 is less than that of step 10.
    """

    def __init__(self) -> None:
        self.reset_s: float | None = None
        self._last = (0, 0, 0.0)  # step, train_time in ms, wall seconds

    def take(self, line: log.LogLine) -> None:
        found = protocol.parse_step(line.line)
        if found is None:
            return
        step, time_ms, wall_s = self._last
        if step == UNTIMED_STEPS and found[0] == step + 1 and found[1] < time_ms:
            self.reset_s = wall_s
        self._last = (*found, line.wall_s)


def harmless(line: str, columns: int = COLUMNS) -> str:
    """Return a line fit for a prompt and a page: bounded, printable, without a Markdown fence."""
    clean = "".join(map(_printable, line[: 2 * columns]))
    plain = _FENCE.sub(lambda fence: "'" * len(fence[0]), clean)
    return plain if len(plain) <= columns else plain[: columns - 3] + "..."


def _printable(char: str) -> str:
    if char.isprintable():
        return char
    return " " if char.isspace() else "\N{REPLACEMENT CHARACTER}"


def _point(line: protocol.ProtocolLine, stamped: log.LogLine, steps: int) -> CurvePoint:
    return CurvePoint(
        step=line.step,
        steps=steps if line.steps is None else line.steps,
        val_loss=line.val_loss,
        train_time_ms=line.train_time_ms,
        wall_s=stamped.wall_s,
        cpu_s=stamped.cpu_s,
    )


def thin(curve: list[CurvePoint], count: int) -> list[CurvePoint]:
    """Return at most ``count`` points, evenly taken, first and last among them."""
    if len(curve) <= count:
        return curve
    return [curve[round(index * (len(curve) - 1) / (count - 1))] for index in range(count)]
