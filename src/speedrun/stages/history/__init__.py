"""history: the record chain as evidence of its own, from the registry and the labels alone.

Nothing is run, fetched or asked for: equal inputs give equal bytes.
"""

from __future__ import annotations

from pathlib import Path

from speedrun import files, text_files
from speedrun.files import SpeedrunError
from speedrun.stages.history import figures, markdown, page, record_pages, tables
from speedrun.stages.history.analysis import History, load

__all__ = ["History", "load", "write"]

PAGE, RECORDS, FIGURES = "history.md", "records", "figures"


def write(
    history: History, template: Path, hints: Path, out: Path, csv: Path | None = None
) -> list[Path]:
    """Write history.md, records/ and figures/ to ``out``, the tables to ``csv``; return the paths.

    ``template`` is the page whose generated parts are replaced, and may be ``out``'s own. A record
    page that the registry no longer has stays: nothing is deleted in a folder of somebody's.
    """
    around = _read(template)
    markdown.into_page(around, dict.fromkeys(page.PARTS, ""))  # no marks: said before the work
    rows = {name: make(history) for name, make in tables.TABLES.items()}
    texts = {out / PAGE: markdown.into_page(around, page.parts(rows))}
    for name, text in record_pages.pages(history, hints).items():
        texts[out / RECORDS / name] = text
    if csv:
        texts |= {csv / f"{name}.csv": text_files.to_csv(found) for name, found in rows.items()}
    for path, text in texts.items():
        files.write_text(path, text)
    drawn = {name: out / FIGURES / f"history-{name}.svg" for name in figures.FIGURES}
    for name, path in drawn.items():
        figures.draw(name, rows, path)
    return [*texts, *drawn.values()]


def _read(template: Path) -> str:
    try:
        return template.read_text(encoding="utf-8")
    except FileNotFoundError as error:
        raise SpeedrunError(f"{template} is missing: it holds the text of the page") from error
