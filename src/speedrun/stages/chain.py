"""chain: where a cumulative trial starts, its own best solution of the task before.

A link of the chain is the folder ``start/`` of a trial: chain.json always, and solution/ and
analysis.json of the winner where there is one. Where the trial before has no winner, or its own
chain had ended, so has this one: its nodes are not attempted, nothing is asked and nothing is run.
"""

from __future__ import annotations

from pathlib import Path

from speedrun import files, schema, trials
from speedrun.schema import Outcome, Parent
from speedrun.search import ROOT
from speedrun.trials import SOLUTION, Link


def build(source: Path, n_nodes: int, out: Path) -> Link:
    """Write the link ``out`` from the finished trial ``source`` with its ``n_nodes`` nodes.

    The winner is the fastest node that reached the target in its one run of the search, as
    everywhere; whether an audit confirms it is not known yet. Errors: SpeedrunError where a node
    of ``source`` is not finished.
    """
    won = None
    link = _ended_before(source)
    if link is None:
        won = trials.winner(trials.nodes_in(source, n_nodes))
        link = _ends_here(source, n_nodes) if won is None else _goes_on(source, won)
    _write_start(out, won)
    files.write_json(out / trials.LINK, link.to_json())
    return link


def _write_start(out: Path, won: trials.Node | None) -> None:
    """Write solution/ and analysis.json, or take away those of an earlier link."""
    if won is None:
        files.write_tree(out / SOLUTION, {})
        (out / trials.ANALYSIS).unlink(missing_ok=True)
        return
    files.write_tree(out / SOLUTION, files.read_tree(won.solution))
    schema.save(out / trials.ANALYSIS, won.analysis)


def _ended_before(source: Path) -> Link | None:
    before = trials.link(source / trials.START)
    return Link(str(source), None, True, before.reason) if before and before.ended else None


def _ends_here(source: Path, n_nodes: int) -> Link:
    reason = f"the chain ended at {_name(source)}: none of {n_nodes} nodes reached the target"
    return Link(str(source), None, True, reason)


def _goes_on(source: Path, won: trials.Node) -> Link:
    reason = f"node {won.number} of {_name(source)}, {won.analysis.time_s:.2f} s in its search run"
    return Link(str(source), won.number, False, reason, files.digest_tree(won.solution))


def _name(source: Path) -> str:
    """Return a trial's task, arm and seed, e.g. r01-r02/agent-1a2b3c4d/s0."""
    return "/".join(source.parts[-3:])


def skip_node(node: int, generation: int, link: Link, out: Path) -> Parent:
    """Write the folder of a node that is not attempted: no code, no call, the reason why."""
    parent = Parent(
        node=node,
        parent=ROOT,
        generation=generation,
        action="draft",
        outcome=Outcome.NOT_ATTEMPTED,
        reason=link.reason,
        solution_digest="",
        lines_added=0,
        lines_removed=0,
    )
    files.write_tree(out / SOLUTION, {})
    files.write_tree(out / "replies", {})
    for name in ("prompt.md", "calls.jsonl"):
        files.write_text(out / name, "")
    schema.save(out / "parent.json", parent)
    return parent
