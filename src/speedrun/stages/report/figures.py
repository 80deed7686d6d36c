"""The report's figures as PNG files; equal data give equal bytes."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from speedrun import files, schema, trials
from speedrun.stages.report.tables import ALL_TASKS, Results, Row, references
from speedrun.stages.report.text import short

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

OUTCOME_COLOURS = {
    "start": "#dddddd",
    "ok": "#7fc97f",
    "missed_target": "#fdc086",
    "candidate_error": "#f0868b",
    "oom": "#c994c7",
    "timeout": "#9ebcda",
    "refused": "#b0b0b0",
    "rule_violation": "#e34a33",
    "not_attempted": "#f4f4f4",
}
CLOCKS = {"cpu": "CPU seconds", "train_time": "seconds of train_time"}
ARM_COLOURS = ("#1b6ca8", "#d1495b", "#2f9e6e", "#edae49", "#7b5ea7", "#00798c", "#8d6346")


def _figure(width: float, height: float) -> tuple[Figure, Axes]:
    """Return an empty figure without the global state of pyplot."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    axes.spines[["top", "right"]].set_visible(False)
    return figure, axes


def _save(figure: Figure, path: Path) -> Path:
    with files.atomic_path(path) as temporary:
        figure.savefig(temporary, format="png", dpi=110, metadata={"Software": None})
    return path


def arm_colours(rows: Sequence[Row]) -> dict[str, str]:
    """Return one colour an arm, the same in every figure."""
    names = dict.fromkeys(row["arm"] for row in rows)
    return {name: ARM_COLOURS[i % len(ARM_COLOURS)] for i, name in enumerate(names)}


def draw_fsr(arm_rows: Sequence[Row], path: Path) -> Path:
    """Draw audited FSR of each arm, over all tasks and by task, with its interval."""
    colours = arm_colours(arm_rows)
    scopes = list(dict.fromkeys(row["task"] for row in arm_rows))
    scopes = [scope for scope in scopes if scope != ALL_TASKS or len(scopes) > 2]
    shown = [row for scope in scopes for row in arm_rows if row["task"] == scope]
    figure, axes = _figure(8, 0.9 + 0.3 * len(shown) + 0.25 * len(scopes))
    labels: list[tuple[float, str]] = []
    height = 0.0
    for scope in scopes:
        height += 0.8
        heading = _heading(scope, shown)
        axes.text(-0.01, height - 0.8, heading, weight="bold", size=9, ha="right", va="center",
                  transform=axes.get_yaxis_transform())  # fmt: skip
        for row in (row for row in shown if row["task"] == scope):
            _draw_arm(axes, row, height, colours[row["arm"]])
            labels.append((height, row["arm"]))
            height += 1.0
    axes.set_ylim(height - 0.3, -0.5)
    axes.set_xlim(*_fsr_range(shown))
    _finish_fsr(axes, labels)
    return _save(figure, path)


def _fsr_range(rows: Sequence[Row]) -> tuple[float, float]:
    """Return limits that show 0, 1 and all that counts; noise of any size runs out of the picture.

    Without any task that counts, all are shown.
    """
    kept = [row for row in rows if row["measurable"] in (None, "true")]
    if not any(row["fsr_audited"] is not None for row in kept):
        kept = list(rows)
    names = ("fsr", "fsr_audited", "fsr_low", "fsr_high")
    values = [row[name] for row in kept for name in names if row[name] is not None]
    low, high = min([0.0, *values]), max([1.0, *values])
    margin = 0.05 * (high - low)
    return low - margin, high + margin


def _heading(scope: str, rows: Sequence[Row]) -> str:
    """Return a scope's name, marked where the mean over all tasks leaves it out."""
    kept = [row["measurable"] in (None, "true") for row in rows if row["task"] == scope]
    return scope if all(kept) else f"{scope} (left out of means)"


def _draw_arm(axes: Axes, row: Row, height: float, colour: str) -> None:
    if row["fsr_low"] is not None:
        axes.plot([row["fsr_low"], row["fsr_high"]], [height] * 2, color=colour, linewidth=2.5)
    if row["fsr"] is not None:
        axes.plot(row["fsr"], height, "|", color="#888888", markersize=11)
    if row["fsr_audited"] is not None:
        axes.plot(row["fsr_audited"], height, "o", color=colour, markersize=6)


def _finish_fsr(axes: Axes, labels: Sequence[tuple[float, str]]) -> None:
    for value, style in ((0.0, ":"), (1.0, "--")):
        axes.axvline(value, color="#999999", linewidth=1, linestyle=style, zorder=0)
    axes.set_yticks([height for height, _ in labels], [name for _, name in labels], size=9)
    axes.tick_params(axis="y", length=0)
    axes.spines["left"].set_visible(False)
    axes.set_xlabel(
        "fraction of speedup recovered (dot: audited, with interval; grey: search-time)"
    )


def draw_curves(results: Results, task_name: str, path: Path) -> Path:
    """Draw validation loss against the clock: references, winners, other nodes thin."""
    figure, axes = _figure(8, 4.2)
    task = results.plan.task(task_name)
    own = results.audit[task_name]["references"]  # of several, the setting of this task
    for record, folder, analysis in references(results.plan):
        if own.get(record) == str(folder.parent):
            style = ":" if record == task.start else "--"
            label = f"{record} ({'start' if record == task.start else 'target'})"
            label = "" if label in axes.get_legend_handles_labels()[1] else label
            _draw_curve(axes, results, analysis.curve, "#222222", style, 1.3, label)
    for row in results.score[task_name]["trials"]:
        colour = arm_colours(results.rows)[row["arm"]]
        for node in results.nodes[f"{task_name}/{row['trial']}"]:
            won = node.number == row["winner"]
            label = f"{row['arm']} s{row['seed']}" if won else ""
            width = 1.8 if won else 0.6
            _draw_curve(axes, results, node.analysis.curve, colour, "-", width, label)
    target_loss = results.plan.track.target_loss
    axes.axhline(target_loss, color="#999999", linewidth=1)
    axes.text(
        1.0,
        target_loss,
        "target",
        color="#666666",
        size=8,
        ha="right",
        va="bottom",
        transform=axes.get_yaxis_transform(),
    )
    axes.set_xlabel(CLOCKS.get(results.plan.track.clock, "seconds"))
    axes.set_ylabel("validation loss (nats per token)")
    axes.set_ylim(*_loss_range(results, task_name))
    if axes.get_legend_handles_labels()[0]:
        axes.legend(frameon=False, fontsize=8)
    return _save(figure, path)


def _draw_curve(
    axes: Axes,
    results: Results,
    curve: Sequence[schema.CurvePoint],
    colour: str,
    style: str,
    width: float,
    label: str,
) -> None:
    points = [point for point in curve if point.val_loss == point.val_loss]
    times = [trials.point_s(results.plan.track, point) for point in points]
    losses = [point.val_loss for point in points]
    axes.plot(times, losses, style, color=colour, linewidth=width, label=label or None, marker=".",
              markersize=2 + width)  # fmt: skip


def _loss_range(results: Results, task_name: str) -> tuple[float, float]:
    """Return limits that show the target and leave the untrained loss out of the picture."""
    target = results.plan.track.target_loss
    nodes = [n for key, found in results.nodes.items() if key.startswith(task_name) for n in found]
    analyses = [node.analysis for node in nodes] + [a for _, _, a in references(results.plan)]
    finals = [a.val_loss for a in analyses if a.val_loss is not None and a.val_loss < 2 * target]
    low = min([target, *finals])
    return low - 0.05 * target, max([target * 1.4, *finals]) + 0.02 * target


def draw_tree(nodes: Sequence[Row], start: str, path: Path) -> Path:
    """Draw one trial's search tree: its start on top, a box a node, the winner framed."""
    places = layout(nodes)
    deepest = max(y for _, y in places.values())
    across = max(x for x, _ in places.values()) - min(x for x, _ in places.values()) + 1
    figure, axes = _figure(max(2.4, 1.35 * across), 0.9 + 0.85 * deepest)
    for row in nodes:
        (x0, y0), (x1, y1) = places[row["parent"]], places[row["node"]]
        axes.plot([x0, x1], [y0, y1], color="#aaaaaa", linewidth=1, zorder=1)
    _draw_box(axes, places[0], f"{start}\nstart", "start", won=False)
    for row in nodes:
        result = f"{row['time_s']:.1f} s" if row["time_s"] is not None else row["outcome"]
        text = f"{row['node']} {row['action']}\n{result.replace('_', ' ')}"
        _draw_box(axes, places[row["node"]], text, row["outcome"], won=row["winner"])
    axes.set_axis_off()
    axes.set_xlim(
        min(x for x, _ in places.values()) - 0.6, max(x for x, _ in places.values()) + 0.6
    )
    axes.set_ylim(deepest + 0.5, -0.5)
    return _save(figure, path)


def _draw_box(axes: Axes, place: tuple[float, int], text: str, outcome: str, *, won: bool) -> None:
    box = {
        "boxstyle": "round,pad=0.3",
        "facecolor": OUTCOME_COLOURS[outcome],
        "edgecolor": "#111111" if won else "#999999",
        "linewidth": 2.2 if won else 0.7,
    }
    axes.text(*place, text, ha="center", va="center", size=7.5, bbox=box, zorder=2)


def layout(nodes: Sequence[Row]) -> dict[int, tuple[float, int]]:
    """Return (x, depth) of every node and of the root 0: leaves side by side, parents centred."""
    children: dict[int, list[int]] = {}
    for row in nodes:
        children.setdefault(row["parent"], []).append(row["node"])
    places: dict[int, tuple[float, int]] = {}
    _place(0, 0, children, places, [0.0])
    return places


def _place(
    node: int,
    depth: int,
    children: dict[int, list[int]],
    places: dict[int, tuple[float, int]],
    free: list[float],
) -> float:
    """Place a subtree; ``free`` holds the next unused column."""
    below = [_place(child, depth + 1, children, places, free) for child in children.get(node, [])]
    if below:
        x = (below[0] + below[-1]) / 2
    else:
        x = free[0]
        free[0] += 1.0
    places[node] = (x, depth)
    return x


def caption(row: Row) -> str:
    """Return one line on a trial for the page: what came of it."""
    return f"{row['outcome'].replace('_', ' ')}, audited FSR {short(row['fsr_audited'])}"
