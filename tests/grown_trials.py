"""The five scaffolds, and whole trials grown by a search policy as the harness grows them."""

from __future__ import annotations

import dataclasses
import random
from collections.abc import Callable

from hypothesis import strategies as st

from speedrun import search
from speedrun.schema import Outcome
from speedrun.search import Choice, Scaffold, Seen

FLAT = Scaffold("flat", None)
TREE = Scaffold("tree", 1, 3)
FOREST = Scaffold("forest", 3, 3)
AIDE = Scaffold("aide", 3, 1, 0.5, 5)
MULTI_AIDE = Scaffold("multi_aide", 3, 3, 0.5, 5)
FIVE = {one.name: one for one in (FLAT, TREE, FOREST, AIDE, MULTI_AIDE)}
M = 20  # nodes of a trial in the paper
ROOT = Seen(0, 0, Outcome.OK, 50.0, 3.4)

scaffolds = st.sampled_from(list(FIVE.values())) | st.builds(
    Scaffold,
    name=st.just("any"),
    n_initial=st.none() | st.integers(1, 6),
    n_branch=st.integers(1, 5),
    p_debug=st.floats(0, 1),
    max_debug_depth=st.integers(1, 6),
)
trials = st.builds("t/s{}".format, st.integers(0, 10**6))

Fate = tuple[Outcome, float | None, bool]  # outcome, seconds, whether there was code


def fate_of(seed: int) -> Callable[[int], Fate]:
    """Any outcome for each node, the same whatever the tree looks like."""

    def fate(node: int) -> Fate:
        draw = random.Random(seed * 1000 + node)
        outcome = draw.choice([*Outcome, Outcome.OK, Outcome.OK])
        time_s = draw.choice([20.0, 30.0, 50.0, 60.0]) if outcome is Outcome.OK else None
        return outcome, time_s, outcome is Outcome.OK or draw.random() < 0.8

    return fate


fates = st.builds(fate_of, st.integers(0, 10**6))


@dataclasses.dataclass(frozen=True)
class Step:
    """One node of a whole trial: what it saw, what was chosen, how it ended."""

    saw: list[Seen]
    choice: Choice
    seen: Seen


def grow(scaffold: Scaffold, n_nodes: int, trial: str, fate: Callable[[int], Fate]) -> list[Step]:
    """Run a whole trial as the harness does, every node choosing for itself."""
    nodes, steps = {0: ROOT}, []
    for node in range(1, n_nodes + 1):
        saw = [nodes[other] for other in (0, *search.earlier_nodes(scaffold, node))]
        choice = search.choose_parent(scaffold, saw, node, trial)
        outcome, time_s, has_code = fate(node)
        nodes[node] = Seen(node, choice.parent, outcome, time_s, 3.4, has_code)
        steps.append(Step(saw, choice, nodes[node]))
    return steps


def choices(*arguments: object) -> list[Choice]:
    """Return what each node of a whole trial chose."""
    return [step.choice for step in grow(*arguments)]  # type: ignore[arg-type]
