"""The steps of a record chain, each with its gain and its label."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

from speedrun.classification import DEPTHS, KINDS, PROVENANCES, Label
from speedrun.registry import Record, Registry

UNNAMED = "(nobody named)"
DEEP = ("deep", "breakthrough")
ORDERS = {"depth": DEPTHS, "provenance": PROVENANCES, "kind": KINDS}


@dataclass(frozen=True)
class Step:
    """From one record number to the next. A number that was timed again starts at its last time.

    So no gain compares times across a change of the timing rule: the step to 22 starts at 21c.
    """

    task: str
    start: Record
    target: Record
    label: Label

    @property
    def number(self) -> int:
        """The record number that the step ends at."""
        return self.target.number

    @cached_property
    def ln_gain(self) -> float:
        """ln(time before / time after): gains of several steps add up."""
        return math.log(self.start.time_minutes / self.target.time_minutes)

    @property
    def half_year(self) -> str:
        """Such as 2024H2, by the date of the table."""
        return f"{self.target.date[:4]}H{1 if int(self.target.date[5:7]) <= 6 else 2}"

    @property
    def contributors(self) -> list[str]:
        """Whom the table credits; never empty."""
        return self.target.contributors or [UNNAMED]

    @property
    def deep(self) -> bool:
        """Whether it is deep or a breakthrough."""
        return self.label.depth in DEEP

    def word(self, field: str) -> str:
        """Return the step's word of depth, provenance, kind or half_year."""
        return self.half_year if field == "half_year" else str(getattr(self.label, field))


def steps_of(registry: Registry, labels: Mapping[int, Label]) -> list[Step]:
    """Return all steps of the registry in their order."""
    return [
        Step(pair.task, pair.start, pair.target, labels[pair.target.number])
        for pair in registry.transitions
    ]


def numbers(registry: Registry) -> list[int]:
    """Return the record numbers that a step ends at."""
    return [pair.target.number for pair in registry.transitions]


def words(field: str, steps: Iterable[Step]) -> list[str]:
    """Return the words of a field in their order, those that no step has too."""
    known = ORDERS.get(field)
    return list(known) if known else sorted({step.word(field) for step in steps})


def product(steps: Sequence[Step]) -> float:
    """Return the speedup as the product of the steps."""
    return math.exp(math.fsum(step.ln_gain for step in steps))


def first_over_last(steps: Sequence[Step]) -> float:
    """Return the speedup as the first time over the last, whatever rule each was timed by."""
    return steps[0].start.time_minutes / steps[-1].target.time_minutes
