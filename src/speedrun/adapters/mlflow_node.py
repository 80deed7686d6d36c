"""One node or reference run as an MLflow run: parameters, costs, curves, diff, summary, log."""

from __future__ import annotations

import difflib
from pathlib import Path
from typing import Any

from speedrun import files, schema
from speedrun.adapters import mlflow_run
from speedrun.adapters.mlflow_run import MS_PER_S, Mirror
from speedrun.schema import Analysis, CurvePoint, Parent, RunExit, StageRecord

# Where the record of each stage of a node lies; not every arm has them all.
RECORDS = {
    **{stage: f"{stage}.record.json" for stage in ("generate", "train", "analyze", "summarize")},
    "preflight": "draft/preflight.record.json",
}
ASKING = ("generate", "summarize")  # generate's costs hold those of the node's draft
ARTIFACTS = (
    *("solution", "parent.json", "prompt.md", "replies", "calls.jsonl", "summary.md"),
    *("analysis.json", "run/log.jsonl", "run/exit.json"),
    *("draft/solution", "draft/preflight.json", "digest_model.md", "digest_model.calls.jsonl"),
    *RECORDS.values(),
)
NODE_PARAMS = ("node", "parent", "generation", "action")


def node_mirror(folder: Path, key: str, parent: str, params: dict[str, Any]) -> Mirror | None:
    """Return the run of a node or reference folder, or None while it has no record at all."""
    records = _records(folder)
    if not records:
        return None
    mirror = Mirror(key=key, name=folder.name, stage="node", parent=parent)
    spans = [mlflow_run.span_ms(record) for record in records.values()]
    mirror.start_ms, mirror.end_ms = min(s for s, _ in spans), max(e for _, e in spans)
    mirror.add_params(params)
    _add_parent(mirror, folder)
    _add_analysis(mirror, folder, records)
    _add_exit(mirror, folder)
    _add_costs(mirror, records)
    for stage, record in records.items():
        mirror.add_stage_params(record.params, stage)
        mlflow_run.add_provenance(mirror, record)
    _add_artifacts(mirror, folder)
    return mirror


def is_finished(folder: Path) -> bool:
    """Say whether the node has been through analyze, its last stage."""
    return (folder / "analyze.record.json").is_file()


def _records(folder: Path) -> dict[str, StageRecord]:
    paths = {stage: folder / name for stage, name in RECORDS.items()}
    return {s: schema.load(StageRecord, path) for s, path in paths.items() if path.is_file()}


def _add_costs(mirror: Mirror, records: dict[str, StageRecord]) -> None:
    """Log what a node's questions cost together, under the names that its trial has."""
    asked = [records[stage] for stage in ASKING if stage in records]
    for name in ("tokens", "cost_usd"):
        costs = [getattr(record, name) for record in asked]
        if costs and None not in costs:
            mirror.add_point(name, sum(costs), mirror.end_ms)


def _add_parent(mirror: Mirror, folder: Path) -> None:
    if (folder / "parent.json").is_file():
        parent = schema.load(Parent, folder / "parent.json")
        mirror.add_params({name: getattr(parent, name) for name in NODE_PARAMS})
        mirror.add_params(parent.notes, "note.")
        mirror.add_point("lines_added", parent.lines_added, mirror.end_ms)
        mirror.add_point("lines_removed", parent.lines_removed, mirror.end_ms)


def _add_analysis(mirror: Mirror, folder: Path, records: dict[str, StageRecord]) -> None:
    if not (folder / "analysis.json").is_file() or "analyze" not in records:
        return
    analysis = schema.load(Analysis, folder / "analysis.json")
    mirror.add_params({"outcome": analysis.outcome.value, "reason": analysis.reason})
    mirror.note = _read(folder / "summary.md")[: mlflow_run.NOTE_LENGTH_MAX]
    run_start_ms = mlflow_run.span_ms(records.get("train", records["analyze"]))[0]
    for point in analysis.curve:
        _add_curve_point(mirror, point, run_start_ms)
    if not analysis.curve:
        mirror.add_point("val_loss", analysis.val_loss, mirror.end_ms)
    _add_results(mirror, analysis)


def _add_curve_point(mirror: Mirror, point: CurvePoint, run_start_ms: int) -> None:
    """Log one validation three times: against step, the script's clock and the harness's clock."""
    now_ms = run_start_ms + round(point.wall_s * MS_PER_S)
    mirror.add_point("val_loss", point.val_loss, now_ms, point.step)
    mirror.add_point("val_loss_by_ms", point.val_loss, now_ms, point.train_time_ms)
    mirror.add_point("val_loss_by_cpu_ms", point.val_loss, now_ms, round(point.cpu_s * MS_PER_S))


def _add_results(mirror: Mirror, analysis: Analysis) -> None:
    for name in ("time_s", "train_time_ms", "steps", "device_seconds"):
        mirror.add_point(name, getattr(analysis, name), mirror.end_ms)
    if analysis.probes is not None:
        mirror.add_point("probe_loss", analysis.probes.loss, mirror.end_ms)
        mirror.add_point("probe_difference", analysis.probes.difference, mirror.end_ms)


def _add_exit(mirror: Mirror, folder: Path) -> None:
    if (folder / "run/exit.json").is_file():
        seen = schema.load(RunExit, folder / "run/exit.json")
        mirror.add_params({"exit_reason": seen.reason, "device": seen.device})
        for name in ("wall_s", "cpu_s", "cpu_total_s", "peak_rss_mb"):
            mirror.add_point(name, getattr(seen, name), mirror.end_ms)


def _add_artifacts(mirror: Mirror, folder: Path) -> None:
    for name in ARTIFACTS:
        if (folder / name).exists():
            mirror.attach(name, folder / name)
    mirror.leave_out_large()


def add_diff(mirror: Mirror, folder: Path, start: Path) -> None:
    """Attach the unified diff against the parent's solution, the start record for parent 0."""
    if not (folder / "solution").is_dir() or not (folder / "parent.json").is_file():
        return
    number = schema.load(Parent, folder / "parent.json").parent
    before = folder.parent / f"node_{number}" / "solution" if number else start
    mirror.texts["solution.diff"] = diff_trees(before, folder / "solution")


def diff_trees(before: Path, after: Path) -> str:
    """Return the unified diff between two source folders, file by file."""
    names = sorted({str(path) for root in (before, after) for path in files.tree_files(root)})
    return "".join(_diff_file(name, _read(before / name), _read(after / name)) for name in names)


def _diff_file(name: str, before: str, after: str) -> str:
    old, new = before.splitlines(), after.splitlines()
    lines = difflib.unified_diff(old, new, f"a/{name}", f"b/{name}", lineterm="")
    return "".join(f"{line}\n" for line in lines)


def _read(path: Path) -> str:
    """Read text for display: a model may write any bytes, and a missing file is empty."""
    return path.read_text(encoding="utf-8", errors="replace") if path.is_file() else ""
