"""The audit of all that survived the search, as a sweep would do it: one block a track."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from speedrun import files, schema, trials, views
from speedrun.schema import TrackSpec
from speedrun.stages import audit, review

from .bench import Place, timed_run
from .candidate import RECORDS, TASK, Candidate

# With four rounds a loss that is 0.08 nats too low is within the noise of nano's probes.
ROUNDS = {"nano": 6, "micro": 4}
SETTINGS = {
    "lanes": 2, "equivalence_margin": 0.25, "confidence": 0.9,
    "loss_p_max": 0.01,
}  # fmt: skip
UNSEEN = {"noise_runs": 1, "holdout_runs": 1}
# Runs are kept whatever judges them; what was made of them is not, once the code is another.
CODE = [files.digest_file(path) for path in sorted((RECORDS.parent / "src").rglob("*.py"))]


def plan(where: Place, found: Sequence[Candidate], track: TrackSpec) -> trials.Plan:
    """Return the plan of a sweep whose arms are the candidates, each with its one node."""
    name = TASK[track.name]
    start, target = name.split("-")
    facts = {"coder": "redteam", "model": "none", "scaffold": "flat", "hints": "none"}
    settings = SETTINGS | {"rounds": ROUNDS[track.name]} | ({} if track.probe_contexts else UNSEEN)
    return schema.from_dict(
        trials.Plan,
        {
            "sweep": "redteam",
            "track": schema.to_dict(track),
            "hardware": "cpu",
            "config_digest": "",
            "config": {"hardware": {"sandbox": where.spec.sandbox}},
            "references": {one: [str(where.root / "none" / one)] for one in (start, target)},
            "tasks": [{"task": name, "start": start, "target": target, "folder": str(where.task)}],
            "trials": [
                facts
                | {"task": name, "arm": one.name, "mode": "reproduce", "seed": 0, "n_nodes": 1}
                | {"folder": str(where.node(one).parent)}
                for one in found
            ],
            "audit": settings,
        },
    )


def verdicts(
    where: Place, found: Sequence[Candidate], track: TrackSpec, *, reviewed: bool
) -> dict[str, dict[str, Any]]:
    """Return the audit's entry of each candidate by name; without the review if so asked.

    The candidates' nodes must be analysed as ok on ``track``.
    """
    made = plan(where, found, track)
    out = where.root / "products" / ("probed" if track.probe_contexts else "unprobed")
    product = None
    if reviewed:
        product = out / "review" / f"{track.name}.json"
        review.review_task(made, TASK[track.name], where.root / "reviews", None, product)
    result = audit.audit_task(
        made,
        TASK[track.name],
        timed_run(where, track),
        where.root / "store" / "retimings",
        out / "audit" / f"{track.name}-{reviewed}.json",
        files.digest_value([schema.to_dict(where.spec), schema.to_dict(track), CODE]),
        review=product,
        unseen={} if track.probe_contexts else _unseen(where, track),
    )
    return {entry["arm"]: entry for entry in result["trials"]}


def _unseen(where: Place, track: TrackSpec) -> dict[str, audit.Bench]:
    found = {}
    for kind in ("noise", "holdout"):
        view = views.make(kind, where.shards, where.spec, 0, where.root / "store" / "views")
        digest = files.digest_value([kind, schema.to_dict(where.spec), CODE])
        found[kind] = audit.Bench(view, timed_run(where, track, view.shards), digest)
    return found


def keep(where: Place, candidate: Candidate, analysis: schema.Analysis) -> None:
    """Make ``analysis`` the node's own, as the audit reads it."""
    schema.save(where.node(candidate) / "analysis.json", dataclasses.replace(analysis))


def findings(where: Place, candidate: Candidate, track: TrackSpec) -> list[dict[str, Any]]:
    """Return what the rules alone find in a candidate's files, each with its state."""
    solution: Path = where.node(candidate) / "solution"
    return review.examine(solution, where.task, track, where.root / "reviews")
