"""What a run looks like to a person: summary.md."""

from __future__ import annotations

from speedrun.schema import Analysis, CurvePoint, Parent, RunExit, TrackSpec
from speedrun.stages.analyze.reading import thin

SUMMARY_POINTS = 40


def summary(
    analysis: Analysis, ended: RunExit, track: TrackSpec, parent: Parent | None = None
) -> str:
    """Return a page on the run for a person: origin, outcome, clocks, probes, curve."""
    title = (
        f"# Node {parent.node}" if parent else f"# Run {ended.solution_digest[:8] or 'of nothing'}"
    )
    parts = [
        title,
        "",
        f"**{analysis.outcome}**" + (f": {analysis.reason}" if analysis.reason else ""),
    ]
    parts += ["", *_origin(parent), *_facts(analysis, ended, track)]
    if analysis.curve:
        parts += ["", "| step | val_loss | train_time s | CPU s | wall s |", "|-|-|-|-|-|"]
        parts += [_row(point) for point in thin(analysis.curve, SUMMARY_POINTS)]
    return "\n".join([*parts, "", "```", analysis.digest, "```", ""])


def _origin(parent: Parent | None) -> list[str]:
    if parent is None:
        return []
    notes = ", ".join(f"{name} = {value}" for name, value in parent.notes.items())
    return [
        f"- {parent.action} of node {parent.parent}, generation {parent.generation}: "
        f"+{parent.lines_added} -{parent.lines_removed} lines",
        *([f"- why: {parent.why}"] if parent.why else []),
        *([f"- notes: {notes}"] if notes else []),
    ]


def _facts(analysis: Analysis, ended: RunExit, track: TrackSpec) -> list[str]:
    probes = analysis.probes
    facts = {
        "time to target": _figure(analysis.time_s, f"s on the {track.clock} clock"),
        "val_loss": _figure(analysis.val_loss, f"nats per token, target {track.target_loss:g}"),
        "CPU": _figure(
            ended.cpu_s, f"s to the last protocol line, {_figure(ended.cpu_total_s, 's')} in all"
        ),
        "wall": _figure(ended.wall_s, "s"),
        "printed train_time": _figure(analysis.train_time_ms, "ms"),
        "peak memory": _figure(ended.peak_rss_mb, "MB"),
        **(
            {"peak GPU memory": _figure(analysis.gpu_memory_mib, "MiB allocated, as printed")}
            if analysis.gpu_memory_mib is not None
            else {}
        ),
        "probes": f"{probes.loss:.4f} ± {probes.standard_error:.4f} nats per token on "
        f"{probes.contexts} withheld targets, {probes.difference:+.4f} beside the expected"
        if probes
        else "not checked",
        "run": f"sandbox {ended.sandbox}, trainer {ended.trainer}, device {ended.device}, "
        f"seed {ended.seed}, host {ended.host or 'none'}, ended: {ended.reason}",
    }
    return [f"- {name}: {text}" for name, text in facts.items()]


def _figure(value: float | None, unit: str) -> str:
    return "unknown" if value is None else f"{value:.6g} {unit}"


def _row(point: CurvePoint) -> str:
    return (
        f"| {point.step} | {point.val_loss:.4f} | {point.train_time_ms / 1000:.2f} "
        f"| {point.cpu_s:.2f} | {point.wall_s:.2f} |"
    )
