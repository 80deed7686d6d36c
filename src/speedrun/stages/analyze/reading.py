"""One pass over a run's log: its protocol lines with their stamps, and its last lines."""

from __future__ import annotations

import math
from collections import deque
from dataclasses import dataclass
from pathlib import Path

from speedrun.runner import log, protocol
from speedrun.schema import CurvePoint

TAIL_LINES = 20
TAIL_COLUMNS = 200


@dataclass(frozen=True)
class Seen:
    """A log as read: every protocol line with its stamps, and the last lines of any kind."""

    lines: list[tuple[protocol.ProtocolLine, log.LogLine]]
    tail: list[str]

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
        return [_point(*line) for line in self.lines if math.isfinite(line[0].val_loss)]


def read_log(path: Path) -> Seen:
    """Read log.jsonl in one pass, holding no more than its protocol lines and its tail."""
    lines: list[tuple[protocol.ProtocolLine, log.LogLine]] = []
    tail: deque[str] = deque(maxlen=TAIL_LINES)
    for line in log.read(path):
        parsed = protocol.parse(line.line)
        if parsed:
            lines.append((parsed, line))
        if line.line.strip():
            tail.append(_printable(line.line))
    return Seen(lines, list(tail))


def _printable(line: str) -> str:
    """Return a line fit for a prompt and a page: no control characters, no great length."""
    clean = "".join(char if char.isprintable() else "\N{REPLACEMENT CHARACTER}" for char in line)
    return clean[:TAIL_COLUMNS]


def _point(line: protocol.ProtocolLine, stamped: log.LogLine) -> CurvePoint:
    return CurvePoint(
        step=line.step,
        steps=line.steps,
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
