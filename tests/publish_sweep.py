"""Writes a small but complete sweep below a folder: two tasks, one arm, every stage."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

from speedrun import files, schema
from speedrun.adapters import mlflow_run
from speedrun.schema import (
    Analysis,
    CurvePoint,
    Outcome,
    Parent,
    ProbeResult,
    RunExit,
    StageRecord,
    TrackSpec,
)

TASKS = ("r01-r02", "r02-r03")
NODES = 2
TRACK = TrackSpec(
    name="nano",
    corpus="nano",
    records=["r01", "r02", "r03"],
    entry="train.py",
    target_loss=3.6,
    clock="cpu",
    probe_contexts=64,
    probe_length=32,
    probe_offset=0.0,
    probe_tolerance=0.1,
    after_clock_s_max=5.0,
    train_time_ratio_min=0.5,
)
# 2 tasks x (1 trial + 2 nodes); corpus, tokenize, 3 records, 2 tasks; 3 references; 2 x 5 + report
RUNS = 2 * 3 + 7 + 3 + 11 + 3  # and the three groups


def write_record(path: Path, stage: str, artifacts: list[str], **values: Any) -> None:
    """Write one StageRecord as the stages do."""
    record = StageRecord(
        stage=stage,
        key=str(path.parent),
        params=values.get("params", {"version": 1, "nested": {"size": 2}}),
        metrics=values.get("metrics", {}),
        inputs={"input": "ab" * 32},
        artifacts=artifacts,
        seconds=1.5,
        host="host-a",
        started=values.get("started", "2026-11-22T04:00:00+00:00"),
        versions={"python": "3.11"},
        tokens=values.get("tokens"),
    )
    schema.save(path, record)


def write_run(folder: Path, time_s: float, outcome: Outcome = Outcome.OK) -> None:
    """Write what train and analyze leave: log, exit, analysis with a curve, summary, records."""
    losses = (5.0, 4.0, 3.5) if outcome is Outcome.OK else (5.0, math.nan)
    curve = [
        CurvePoint(10 * i, 20, loss, 400 * i, 0.5 * i, 0.45 * i) for i, loss in enumerate(losses)
    ]
    reached = outcome is Outcome.OK
    probes = ProbeResult(64, 3.51, 0.02, 3.5, 0.01) if reached else None
    analysis = Analysis(
        outcome=outcome,
        reason="" if reached else "the loss is not a number",
        val_loss=3.5 if reached else None,
        time_s=time_s if reached else None,
        train_time_ms=800 if reached else None,
        steps=20 if reached else None,
        curve=curve,
        probes=probes,
        device_seconds=time_s,
        digest="3 lines",
    )
    schema.save(folder / "analysis.json", analysis)
    schema.save(folder / "run/exit.json", RunExit(True, "exited", 0, wall_s=1.0, peak_rss_mb=99.0))
    files.write_text(folder / "run/log.jsonl", '{"line": "step:20/20"}\n')
    files.write_text(folder / "summary.md", f"# {outcome}\n\nvalidation loss\n")
    write_record(folder / "train.record.json", "train", ["run/log.jsonl", "run/exit.json"])
    metrics = {"time_s": time_s} if reached else {}
    write_record(folder / "analyze.record.json", "analyze", [], metrics=metrics)


def write_node(folder: Path, number: int, source: str, outcome: Outcome) -> None:
    """Write one node: solution, parent, prompt, replies, run."""
    files.write_tree(folder / "solution", {"train.py": source})
    parent = Parent(number, number - 1, number, "improve", None, "", "d", 1, 1, {"lr": 0.01})
    schema.save(folder / "parent.json", parent)
    files.write_text(folder / "prompt.md", "Make it faster.\n")
    files.write_text(folder / "replies/turn_0.md", "Raise the learning rate.\n")
    files.write_text(folder / "calls.jsonl", "")
    write_record(folder / "generate.record.json", "generate", ["solution"], tokens=1200)
    write_run(folder, 20.0 - number, outcome)


def write_pipeline(results: Path) -> None:
    """Write the products before the trials; the shard is larger than what is mirrored."""
    write_text = files.write_text
    write_text(results / "corpus/nano/manifest.json", "{}\n")
    write_record(results / "corpus/nano/corpus.record.json", "corpus", ["manifest.json"])
    shard = results / "shards/nano/public/train_000000.bin"
    files.write_bytes(shard, b"\0" * (mlflow_run.ARTIFACT_MB_MAX * 2**20 + 1))
    write_record(results / "shards/nano/tokenize.record.json", "tokenize", ["public"])
    for record in ("r01", "r02", "r03"):
        folder = results / "records/nano" / record
        write_text(folder / "files/train.py", f"# {record}\n")
        write_record(folder / "records.record.json", "records", ["files"])
        write_run(results / "references/nano/cpu" / record / "run_0", 20.0)
    for task in TASKS:
        folder = results / "tasks/nano" / task
        files.write_tree(folder / "public/start", {"train.py": "lr = 1\nsteps = 2\n"})
        write_record(folder / "task.record.json", "task", ["public/start/train.py"])


def score_row(trial: dict[str, Any]) -> dict[str, Any]:
    """Return a trial's row of the score stage; its cost is not known."""
    row = {name: trial[name] for name in ("task", "arm", "coder", "seed")}
    row |= {"outcome": "ok", "fsr": 0.5, "fsr_audited": 0.4, "cost_usd": None}
    return row | {"trial": "tuner-1a2b3c4d/s0", "verdict": "confirmed", "equivalent_to_0": False}


def write_evaluation(sweep: Path, trials: list[dict[str, Any]]) -> None:
    """Write similarity, judge, review, audit, score and the report."""
    for task in TASKS:
        rows = [score_row(trial) for trial in trials if trial["task"] == task]
        for stage in ("similarity", "judge", "review", "audit", "score"):
            product = {"task": task, "trials": rows if stage == "score" else []}
            files.write_json(sweep / stage / "nano" / f"{task}.json", product)
            path = sweep / stage / "nano" / f"{task}.{stage}.record.json"
            write_record(path, stage, [f"{task}.json"], metrics={f"{stage}_mean": 0.25})
    files.write_text(sweep / "report/scores.csv", "task,arm\n")
    write_record(sweep / "report/report.record.json", "report", ["scores.csv"])


def build_sweep(root: Path) -> Path:
    """Write a complete two-task sweep below ``root`` and return its plan."""
    results = root / "results"
    write_pipeline(results)
    trials = []
    for task in TASKS:
        folder = f"results/trials/nano/{task}/tuner-1a2b3c4d/s0"
        write_node(root / folder / "node_1", 1, "lr = 3\nsteps = 2\n", Outcome.OK)
        write_node(root / folder / "node_2", 2, "lr = 9\nsteps = 2\n", Outcome.MISSED_TARGET)
        names = {"model": "none", "scaffold": "tree", "hints": "none", "mode": "reproduce"}
        names |= {"task": task, "arm": "tuner", "coder": "tuner", "folder": folder}
        trials.append(names | {"seed": 0, "n_nodes": NODES})
    write_evaluation(results / "tiny", trials)
    plan = {
        "sweep": "tiny",
        "track": schema.to_dict(TRACK),
        "hardware": "cpu",
        "config_digest": "c0ffee",
        "config": {},
        "audit": {"rounds": 3, "lanes": 2, "equivalence_margin": 0.25, "confidence": 0.9},
        "references": {
            r: [f"results/references/nano/cpu/{r}/run_0"] for r in ("r01", "r02", "r03")
        },
        "tasks": [
            {"task": t, "start": t[:3], "target": t[4:], "folder": f"results/tasks/nano/{t}"}
            for t in TASKS
        ],
        "trials": trials,
    }
    files.write_json(results / "tiny/plan.json", plan)
    return results / "tiny/plan.json"


def change_plan(plan: Path, change: Callable[[dict[str, Any]], None]) -> None:
    """Rewrite the plan after ``change``."""
    value = files.read_json(plan)
    change(value)
    files.write_json(plan, value)
