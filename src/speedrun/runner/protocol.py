"""The lines by which a training script reports progress: their grammar, in one place.

Two dialects. The speedrun's own says all in one line, from record 4 on and on the micro track::

    step:N/M val_loss:X train_time:Yms step_avg:Zms

The scripts that stand in for records 1 to 3 say it in two, and only the time of each step::

    val loss X
    step    N/M | train loss ... | (Y ms | ... tok/s)

The lines are written by a candidate: every field is bounded, so that nothing it prints can cost
memory or raise. Beside them stand the lines of single training steps, by which the harness sees
when a script of records 4 to 21 starts its clock again::

    step:N/M train_loss:X train_time:Yms step_avg:Zms
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

MARKS = (b"val_loss:", b"val loss ")  # every line that reports a validation loss holds one
_NUMBER = r"[-+]?(?:\d{1,15}(?:\.\d{0,20})?(?:[eE][-+]?\d{1,3})?|nan|inf)"
_REPORT = (
    rf"step:(\d{{1,9}})/(\d{{1,9}}) val_loss:({_NUMBER}) "
    r"train_time:(\d{1,15})(?:\.\d{1,9})?ms step_avg:[-+.\w]{1,32}ms(?!\S)"
)
_LINE = re.compile(_REPORT, re.ASCII)
_LINES = re.compile(rf"\n{_REPORT}", re.ASCII)  # the literal start makes the search fast
_LOSS = re.compile(rf"val loss ({_NUMBER})(?!\S)", re.ASCII)
_STEP = re.compile(
    r"step {1,9}(\d{1,9})/(\d{1,9}) \|[^\n]{1,200}?\((\d{1,12}(?:\.\d{1,9})?) ms \|", re.ASCII
)
_TRAIN = re.compile(
    rf"step:(\d{{1,9}})/\d{{1,9}} (?:train_loss:{_NUMBER} )?"
    r"train_time:(\d{1,15})(?:\.\d{1,9})?ms step_avg:",
    re.ASCII,
)
_TWO_LINES = re.compile(r"\n((?:val loss |step )[^\n]{1,400})")


@dataclass(frozen=True, slots=True)
class ProtocolLine:
    """What a script reports; ``val_loss`` may be nan or infinite.

    ``steps`` is None before a script of the second dialect has named it.
    """

    step: int
    steps: int | None
    val_loss: float
    train_time_ms: int


def parse(line: str) -> ProtocolLine | None:
    """Return the figures of a line of the speedrun's own dialect, None for any other text."""
    match = _LINE.match(line)
    return None if match is None else _protocol_line(match)


def parse_step(line: str) -> tuple[int, int] | None:
    """Return step and train_time in ms of a training step's line, None for any other text."""
    match = _TRAIN.match(line)
    return None if match is None else (int(match[1]), int(match[2]))


def parse_all(text: str) -> Iterator[ProtocolLine]:
    """Yield what ``parse`` finds in the lines of ``text``, by one compiled search."""
    return map(_protocol_line, _LINES.finditer("\n" + text))


def parse_two_lines(text: str) -> Iterator[ProtocolLine]:
    """Yield what a ``TwoLineReader`` finds in the lines of ``text``."""
    reader = TwoLineReader()
    reports = (reader.feed(match[1]) for match in _TWO_LINES.finditer("\n" + text))
    return (report for report in reports if report)


def _protocol_line(match: re.Match[str]) -> ProtocolLine:
    step, steps, val_loss, train_time_ms = match.groups()
    return ProtocolLine(int(step), int(steps), float(val_loss), int(train_time_ms))


class TwoLineReader:
    """Follows the second dialect: a loss belongs to the last step, its time is the steps' sum.

    Such a script does not stop its clock while it validates, so the sum may hold that as well.
    """

    def __init__(self) -> None:
        """Start before step 0."""
        self._step = 0
        self._steps: int | None = None
        self._train_time_ms = 0.0

    def feed(self, line: str) -> ProtocolLine | None:
        """Take the next line; return a report if it is one of the validation loss."""
        step = _STEP.match(line)
        if step:
            self._step, self._steps = int(step[1]), int(step[2])
            self._train_time_ms += float(step[3])
        loss = None if step else _LOSS.match(line)
        if loss is None:
            return None
        time_ms = round(self._train_time_ms)
        return ProtocolLine(self._step, self._steps, float(loss[1]), time_ms)


class Reader:
    """Reads a log line by line in either dialect; the first line of the own one ends the other."""

    def __init__(self) -> None:
        """Start before the first line."""
        self.own = False
        self._other = TwoLineReader()

    def feed(self, line: str) -> ProtocolLine | None:
        """Return what the line reports, None for any other text."""
        found = parse(line)
        self.own = self.own or found is not None
        return found if self.own else self._other.feed(line)
