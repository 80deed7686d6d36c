"""Who and what the speedup is due to: shares of its logarithm, so that they add up to one."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

from speedrun.stages.history.steps import Step, words


@dataclass(frozen=True)
class Share:
    """One word's part of a speedup: ``factor`` is its own speedup, exp(ln_gain)."""

    field: str
    word: str
    n: int  # steps
    ln_gain: float
    share: float  # of the scope's whole log speedup

    @property
    def factor(self) -> float:
        """The speedup of these steps alone."""
        return math.exp(self.ln_gain)


def shares(steps: Sequence[Step], field: str) -> list[Share]:
    """Return each word's share of depth, provenance, kind or half_year, in the words' order."""
    return [
        _share(field, word, [step for step in steps if step.word(field) == word], steps)
        for word in words(field, steps)
    ]


def contributors(steps: Sequence[Step]) -> list[Share]:
    """Return the share of everybody credited, largest first; a step counts equally for its people.

    ``n`` counts a step for each of them, so that it adds up to more than there are steps.
    """
    parts: defaultdict[str, list[float]] = defaultdict(list)
    for step in steps:
        for name in step.contributors:
            parts[name].append(step.ln_gain / len(step.contributors))
    whole = math.fsum(step.ln_gain for step in steps)
    found = [
        Share("contributor", name, len(gains), math.fsum(gains), math.fsum(gains) / whole)
        for name, gains in parts.items()
    ]
    return sorted(found, key=lambda share: (-share.share, share.word.lower()))


def credited_to_ai(steps: Sequence[Step]) -> list[Step]:
    """Return the steps for which upstream credits an AI system."""
    return [step for step in steps if step.target.ai_system]


def _share(field: str, word: str, mine: Sequence[Step], steps: Sequence[Step]) -> Share:
    whole = math.fsum(step.ln_gain for step in steps)
    gain = math.fsum(step.ln_gain for step in mine)
    return Share(field, word, len(mine), gain, gain / whole)


def part(steps: Sequence[Step], mine: Sequence[Step]) -> float:
    """Return the share of some steps in the log speedup of all."""
    return _share("", "", mine, steps).share
