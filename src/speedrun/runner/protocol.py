"""The line by which a training script reports progress, parsed in one place.

``step:N/M val_loss:X train_time:Yms step_avg:Zms`` at the start of a line. The line is written
by a candidate: every field is bounded, so that nothing it prints can cost memory or raise.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

MARK = b"val_loss:"  # every line of the protocol holds it
_NUMBER = r"[-+]?(?:\d{1,15}(?:\.\d{0,20})?(?:[eE][-+]?\d{1,3})?|nan|inf)"
_LINE = re.compile(
    rf"step:(\d{{1,9}})/(\d{{1,9}}) val_loss:({_NUMBER}) "
    r"train_time:(\d{1,15})(?:\.\d{1,9})?ms step_avg:[-+.\w]{1,32}ms(?!\S)",
    re.ASCII,
)


@dataclass(frozen=True)
class ProtocolLine:
    """What one line says; ``val_loss`` may be nan or infinite."""

    step: int
    steps: int
    val_loss: float
    train_time_ms: int


def parse(line: str) -> ProtocolLine | None:
    """Return the figures of a protocol line, None for any other text."""
    match = _LINE.match(line)
    if match is None:
        return None
    step, steps, val_loss, train_time_ms = match.groups()
    return ProtocolLine(int(step), int(steps), float(val_loss), int(train_time_ms))
