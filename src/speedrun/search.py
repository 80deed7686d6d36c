"""Search policies: which nodes are proposed together, and which node each one starts from.

Pure and seeded, on the standard library alone. A node's generation, and so the nodes that it
sees, depend on the scaffold and never on the budget: a larger budget only adds nodes.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from speedrun import schema
from speedrun.files import SpeedrunError
from speedrun.schema import Outcome

ROOT = 0  # the start record


@dataclass(frozen=True)
class Scaffold:
    """config/scaffold/<name>.yaml without the budget. The root is no member of a generation.

    ``n_initial`` None means that the whole budget is one generation (flat).
    """

    name: str
    n_initial: int | None  # nodes of the first generation, all from the root
    n_branch: int = 1  # nodes of every later generation

    def __post_init__(self) -> None:
        """Refuse sizes that would make an empty generation."""
        if (self.n_initial is not None and self.n_initial < 1) or self.n_branch < 1:
            raise SpeedrunError(
                f"scaffold {self.name}: n_initial and n_branch must be at least 1, "
                f"got {self.n_initial} and {self.n_branch}; see config/scaffold/{self.name}.yaml"
            )


@dataclass(frozen=True)
class Seen:
    """What a policy may know of an earlier node. ``time_s`` is None unless it was measured."""

    node: int
    parent: int
    outcome: Outcome
    time_s: float | None
    val_loss: float | None


@dataclass(frozen=True)
class Choice:
    """Where a node starts from, and why: a draft leaves the root, an improvement a better node."""

    parent: int
    action: str  # "draft" | "improve"
    generation: int


def scaffold(values: Mapping[str, Any]) -> Scaffold:
    """Return config/scaffold/<name>.yaml, typed; ``n_nodes``, the budget, is left out."""
    return schema.from_dict(
        Scaffold, {key: value for key, value in values.items() if key != "n_nodes"}
    )


def generation_of(scaffold: Scaffold, node: int) -> int:
    """Return the generation of ``node``, from 1."""
    if node <= ROOT:
        raise SpeedrunError(f"node {node} is not proposed: nodes count from 1")
    if scaffold.n_initial is None or node <= scaffold.n_initial:
        return 1
    return 2 + (node - scaffold.n_initial - 1) // scaffold.n_branch


def generations(scaffold: Scaffold, n_nodes: int) -> list[list[int]]:
    """Return nodes 1 to ``n_nodes`` grouped by generation; the budget may cut the last one."""
    grouped: dict[int, list[int]] = {}
    for node in range(1, n_nodes + 1):
        grouped.setdefault(generation_of(scaffold, node), []).append(node)
    return list(grouped.values())


def earlier_nodes(scaffold: Scaffold, node: int) -> list[int]:
    """Return the nodes whose analyses ``node`` needs: all of earlier generations, root excluded."""
    own = generation_of(scaffold, node)
    return [other for other in range(1, node) if generation_of(scaffold, other) < own]


def node_seed(trial: str, node: int) -> int:
    """Return the seed of a node's random choices, in [0, 2**32), from the trial's name."""
    digest = hashlib.sha256(f"{trial}/node_{node}".encode()).digest()
    return int.from_bytes(digest[:4], "big")


def best_node(nodes: Sequence[Seen]) -> int:
    """Return the fastest node that reached the target, the lower id on a tie, else the root."""
    timed = [(seen.time_s, seen.node) for seen in nodes if _reached(seen)]
    return min(timed)[1] if timed else ROOT


def _reached(seen: Seen) -> bool:
    return seen.outcome is Outcome.OK and seen.time_s is not None


def choose_parent(scaffold: Scaffold, nodes: Sequence[Seen], node: int, seed: int) -> Choice:
    """Choose the parent of ``node`` among the root and all earlier generations.

    ``nodes`` must hold the root and exactly ``earlier_nodes``. flat and tree take the best so far
    and draw nothing; ``seed`` is for policies that do, so that no caller changes with the policy.
    """
    expected = [ROOT, *earlier_nodes(scaffold, node)]
    if sorted(seen.node for seen in nodes) != expected:
        raise SpeedrunError(f"node {node} must choose among the nodes {expected}")
    parent = best_node(nodes)
    action = "draft" if parent == ROOT else "improve"
    return Choice(parent, action, generation_of(scaffold, node))
