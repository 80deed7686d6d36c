"""The history's figures; each draws rows of a table alone, and equal rows give equal bytes."""

from __future__ import annotations

import datetime
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from speedrun import files
from speedrun.classification import DEPTHS, FIELDS

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Row = Mapping[str, Any]
Rows = Sequence[Row]
COLOURS = dict(zip(DEPTHS, ("#9ebcda", "#1b6ca8", "#edae49", "#d1495b"), strict=True))
SCOPES = ("#555555", "#2a9d8f", "#bbbbbb")  # no colour of a depth
METADATA: dict[str, Any] = {".svg": {"Date": None}, ".png": {"Software": None}}
SETTING: Any = {"svg.hashsalt": "speedrun", "svg.fonttype": "none", "font.size": 9}
SHOWN_CONTRIBUTORS = 15


def draw(name: str, tables: Mapping[str, Rows], out: Path) -> None:
    """Write the figure ``name`` of FIGURES to ``out``, as SVG or PNG."""
    import matplotlib as mpl
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    (width, height), table, paint = FIGURES[name]
    with mpl.rc_context(SETTING):
        figure = Figure(figsize=(width, height), layout="constrained")
        FigureCanvasAgg(figure)
        paint(figure, tables[table])
        with files.atomic_path(out) as path:
            figure.savefig(path, format=out.suffix[1:], dpi=110, metadata=METADATA[out.suffix])


def _axes(figure: Figure) -> Axes:
    axes = figure.add_subplot()
    axes.spines[["top", "right"]].set_visible(False)
    return axes


def _date(text: str) -> Any:
    return datetime.date.fromisoformat(text)


def speedup(figure: Figure, rows: Rows) -> None:
    """Draw the cumulative speedup over time, each step's dot in the colour of its depth."""
    axes = _axes(figure)
    dates, heights = [_date(row["date"]) for row in rows], [row["speedup"] for row in rows]
    axes.step(dates, heights, where="post", color="#bbbbbb", lw=1, zorder=1)
    for depth in DEPTHS:
        mine = [i for i, row in enumerate(rows) if row["depth"] == depth]
        places = [dates[i] for i in mine], [heights[i] for i in mine]
        axes.scatter(*places, s=16, color=COLOURS[depth], label=depth, zorder=2)
    axes.set_yscale("log")
    ticks = [2, 5, 10, 20, 40]
    axes.set_yticks(ticks, [f"{tick}\N{MULTIPLICATION SIGN}" for tick in ticks])
    axes.minorticks_off()
    axes.set_ylabel("speedup since record 1 (product of steps)")
    axes.legend(frameon=False, loc="lower right")


def gains(figure: Figure, rows: Rows) -> None:
    """Draw each step's gain in its place in the order."""
    axes = _axes(figure)
    for depth in DEPTHS:
        mine = [row for row in rows if row["depth"] == depth]
        places = [row["record"] for row in mine], [row["gain_percent"] for row in mine]
        axes.scatter(*places, s=16, color=COLOURS[depth], label=depth)
    for row in rows:
        if row["ai_system"]:
            label = row["ai_system"].removesuffix(".ai")
            axes.annotate(label, (row["record"], row["gain_percent"]), (0, -9), size=6, ha="center",
                          textcoords="offset points")  # fmt: skip
    axes.set_yscale("log")
    axes.set_yticks([0.2, 0.5, 1, 2, 5, 10, 30], ["0.2", "0.5", "1", "2", "5", "10", "30"])
    axes.minorticks_off()
    axes.set_xlabel("record (named: credited to that AI system)")
    axes.set_ylabel("time saved, percent")
    axes.legend(frameon=False)


def shares(figure: Figure, rows: Rows) -> None:
    """Draw shares by depth, provenance and kind of each scope, with the wider noise."""
    scopes = list(dict.fromkeys(row["scope"] for row in rows))
    for place, field in enumerate(FIELDS):
        axes = figure.add_subplot(1, len(FIELDS), place + 1)
        axes.spines[["top", "right"]].set_visible(False)
        _draw_field(axes, [row for row in rows if row["field"] == field], scopes)
        axes.set_title(field)
    axes.legend(frameon=False, title="records")
    figure.supxlabel("percent of log speedup; lines: 95 % if labels are doubted", size=9)


def _draw_field(axes: Axes, rows: Rows, scopes: Sequence[str]) -> None:
    words = list(dict.fromkeys(row["word"] for row in rows))
    height = 0.8 / len(scopes)
    for i, scope in enumerate(scopes):
        mine = [row for row in rows if row["scope"] == scope]
        at = [words.index(row["word"]) + (i - (len(scopes) - 1) / 2) * height for row in mine]
        values = [100 * row["share"] for row in mine]
        below = [max(0.0, 100 * (row["share"] - row["doubted_low"])) for row in mine]
        above = [max(0.0, 100 * (row["doubted_high"] - row["share"])) for row in mine]
        axes.barh(at, values, height, color=SCOPES[i % 3], label=scope, xerr=[below, above],
                  error_kw={"lw": 0.8, "ecolor": "#111111"})  # fmt: skip
    axes.set_yticks(range(len(words)), words)
    axes.invert_yaxis()


def half_years(figure: Figure, rows: Rows) -> None:
    """Draw how much of the log speedup each half-year brought, by depth, with its steps."""
    axes = _axes(figure)
    names = list(dict.fromkeys(row["half_year"] for row in rows))
    bottom = dict.fromkeys(names, 0.0)
    for depth in DEPTHS:
        mine = {row["half_year"]: 100 * row["share"] for row in rows if row["depth"] == depth}
        heights = [mine[name] for name in names]
        axes.bar(names, heights, 0.7, list(bottom.values()), color=COLOURS[depth], label=depth)
        bottom = {name: bottom[name] + mine[name] for name in names}
    for place, name in enumerate(names):
        n = sum(row["n"] for row in rows if row["half_year"] == name)
        axes.text(place, bottom[name] + 0.7, f"n = {n}", ha="center", size=8)
    axes.set_ylabel("percent of log speedup")
    axes.legend(frameon=False)


def contributors(figure: Figure, rows: Rows) -> None:
    """Draw the largest shares of contributors, of the whole chain (the last scope)."""
    axes = _axes(figure)
    mine = [row for row in rows if row["scope"] == rows[-1]["scope"]][:SHOWN_CONTRIBUTORS]
    axes.barh([row["word"] for row in mine], [100 * row["share"] for row in mine], color="#1b6ca8")
    for place, row in enumerate(mine):
        axes.text(100 * row["share"] + 0.3, place, f"n = {row['n']}", va="center", size=7)
    axes.invert_yaxis()
    axes.set_xlabel("percent of log speedup, a step shared equally by its contributors")


# by name: size in inches, the table that it draws, and how
FIGURES: dict[str, tuple[tuple[float, float], str, Callable[[Figure, Rows], None]]] = {
    "speedup": ((8, 3.8), "steps", speedup),
    "gains": ((8, 3.6), "steps", gains),
    "shares": ((11, 4.2), "shares", shares),
    "half_years": ((7, 3.4), "half_years", half_years),
    "contributors": ((7, 3.8), "contributors", contributors),
}
