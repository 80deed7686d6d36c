"""Search policies: which nodes are proposed together, and which node each one starts from.

Pure and seeded, on the standard library alone. A node's generation, and so the nodes that it
sees, depend on the scaffold and never on the budget: a larger budget only adds nodes.

All five scaffolds of the paper (arXiv 2506.22419, table 2) are one policy with four numbers. One
choice is made for a generation, and all its nodes share the parent: with probability ``p_debug`` a
buggy leaf of the whole tree, if there is one that is not too deep; otherwise the best of all nodes
so far, the start record among them. So a debug step that fails never loses the best node, and
debugging branches as improving does. Failures of the infrastructure are no outcomes: they leave a
node unfinished, and the policy never hears of them.
"""

from __future__ import annotations

import hashlib
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from speedrun import schema
from speedrun.files import SpeedrunError
from speedrun.schema import Outcome

ROOT = 0  # the start record
# A missed target and a crash are told apart in ``why``; both leave code that can be worked on.
BUGGY = (Outcome.MISSED_TARGET, Outcome.CANDIDATE_ERROR, Outcome.OOM, Outcome.TIMEOUT)


@dataclass(frozen=True)
class Scaffold:
    """config/scaffold/<name>.yaml without the budget. The root is no member of a generation.

    ``n_initial`` None means that the whole budget is one generation (flat).
    """

    name: str
    n_initial: int | None  # N0: nodes of the first generation, all from the root
    n_branch: int = 1  # N: nodes of every later generation
    p_debug: float = 0.0  # probability that a generation debugs, where there is something to debug
    max_debug_depth: int = 0  # D_max: the debug depth beyond which a buggy node is given up

    def __post_init__(self) -> None:
        """Refuse sizes that would make an empty generation, and debugging that cannot happen."""
        if (self.n_initial is not None and self.n_initial < 1) or self.n_branch < 1:
            raise self._error(
                f"n_initial and n_branch must be at least 1, "
                f"got {self.n_initial} and {self.n_branch}"
            )
        if not 0 <= self.p_debug <= 1:
            raise self._error(f"p_debug must be between 0 and 1, got {self.p_debug}")
        if self.max_debug_depth < (1 if self.p_debug else 0):
            raise self._error(
                f"max_debug_depth must be at least 1 where p_debug is above 0, "
                f"got {self.max_debug_depth}"
            )

    def _error(self, fault: str) -> SpeedrunError:
        where = f"see config/scaffold/{self.name}.yaml"
        return SpeedrunError(f"scaffold {self.name}: {fault}; {where}")


@dataclass(frozen=True)
class Seen:
    """What a policy may know of an earlier node. ``time_s`` is None unless it was measured."""

    node: int
    parent: int
    outcome: Outcome
    time_s: float | None
    val_loss: float | None
    has_code: bool = True  # without code there is nothing to debug


@dataclass(frozen=True)
class Choice:
    """Where a generation starts from, and why.

    A draft leaves the root, an improvement the best node, a debug a buggy leaf.
    """

    parent: int
    action: str  # "draft" | "improve" | "debug"
    generation: int
    why: str = ""  # for parent.json, e.g. "best so far", "debug: missed_target, depth 2"


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


def generations_left(scaffold: Scaffold, node: int, n_nodes: int) -> int:
    """Return how many generations come after that of ``node`` in a budget of ``n_nodes``."""
    return generation_of(scaffold, n_nodes) - generation_of(scaffold, node)


def earlier_nodes(scaffold: Scaffold, node: int) -> list[int]:
    """Return the nodes whose analyses ``node`` needs: all of earlier generations, root excluded."""
    own = generation_of(scaffold, node)
    return [other for other in range(1, node) if generation_of(scaffold, other) < own]


def node_seed(trial: str, node: int) -> int:
    """Return the seed of a node's random choices, in [0, 2**32), from the trial's name."""
    return _seed(f"{trial}/node_{node}")


def _seed(name: str) -> int:
    return int.from_bytes(hashlib.sha256(name.encode()).digest()[:4], "big")


def best_node(nodes: Sequence[Seen]) -> int:
    """Return the fastest node that reached the target, the lower id on a tie, else the root."""
    timed = [(seen.time_s, seen.node) for seen in nodes if _reached(seen)]
    return min(timed)[1] if timed else ROOT


def _reached(seen: Seen) -> bool:
    return seen.outcome is Outcome.OK and seen.time_s is not None


def is_buggy(seen: Seen) -> bool:
    """Say whether a node's code failed in a way that more work on it may mend.

    The start record never counts, nor does a broken rule: mending that is another attempt.
    """
    return seen.node != ROOT and seen.has_code and seen.outcome in BUGGY


def debug_depth(nodes: Sequence[Seen], node: int) -> int:
    """Return how many buggy nodes in a row end in ``node``, itself included; 0 if it is none."""
    by_node = {seen.node: seen for seen in nodes}
    depth = 0
    while is_buggy(by_node[node]):
        depth, node = depth + 1, by_node[node].parent
    return depth


def debuggable(scaffold: Scaffold, nodes: Sequence[Seen]) -> list[int]:
    """Return the buggy leaves of the whole tree that are at most D_max deep, in node order."""
    parents = {seen.parent for seen in nodes}
    leaves = sorted(seen.node for seen in nodes if seen.node not in parents)
    return [leaf for leaf in leaves if 1 <= debug_depth(nodes, leaf) <= scaffold.max_debug_depth]


def choose_parent(scaffold: Scaffold, nodes: Sequence[Seen], node: int, trial: str) -> Choice:
    """Choose the parent of ``node`` among the root and all earlier generations.

    ``nodes`` must hold the root and exactly ``earlier_nodes``. The draw is seeded by the trial's
    name and the generation, so that all nodes of a generation make the same choice.
    """
    expected = [ROOT, *earlier_nodes(scaffold, node)]
    if sorted(seen.node for seen in nodes) != expected:
        raise SpeedrunError(f"node {node} must choose among the nodes {expected}")
    generation = generation_of(scaffold, node)
    leaf = _leaf_to_debug(scaffold, nodes, _seed(f"{trial}/generation_{generation}"))
    if leaf is None:
        return _from_best(nodes, generation)
    outcome = next(seen.outcome for seen in nodes if seen.node == leaf)
    why = f"debug: {outcome}, depth {debug_depth(nodes, leaf)}"
    return Choice(leaf, "debug", generation, why)


def _leaf_to_debug(scaffold: Scaffold, nodes: Sequence[Seen], seed: int) -> int | None:
    """Return the leaf that a generation debugs, None where the draw or the tree says none."""
    leaves = debuggable(scaffold, nodes)
    draw = random.Random(seed)
    # Python promises the same sequence in every version for random() alone.
    wanted, picked = draw.random() < scaffold.p_debug, draw.random()
    return leaves[int(picked * len(leaves))] if wanted and leaves else None


def _from_best(nodes: Sequence[Seen], generation: int) -> Choice:
    parent = best_node(nodes)
    if parent != ROOT:
        return Choice(parent, "improve", generation, "best so far")
    others = [seen for seen in nodes if seen.node != ROOT]
    if not others:
        why = "first generation"
    elif any(map(_reached, others)):
        why = "no node is faster than the start"
    else:
        why = "no node has reached the target"
    return Choice(ROOT, "draft", generation, why)
