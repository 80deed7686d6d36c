"""A small finished sweep on disk for the tests of the scoring stages: real files, made-up times."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from speedrun import files, schema, trials
from speedrun.schema import Outcome

START = "import time\n\nlr = 0.1\nsteps = 100\n\n\ndef train(steps):\n    return steps * lr\n"
TARGET = START.replace("lr = 0.1", "lr = 0.4").replace("steps * lr", "steps * lr * 2")
AGENT = START.replace("lr = 0.1", "lr = 0.4")
RUBRIC = """changes:
  - {id: lr, change: "the learning rate is four times as high", weight: 1}
  - {id: double, change: "the result is doubled", weight: 3}
"""
TRACK = schema.TrackSpec(
    name="nano",
    corpus="nano",
    records=["r01", "r02"],
    entry="train.py",
    target_loss=3.5,
    clock="cpu",
    probe_contexts=8,
    probe_length=4,
    probe_offset=0.0,
    probe_tolerance=0.3,
    after_clock_s_max=3.0,
    train_time_ratio_min=0.5,
)


def analysis(outcome: Outcome, time_s: float | None, **changes: Any) -> schema.Analysis:
    """Return an analysis with a two-point curve where the run got that far."""
    reached = outcome in (Outcome.OK, Outcome.MISSED_TARGET)
    loss = {Outcome.OK: 3.4, Outcome.MISSED_TARGET: 3.9}.get(outcome)
    clock = time_s or 9.0
    curve = [
        schema.CurvePoint(0, 100, 6.0, 0, 0.1, 0.1),
        schema.CurvePoint(100, 100, loss or 9.9, int(clock * 900), clock, clock),
    ]
    values: dict[str, Any] = {
        "outcome": outcome,
        "reason": "" if outcome is Outcome.OK else f"{outcome} for a test",
        "val_loss": loss,
        "time_s": time_s if outcome is Outcome.OK else None,
        "train_time_ms": int(clock * 900) if reached else None,
        "steps": 100 if reached else None,
        "curve": curve if reached else [],
        "probes": None,
        "device_seconds": None if outcome is Outcome.REFUSED else clock,
        "digest": "",
    }
    return schema.Analysis(**(values | changes))


def node(
    folder: Path, code: str | None, result: schema.Analysis, calls: list[schema.Call] | None = None
) -> None:
    """Write one node as generate, train and analyze leave it."""
    number = int(folder.name.removeprefix("node_"))
    if code is not None:
        files.write_tree(folder / "solution", {"train.py": code})
    parent = schema.Parent(number, number - 1, number, "improve", None, "", "", 3, 1)
    schema.save(folder / "parent.json", parent)
    ran = code is not None
    run = schema.RunExit(ran=ran, reason="exited" if ran else "not_run", sandbox="bubblewrap")
    schema.save(folder / "run" / "exit.json", run)
    schema.save(folder / "analysis.json", result)
    if calls is not None:
        lines = "".join(json.dumps(schema.to_dict(call)) + "\n" for call in calls)
        files.write_text(folder / "calls.jsonl", lines)


def call(tokens_in: int | None, tokens_out: int | None, cost_usd: float | None) -> schema.Call:
    """Return one model call."""
    return schema.Call(0, "p", "r", tokens_in, tokens_out, cost_usd, 1.0, "model")


def sweep(root: Path, rounds: int = 4) -> trials.Plan:
    """Write a task, its references and four trials: oracle, null, agent and one that failed."""
    task = root / "tasks" / "nano" / "r01-r02"
    files.write_tree(task / "public" / "start", {"train.py": START})
    files.write_tree(task / "private" / "target", {"train.py": TARGET})
    files.write_text(task / "private" / "rubric.yaml", RUBRIC)
    for record, times in {"r01": (10.0, 10.4), "r02": (5.0, 5.2)}.items():
        for i, time_s in enumerate(times):
            folder = root / "references" / "nano" / "cpu" / record / f"run_{i}"
            schema.save(folder / "analysis.json", analysis(Outcome.OK, time_s))
    _trials(root)
    files.write_json(root / "sweep" / "plan.json", plan_values(root, rounds))
    return trials.load(root / "sweep" / "plan.json")


def _trials(root: Path) -> None:
    base = root / "trials" / "nano" / "r01-r02"
    ok, missed = analysis(Outcome.OK, 7.0), analysis(Outcome.MISSED_TARGET, 6.0)
    node(base / "oracle-aa" / "s0" / "node_1", TARGET, analysis(Outcome.OK, 5.1))
    node(base / "null-bb" / "s0" / "node_1", START, analysis(Outcome.OK, 10.2))
    agent = base / "replay-cc" / "s0"
    node(agent / "node_1", START, analysis(Outcome.OK, 9.0), [call(100, 10, 0.5)])
    node(agent / "node_2", AGENT, ok, [call(200, 20, None)])
    failed = base / "tuner-dd" / "s0"
    node(failed / "node_1", "raise SystemExit(1)\n", analysis(Outcome.CANDIDATE_ERROR, None))
    node(failed / "node_2", AGENT, missed)
    node(failed / "node_3", None, analysis(Outcome.REFUSED, None))
    node(failed / "node_4", AGENT, analysis(Outcome.OK, 1.0))  # beyond the budget of three


def plan_values(root: Path, rounds: int) -> dict[str, Any]:
    """Return plan.json's content."""
    arms = [("oracle-aa", 1), ("null-bb", 1), ("replay-cc", 2), ("tuner-dd", 3)]
    trial = {"task": "r01-r02", "model": "none", "scaffold": "tree", "hints": "none"}
    trial |= {"mode": "reproduce", "seed": 0}
    base = root / "trials" / "nano" / "r01-r02"
    runs = root / "references" / "nano" / "cpu"
    return {
        "sweep": "test",
        "track": schema.to_dict(TRACK),
        "hardware": "cpu",
        "config_digest": "0" * 8,
        "config": {"hardware": {"sandbox": "bubblewrap"}},
        "references": {r: [str(runs / r / f"run_{i}") for i in (0, 1)] for r in ("r01", "r02")},
        "tasks": [
            {
                "task": "r01-r02",
                "start": "r01",
                "target": "r02",
                "folder": str(root / "tasks" / "nano" / "r01-r02"),
            }
        ],
        "trials": [
            trial
            | {"arm": name.split("-")[0], "coder": name.split("-")[0], "n_nodes": count}
            | {"folder": str(base / name / "s0")}
            for name, count in arms
        ],
        "audit": {
            "rounds": rounds, "lanes": 1, "equivalence_margin": 0.25, "confidence": 0.9,
            "loss_p_max": 0.01,
        },
        "embedder": {"name": "lexical", "features": 512, "chunk_lines": 12},
        "judge": {"name": "recorded", "kind": "recorded", "replies": "replies/judge"},
    }  # fmt: skip
