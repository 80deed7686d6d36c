"""Everything that the history's tables, figures and pages show, calculated once."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np

from speedrun import classification
from speedrun.classification import FIELDS, Label
from speedrun.registry import Registry
from speedrun.stages.history import agreement, noise, order, published, shares, steps
from speedrun.stages.history.noise import Band, Passes
from speedrun.stages.history.published import FIGURES, Compared, Figure, Published
from speedrun.stages.history.shares import Share
from speedrun.stages.history.steps import Step

LABELS, PASSES, PUBLISHED = "labels.csv", ("pass_a.csv", "pass_b.csv"), "published.yaml"
ORDER_DRAWS = 200  # of depths, for the test of their places
FIGURE_DRAWS = 1000  # of labels, for figures that are no shares
# which field's labels decide a published figure
DECIDED_BY = {
    "shallow_and_moderate": "depth",
    "imported": "provenance",
    "adapted": "provenance",
    "invented": "provenance",
    "invented_since_2025_percent": "provenance",
    "invented_first_20": "provenance",
    "ai_deep": "depth",
}


@dataclass(frozen=True)
class History:
    """The chain, its labels, and what others published of it."""

    registry: Registry
    labels: dict[int, Label]
    passes: Passes
    published: Published

    @cached_property
    def steps(self) -> list[Step]:
        """All steps."""
        return steps.steps_of(self.registry, self.labels)

    @cached_property
    def scopes(self) -> dict[str, list[Step]]:
        """The steps that the note covers, those after it, and all."""
        last = self.published.note.last_record
        return {
            f"1-{last}": [step for step in self.steps if step.number <= last],
            f"{last + 1}-{self.steps[-1].number}": [s for s in self.steps if s.number > last],
            f"1-{self.steps[-1].number}": self.steps,
        }

    @property
    def of_note(self) -> list[Step]:
        """The steps that the note covers."""
        return next(iter(self.scopes.values()))

    @cached_property
    def rates(self) -> dict[tuple[str, str], dict[str, float]]:
        """The chance of a flip by confidence, by field and noise."""
        return {
            (field, name): noise.rates(self.labels, self.passes, field, name)
            for field in FIELDS
            for name in noise.NOISES
        }

    @cached_property
    def agreement(self) -> list[agreement.Agreement]:
        """The two passes against each other."""
        return agreement.agreement(*self.passes)

    @cached_property
    def compared(self) -> list[Compared]:
        """The published figures beside ours."""
        return [
            Compared(
                one, FIGURES[one.key](self.of_note), FIGURES[one.key](self.steps), self._moved(one)
            )
            for one in self.published.figures
        ]

    def _moved(self, figure: Figure) -> tuple[float, float] | None:
        """Return the 95 % interval of a figure when labels are doubted, where they decide it."""
        field = DECIDED_BY.get(figure.key)
        if field is None:
            return None
        drawn = self._drawn[field]
        low, high = np.quantile([FIGURES[figure.key](one) for one in drawn], [0.025, 0.975])
        return float(low), float(high)

    @cached_property
    def _drawn(self) -> dict[str, list[list[Step]]]:
        return {
            field: list(
                noise.relabelled(self.of_note, field, self.rates[field, "doubted"], FIGURE_DRAWS)
            )
            for field in set(DECIDED_BY.values())
        }

    def doubted_p(self, scope: Sequence[Step]) -> tuple[float, float] | None:
        """Return the 95 % interval of ``p_front`` when depths are doubted, None without deep."""
        drawn = noise.relabelled(scope, "depth", self.rates["depth", "doubted"], ORDER_DRAWS)
        found = [place.p_front for one in drawn if (place := order.placement(one, critical=False))]
        if not found or order.placement(scope) is None:
            return None
        low, high = np.quantile(found, [0.025, 0.975])
        return float(low), float(high)

    def bands(self, scope: Sequence[Step], field: str, name: str) -> dict[str, Band]:
        """Return the interval of each word's share under a noise."""
        return noise.bands(scope, field, self.rates[field, name])

    def shares(self, scope: Sequence[Step], field: str) -> list[Share]:
        """Return the shares of a field's words, or of the contributors."""
        return shares.contributors(scope) if field == "contributor" else shares.shares(scope, field)


def load(registry: Registry, folder: Path) -> History:
    """Read the labels, both passes and what was published from ``folder``.

    Errors: a SpeedrunError that names the file and what is wrong in it.
    """
    numbers = steps.numbers(registry)
    first, second = (classification.load(folder / name, numbers) for name in PASSES)
    labels = classification.load(folder / LABELS, numbers)
    return History(registry, labels, (first, second), published.load(folder / PUBLISHED))


def factor(share: float, scope: Sequence[Step]) -> float:
    """Return the speedup that a share of a scope's log speedup is."""
    return math.exp(share * math.fsum(step.ln_gain for step in scope))
