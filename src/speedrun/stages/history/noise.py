"""How far shares move when uncertain labels flip.

Each step's word flips with a probability that depends on the confidence of its label; the shares of
many such draws give an interval. Two sets of probabilities:

``observed``: how often the two passes differed in the field, by the confidence of the label that
was settled, (differences + 0.5) / (steps + 1). Readers of one kind agree too easily: a lower bound.
``doubted``: 5, 20 and 50 % for high, medium and low, an assumption: the published labels, which
another reader gave, differ from ours about as often as that.

Where a flip goes: on the scales of depth and provenance to a neighbouring word, either with equal
chance, but none becomes a breakthrough, because that takes a source; a kind to any other, in
proportion to how many steps have it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from speedrun.classification import CONFIDENCES, Label
from speedrun.stages.history.steps import Step, words
from speedrun.stats import Floats

DRAWS, SEED, CONFIDENCE = 10_000, 0, 0.95
DOUBTED = {"high": 0.05, "medium": 0.20, "low": 0.50}
NEVER_GAINED = "breakthrough"
NOISES = ("observed", "doubted")

Passes = tuple[Mapping[int, Label], Mapping[int, Label]]


@dataclass(frozen=True)
class Band:
    """Where a word's share of the log speedup lies under a noise; ``factor`` of each bound."""

    low: float
    high: float


def rates(labels: Mapping[int, Label], passes: Passes, field: str, noise: str) -> dict[str, float]:
    """Return the probability of a flip by confidence."""
    if noise == "doubted":
        return dict(DOUBTED)
    found = {}
    for confidence in CONFIDENCES:
        mine = [number for number, label in labels.items() if label.confidence == confidence]
        words = [tuple(getattr(one[number], field) for one in passes) for number in mine]
        found[confidence] = (sum(a != b for a, b in words) + 0.5) / (len(mine) + 1)
    return found


def bands(steps: Sequence[Step], field: str, by_confidence: Mapping[str, float]) -> dict[str, Band]:
    """Return the interval of each word's share over DRAWS draws, percentiles at CONFIDENCE."""
    drawn = draw(steps, field, by_confidence)
    tail = (1 - CONFIDENCE) / 2
    low, high = np.quantile(drawn, [tail, 1 - tail], axis=0)
    return {word: Band(float(low[i]), float(high[i])) for i, word in enumerate(words(field, steps))}


def draw(steps: Sequence[Step], field: str, by_confidence: Mapping[str, float]) -> Floats:
    """Return shares of the log speedup, one row a draw and one column a word."""
    picked = choices(steps, field, by_confidence, DRAWS)
    gains = np.array([step.ln_gain for step in steps])
    columns = [((picked == i) * gains).sum(axis=1) for i in range(len(words(field, steps)))]
    drawn: Floats = np.stack(columns, axis=1) / gains.sum()
    return drawn


def choices(
    steps: Sequence[Step], field: str, by_confidence: Mapping[str, float], draws: int
) -> npt.NDArray[np.int64]:
    """Return which word each draw (row) gives each step (column), as its place in the words."""
    chances = np.cumsum(transitions(steps, field, by_confidence), axis=1)
    at_random = np.random.default_rng(SEED).random((draws, len(steps)))
    # the first word whose cumulated chance exceeds it; rounding must not lead past the last one
    places: npt.NDArray[np.int64] = (at_random[:, :, None] >= chances[None, :, :-1]).sum(axis=2)
    return places


def relabelled(
    steps: Sequence[Step], field: str, by_confidence: Mapping[str, float], draws: int
) -> Iterator[list[Step]]:
    """Yield the steps as each draw labels them, for figures that are no shares."""
    known = words(field, steps)
    variants = [
        [replace(step, label=_said(step.label, field, word)) for word in known] for step in steps
    ]
    for row in choices(steps, field, by_confidence, draws):
        yield [mine[place] for mine, place in zip(variants, row, strict=True)]


def _said(label: Label, field: str, word: str) -> Label:
    return replace(label, **{field: word})  # type: ignore[arg-type]


def transitions(steps: Sequence[Step], field: str, by_confidence: Mapping[str, float]) -> Floats:
    """Return the chance of each word (columns) for each step (rows)."""
    known = words(field, steps)
    counts = {word: sum(step.word(field) == word for step in steps) for word in known}
    chances = np.zeros((len(steps), len(known)))
    for row, step in enumerate(steps):
        others = _others(step.word(field), known, counts, scale=field != "kind")
        flips = by_confidence[step.label.confidence] if others else 0.0
        chances[row, known.index(step.word(field))] = 1 - flips
        for word, weight in others.items():
            chances[row, known.index(word)] = flips * weight
    return chances


def _others(
    word: str, known: Sequence[str], counts: Mapping[str, int], scale: bool
) -> dict[str, float]:
    """Return where a flip of ``word`` goes, with weights that add up to one."""
    if scale:
        place = known.index(word)
        near = [known[i] for i in (place - 1, place + 1) if 0 <= i < len(known)]
        near = [one for one in near if one != NEVER_GAINED]
        return {one: 1 / len(near) for one in near}
    rest = {one: count for one, count in counts.items() if one != word and count}
    return {one: count / sum(rest.values()) for one, count in rest.items()}
