"""The one parser of complete training logs, from llm.c's layout to today's and our own tracks'.

Logs are data that others wrote: time and memory are linear in their length, whatever they hold.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from itertools import islice

from speedrun.runner import protocol
from speedrun.trainlog.environment import Environment, environment
from speedrun.trainlog.memory import peak_memory
from speedrun.trainlog.model import Point, TrainLog
from speedrun.trainlog.sections import ENTRY, Sections, normalised, split

__all__ = ["ENTRY", "Environment", "Point", "TrainLog", "normalised", "parse", "peak_memory"]

POINTS_MAX = 100_000  # the longest log of upstream has 131
_LOSS_OF_LLMC = re.compile(
    r"\ns:(\d{1,9}) tel:([-+]?[\d.]{1,30}|[-+]?nan|[-+]?inf)(?!\S)", re.ASCII
)


def parse(text: str) -> TrainLog:
    """Return what a complete log says; layouts are those of ``TrainLog.layout``.

    Values come from behind the header (or, without one, from a text that embeds no source), never
    from the code. Raises ValueError with what is wrong for text that is no such log.
    """
    sections = split(text)
    layout, curve = _curve(sections)
    allocated, reserved = peak_memory(sections.run)
    return TrainLog(
        layout=layout,
        files=sections.files,
        environment=environment(sections.header),
        curve=curve,
        peak_memory_mib=allocated,
        reserved_memory_mib=reserved,
        complete=curve[-1].step == curve[-1].steps,
    )


def _curve(sections: Sections) -> tuple[str, list[Point]]:
    """Return the layout and its points, by the first dialect that has any."""
    own = _points(protocol.parse_all(sections.run))
    if own:
        return sections.layout or "protocol", own
    if sections.layout:
        raise ValueError("the log ends before its first validation line")
    llmc = _llmc(sections.run)
    if llmc:
        return "A", llmc
    console = _points(protocol.parse_two_lines(sections.run))
    if console:
        return "console", console
    raise ValueError("no training log: it holds no validation line of any known layout")


def _points(lines: Iterable[protocol.ProtocolLine]) -> list[Point]:
    found = (Point(line.step, line.steps, line.val_loss, line.train_time_ms) for line in lines)
    return _bounded(found)


def _bounded(found: Iterable[Point]) -> list[Point]:
    points = list(islice(found, POINTS_MAX + 1))
    if len(points) > POINTS_MAX:
        raise ValueError(f"more than {POINTS_MAX} validation lines: no training log has so many")
    return points


def _llmc(text: str) -> list[Point]:
    """Return the points of ``s:N tel:X`` lines; only a log's end tells how many steps it had."""
    matches = islice(_LOSS_OF_LLMC.finditer("\n" + text), POINTS_MAX + 1)
    try:
        losses = [(int(match[1]), float(match[2])) for match in matches]
    except ValueError:
        raise ValueError("a line `s:N tel:X` holds no number") from None
    steps = losses[-1][0] if losses and _ends_with_loss(text) else None
    return _bounded(Point(step, steps, loss, None) for step, loss in losses)


def _ends_with_loss(text: str) -> bool:
    """Say whether a llm.c log's last line is a validation, as it is once the last step is done.

    A log that was cut just behind an earlier validation cannot be told from one that is complete.
    """
    tail = text[-1000:].rstrip()
    return " tel:" in tail[tail.rfind("\n") + 1 :]
