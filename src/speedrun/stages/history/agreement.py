"""How well two readers agree, and how well the labels agree with the published ones.

Cohen's kappa is the agreement beyond what two readers with these frequencies reach by chance
(scikit-learn's); on the scales of depth and provenance it is weighted linearly, so that neighbours
count as half wrong or less.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from speedrun.classification import FIELDS, WORDS, Label
from speedrun.stages.history.published import PublishedLabel

WEIGHTED = ("depth", "provenance")


@dataclass(frozen=True)
class Agreement:
    """Two readers' agreement in one field; kappa is None where one word is all there is."""

    field: str
    n: int
    same: int
    kappa: float | None
    weighted: float | None  # of a scale

    @property
    def raw(self) -> float:
        """The share of equal labels."""
        return self.same / self.n


@dataclass(frozen=True)
class Difference:
    """A step that two readers gave different words, and what was settled."""

    record: int
    field: str
    first: str
    second: str
    settled: str
    why: str


def agreement(first: Mapping[int, Label], second: Mapping[int, Label]) -> list[Agreement]:
    """Return the agreement of two passes over the same records, field by field."""
    return [_field(first, second, field) for field in FIELDS]


def _field(first: Mapping[int, Label], second: Mapping[int, Label], field: str) -> Agreement:
    one, other = ([getattr(reader[n], field) for n in first] for reader in (first, second))
    same = sum(a == b for a, b in zip(one, other, strict=True))
    if len({*one, *other}) == 1:  # no chance to differ: kappa is 0 / 0
        return Agreement(field, len(one), same, None, None)
    weights = "linear" if field in WEIGHTED else None
    weighted = _kappa(one, other, field, weights) if weights else None
    return Agreement(field, len(one), same, _kappa(one, other, field, None), weighted)


def _kappa(one: list[str], other: list[str], field: str, weights: str | None) -> float:
    from sklearn.metrics import cohen_kappa_score

    known = list(WORDS[field]) if weights else None  # the scale's order decides the weights
    return float(cohen_kappa_score(one, other, labels=known, weights=weights))


def differences(
    first: Mapping[int, Label], second: Mapping[int, Label], labels: Mapping[int, Label]
) -> Iterator[Difference]:
    """Yield what the passes disagree on, in the records' order."""
    for number, label in labels.items():
        for field in FIELDS:
            one, other = getattr(first[number], field), getattr(second[number], field)
            if one != other:
                settled = str(getattr(label, field))
                yield Difference(number, field, one, other, settled, label.resolved)


@dataclass(frozen=True)
class Beside:
    """A published label beside ours."""

    record: int
    field: str
    published: str
    ours: str
    evidence: str
    confidence: str

    @property
    def same(self) -> bool:
        """Whether they agree."""
        return self.published == self.ours


def beside(published: list[PublishedLabel], labels: Mapping[int, Label]) -> list[Beside]:
    """Return every published label with ours and our evidence."""
    found = []
    for one in published:
        label = labels[one.record]
        ours = str(getattr(label, one.field))
        found.append(
            Beside(one.record, one.field, one.word, ours, label.evidence, label.confidence)
        )
    return found
