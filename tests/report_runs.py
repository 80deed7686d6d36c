"""The sample sweep with every scoring stage run over it, and the rows of a report's tables."""

from __future__ import annotations

import csv
import io
from pathlib import Path

import audit_runs
import sweep_files
from speedrun import trials
from speedrun.adapters import embedders
from speedrun.stages import audit, judge, review, score, similarity

PNG = b"\x89PNG\r\n\x1a\n"


def scored(root: Path) -> trials.Plan:
    """Run every scoring stage over the sample sweep; times are drawn, the rest is real."""
    plan = sweep_files.sweep(root, rounds=6)
    score_all(plan, root)
    return plan


def clocks(code: str, seed: int) -> float:
    """Return the times of the sample sweep's programs; any other takes as long as the agent's."""
    known = (sweep_files.START, sweep_files.TARGET)
    return audit_runs.drifting(code if code in known else sweep_files.AGENT, seed)


def score_all(plan: trials.Plan, root: Path) -> None:
    sweep, task = root / "sweep", "r01-r02"
    paths = [
        sweep / stage / "nano" / f"{task}.json"
        for stage in ("audit", "similarity", "judge", "review", "score")
    ]
    run = audit_runs.timed_run([], clocks)
    review.review_task(plan, task, root / "reviews", None, paths[3])
    audit.audit_task(plan, task, run, root / "store", paths[0], "spec", review=paths[3])
    similarity.measure_task(plan, task, embedders.make(plan.embedder, root), 12, paths[1])
    judge.judge_task(plan, task, judge.recorded_judge(Path("absent/replies")), paths[2])
    score.score_task(plan, task, *paths)


def rows(path: Path) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(path.read_text())))
