"""The published analysis of the same leaderboard: what is known of its labels and figures."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from speedrun import typed
from speedrun.classification import FIELDS, WORDS
from speedrun.files import SpeedrunError
from speedrun.stages.history import shares
from speedrun.stages.history.steps import Step, first_over_last, product

STATUSES = ("note", "account", "ours")


@dataclass(frozen=True)
class Note:
    """Which publication it is, and the last record number that it covers."""

    title: str
    publisher: str
    date: str
    url: str
    summary: str  # its author's own
    account: str  # another's
    last_record: int


@dataclass(frozen=True)
class PublishedLabel:
    """One word that it gives a record; ``what`` is the name that it uses."""

    record: int
    field: str
    word: str
    status: str
    what: str


@dataclass(frozen=True)
class Figure:
    """One number of it; ``tolerance`` in its unit, ``why`` ours may differ."""

    key: str
    value: float
    tolerance: float
    status: str
    what: str
    why: str


@dataclass(frozen=True)
class Published:
    """published.yaml."""

    note: Note
    labels: list[PublishedLabel]
    figures: list[Figure]
    not_found: list[str]


def load(path: Path) -> Published:
    """Read published.yaml; an unknown key, word, status or figure is an error that names it."""
    try:
        data: Any = yaml.safe_load(path.read_text(encoding="utf-8"))
        found = typed.from_dict(Published, data)
    except FileNotFoundError as error:
        raise SpeedrunError(f"{path} is missing: it holds the published labels") from error
    except (yaml.YAMLError, UnicodeDecodeError, SpeedrunError) as error:
        reason = " ".join(str(error).split())
        raise SpeedrunError(f"{path}: {reason}; correct it") from error
    for fault in _faults(found):
        raise SpeedrunError(f"{path}: {fault}; correct it")
    return found


def _faults(found: Published) -> Iterator[str]:
    for label in found.labels:
        if label.field not in FIELDS or label.word not in WORDS[label.field]:
            yield f"record {label.record}: {label.field} {label.word!r} is no word of the rubric"
    statuses = [one.status for one in found.labels] + [one.status for one in found.figures]
    for status in statuses:
        if status not in STATUSES:
            yield f"status {status!r} is none of {', '.join(STATUSES)}"
    for figure in found.figures:
        if figure.key not in FIGURES:
            yield f"figure {figure.key!r} is none of {', '.join(FIGURES)}"


@dataclass(frozen=True)
class Compared:
    """A published figure beside ours, for the same records and for all of them."""

    figure: Figure
    ours: float
    ours_all: float
    moved: tuple[float, float] | None  # ours if labels are noisy, where labels decide it

    @property
    def verdict(self) -> str:
        """``agrees`` to the printed digit, ``within label noise``, or ``differs``."""
        if abs(self.ours - self.figure.value) <= self.figure.tolerance + 1e-9:
            return "agrees"
        if self.moved and self.moved[0] <= self.figure.value <= self.moved[1]:
            return "within label noise"
        return "differs"


def contributors(steps: Sequence[Step]) -> set[str]:
    """Return everybody the table names for the steps, so without record 1, the baseline."""
    return {name for step in steps for name in step.target.contributors}


def _percent_invented(steps: Sequence[Step]) -> float:
    since = [step for step in steps if step.target.date >= "2025-01-01"]
    return 100 * sum(step.label.provenance == "invented" for step in since) / len(since)


def _factor(field: str, *chosen: str) -> Callable[[Sequence[Step]], float]:
    return lambda steps: product([step for step in steps if step.word(field) in chosen])


def _first_20(steps: Sequence[Step]) -> float:
    return sum(step.label.provenance == "invented" for step in steps if step.number <= 20)


FIGURES: dict[str, Callable[[Sequence[Step]], float]] = {
    "records": lambda steps: len(steps) + 1,
    "contributors": lambda steps: len(contributors(steps)),
    "first_minutes": lambda steps: steps[0].start.time_minutes,
    "last_minutes": lambda steps: steps[-1].target.time_minutes,
    "first_over_last": first_over_last,
    "product": product,
    "shallow_and_moderate": _factor("depth", "shallow", "moderate"),
    "imported": _factor("provenance", "imported"),
    "adapted": _factor("provenance", "adapted"),
    "invented": _factor("provenance", "invented"),
    "invented_since_2025_percent": _percent_invented,
    "invented_first_20": _first_20,
    "ai_credited": lambda steps: len(shares.credited_to_ai(steps)),
    "ai_deep": lambda steps: sum(step.deep for step in shares.credited_to_ai(steps)),
}
