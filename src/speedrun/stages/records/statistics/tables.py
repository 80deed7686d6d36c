"""The statistics as CSV, and as the table of a Markdown page."""

from __future__ import annotations

import csv
import dataclasses
import io

from speedrun.files import SpeedrunError
from speedrun.stages.records.statistics.rows import Row

BEGIN, END = "<!-- table of the records: begin -->", "<!-- table of the records: end -->"
# Digits behind the point; times are printed to 1 ms, losses to 0.0001 nats.
DIGITS = {
    "readme_time_s": 2, "loss_mean": 4, "loss_sd": 4, "time_mean_s": 2, "time_sd_s": 2,
    "difference_percent": 2, "source_loss_mean": 4, "source_time_mean_s": 2,
}  # fmt: skip
HEADINGS = {
    "record": "record", "readme_time_s": "README s", "time": "train time s",
    "difference_percent": "difference %", "n": "n", "loss": "val loss", "p_loss": "p",
    "apart": "other", "source": "same source, all folders", "notes": "notes",
}  # fmt: skip


def as_csv(rows: list[Row]) -> str:
    """Return the rows as CSV, one column a field of ``Row``; an unknown value is empty."""
    out = io.StringIO()
    names = [column.name for column in dataclasses.fields(Row)]
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(names)
    writer.writerows([_text(row, name) for name in names] for row in rows)
    return out.getvalue()


def _text(row: Row, name: str) -> str:
    value = getattr(row, name)
    if value is None:
        return ""
    if name == "p_loss":
        return f"{value:.3g}"
    return _rounded(value, DIGITS[name]) if name in DIGITS else str(value)


def _rounded(value: float, digits: int) -> str:
    return f"{round(value, digits) + 0.0:.{digits}f}"  # the sum turns -0.0 into 0.0


def as_markdown(rows: list[Row]) -> str:
    """Return the rows as a Markdown table, mean ± standard deviation in one cell."""
    lines = ["| " + " | ".join(HEADINGS.values()) + " |", "|" + "-|" * len(HEADINGS)]
    lines += ["| " + " | ".join(_cell(row, name) for name in HEADINGS) + " |" for row in rows]
    return "\n".join(lines) + "\n"


def _cell(row: Row, name: str) -> str:
    made = {
        "time": lambda: _spread(row, "time_mean_s", "time_sd_s"),
        "loss": lambda: _spread(row, "loss_mean", "loss_sd"),
        "apart": lambda: _apart(row),
        "source": lambda: _source(row),
    }
    return (made[name]() if name in made else _text(row, name)) or "-"


def _spread(row: Row, mean: str, spread: str) -> str:
    both = (_text(row, mean), _text(row, spread))
    return " ± ".join(text for text in both if text)


def _apart(row: Row) -> str:
    counts = {"code": row.other_code, "GPUs": row.other_gpus, "cut": row.incomplete}
    return ", ".join(f"{count} {kind}" for kind, count in counts.items() if count)


def _source(row: Row) -> str:
    """Return the time of all runs of the registry's source, where they are not the row's own."""
    if not row.source_n or (row.chosen_by == "source" and row.source_n == row.n):
        return ""
    return f"{_text(row, 'source_time_mean_s')} (n = {row.source_n})"


def into_page(page: str, rows: list[Row]) -> str:
    """Return a Markdown page with its table of the records replaced."""
    before, begin, rest = page.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise SpeedrunError(f"the page has no lines {BEGIN!r} and {END!r}: add them")
    return f"{before}{BEGIN}\n\n{as_markdown(rows)}\n{END}{after}"
