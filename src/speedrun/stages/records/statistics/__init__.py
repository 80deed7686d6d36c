"""Statistics of the human records, from the logs that upstream keeps of them."""

from __future__ import annotations

from pathlib import Path

from speedrun import files
from speedrun.files import SpeedrunError
from speedrun.stages.records.statistics import figure, tables
from speedrun.stages.records.statistics.rows import Row, rows_of
from speedrun.stages.records.statistics.runs import Corpus, read
from speedrun.stages.records.statistics.tables import as_csv

__all__ = ["Corpus", "Row", "as_csv", "draw_paper_times", "read", "rows_of", "write"]


def write(rows: list[Row], out: Path) -> None:
    """Write the rows as CSV; into a Markdown page (``.md``) they go as its table instead."""
    if out.suffix != ".md":
        files.write_text(out, as_csv(rows))
        return
    try:
        page = out.read_text(encoding="utf-8")
    except FileNotFoundError as error:
        raise SpeedrunError(f"{out} is missing: a page must be there to be updated") from error
    files.write_text(out, tables.into_page(page, rows))


def draw_paper_times(times: Path, out: Path) -> None:
    """Draw the paper's re-timed records, ``paper_times.csv``, beside their published times."""
    figure.draw(figure.read_times(times), out)
