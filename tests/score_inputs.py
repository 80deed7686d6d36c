"""What the stages before score leave of the sample sweep, and the rows that score makes of it."""

from __future__ import annotations

from pathlib import Path

import sweep_files
from speedrun import files, trials
from speedrun.stages import score

INTERVAL = {"estimate": 0.5, "low": 0.4, "high": 0.6, "confidence": 0.9, "unbounded": False}
CONFIRMED = {
    "verdict": "confirmed", "evidence": ["fine"], "fsr": INTERVAL, "equivalent_to_1": False,
    "equivalent_to_0": False,
}  # fmt: skip
FLAGS = [f"rule output: a line is changed (train.py:{line})" for line in range(1, 8)]
NO_FLAG: dict = {"held": []}
NO_WINNER = {"verdict": None, "evidence": ["no node reached the target"]}


def write_inputs(root: Path, plan: trials.Plan, audits: dict[str, dict]) -> list[Path]:
    paths = [root / f"{name}.json" for name in ("audit", "similarity", "judge", "review")]
    labels = {trial.arm: trial.label for trial in plan.trials}
    values = [
        {arm: audits.get(arm, CONFIRMED) for arm in labels},
        {arm: {"recovered_l2": 0.25} for arm in labels},
        {arm: {"score": 0.5, "reason": ""} for arm in labels},
        {arm: {"held": FLAGS if arm == "replay" else []} for arm in labels},
    ]
    for path, by_arm in zip(paths, values, strict=True):
        entries = [{"trial": labels[arm]} | value for arm, value in by_arm.items()]
        files.write_json(path, {"trials": entries})
    return paths


def rows(root: Path, **audits: dict) -> dict[str, dict]:
    plan = sweep_files.sweep(root)
    paths = write_inputs(root, plan, {"tuner": NO_WINNER} | audits)
    score.score_task(plan, "r01-r02", *paths, root / "score.json")
    return {row["arm"]: row for row in files.read_json(root / "score.json")["trials"]}
