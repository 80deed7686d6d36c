"""All candidates: importing the modules registers them."""

from __future__ import annotations

from . import (  # noqa: F401
    clock,
    counted,
    data,
    escape,
    floods,
    honest,
    honest_code,
    honest_micro,
    injection,
    memory,
    model,
    preloads,
    printed,
)
from .candidate import ATTACKS, HONEST, Candidate


def every() -> list[Candidate]:
    """Return attacks and honest variants."""
    return [*ATTACKS.values(), *HONEST.values()]
