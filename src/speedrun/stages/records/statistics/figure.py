"""The figure of the paper's appendix: times measured again beside published ones."""

from __future__ import annotations

import csv
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from speedrun import files
from speedrun.files import SpeedrunError

if TYPE_CHECKING:
    from matplotlib.axes import Axes

COLUMNS = ("record", "published_ms", "retimed_mean_ms", "retimed_sd_ms")
MINUTE_MS = 60_000
METADATA: dict[str, dict[str, None]] = {  # no dates and versions: they would differ
    ".svg": {"Date": None},
    ".pdf": {"CreationDate": None},
    ".png": {"Software": None},
}


@dataclass(frozen=True)
class Retiming:
    """One record of the paper's Table E.1, milliseconds; its authors ran each three times."""

    record: str
    published_ms: float
    mean_ms: float
    sd_ms: float

    @property
    def difference_percent(self) -> float:
        """How much slower the record was when it was timed again."""
        return 100 * (self.mean_ms / self.published_ms - 1)


def read_times(path: Path) -> list[Retiming]:
    """Read paper_times.csv; lines that begin with # are comments."""
    try:
        lines = [line for line in path.read_text("utf-8").splitlines() if line[:1] != "#"]
        rows = [[row[name] for name in COLUMNS] for row in csv.DictReader(lines)]
        times = [Retiming(name, *map(float, values)) for name, *values in rows]
    except FileNotFoundError as error:
        raise SpeedrunError(f"{path} is missing: it holds the paper's times") from error
    except (KeyError, TypeError, ValueError) as error:
        raise SpeedrunError(f"{path} needs the columns {', '.join(COLUMNS)}: {error}") from error
    if not times:
        raise SpeedrunError(f"{path} needs the columns {', '.join(COLUMNS)} and a row a record")
    return times


def draw(times: list[Retiming], out: Path) -> None:
    """Write the figure to ``out``: times on the left, their difference in percent on the right."""
    if out.suffix not in METADATA:
        raise SpeedrunError(f"{out}: a figure is one of {', '.join(METADATA)}")
    import matplotlib as mpl
    from matplotlib.figure import Figure

    # The salt makes equal figures equal bytes.
    with mpl.rc_context({"svg.hashsalt": "speedrun", "font.size": 9}):
        figure = Figure(figsize=(9, 3.6), layout="constrained")
        left, right = figure.subplots(1, 2)
        _draw_times(left, times)
        _draw_differences(right, times)
        with files.atomic_path(out) as path:
            figure.savefig(path, format=out.suffix[1:], metadata=METADATA[out.suffix])


def _draw_times(axes: Axes, times: list[Retiming]) -> None:
    """Draw both times of each record, in minutes on a logarithmic axis."""
    places = range(len(times))
    minutes = [time.mean_ms / MINUTE_MS for time in times]
    spread = [time.sd_ms / MINUTE_MS for time in times]
    published = [time.published_ms / MINUTE_MS for time in times]
    label = "timed again (mean ± sd, n = 3)"
    axes.errorbar(places, minutes, yerr=spread, fmt="o", ms=4, label=label)
    axes.plot(places, published, "_", ms=10, mew=2, color="black", label="published")
    axes.set_yscale("log")
    axes.set_yticks([3, 5, 10, 20, 40], ["3", "5", "10", "20", "40"])
    axes.minorticks_off()
    axes.set_ylabel("training time, minutes")
    axes.legend(frameon=False)
    _name_records(axes, times)


def _draw_differences(axes: Axes, times: list[Retiming]) -> None:
    """Draw by how many percent each record was slower when it was timed again."""
    axes.axhline(0, color="black", lw=0.8)
    spread = [100 * time.sd_ms / time.published_ms for time in times]
    heights = [time.difference_percent for time in times]
    axes.bar(range(len(times)), heights, yerr=spread, error_kw={"lw": 1}, width=0.7)
    axes.set_ylabel("timed again / published - 1, percent")
    _name_records(axes, times)


def _name_records(axes: Axes, times: list[Retiming]) -> None:
    axes.set_xticks(range(len(times)), [time.record.lstrip("r0") for time in times])
    axes.tick_params(axis="x", labelsize=7)
    axes.set_xlabel("record")
    axes.spines[["top", "right"]].set_visible(False)
