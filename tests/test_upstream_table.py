"""The table of upstream's README: rows as they are written there, and what is none."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from speedrun.files import SpeedrunError
from speedrun.stages.records.table import TableRow, read_table, split_cells
from upstream_rows import ROW_LIST, TRACK, readme

HEADING = "World record history"
GOOD = "5 | 15.2 minutes | text | 10/14/24 | none | @someone"


def page(*rows: str) -> str:
    return "\n".join([f"## {HEADING}", "", "| # | Record time |", "| - | - |", *rows])


def test_every_row_of_the_page_is_read() -> None:
    rows = read_table(readme(ROW_LIST), HEADING)
    assert [row.number for row in rows] == [row.number for row in ROW_LIST]
    assert [row.date for row in rows] == [row.date for row in ROW_LIST]
    assert [row.time_minutes for row in rows] == [float(row.minutes.split()[0]) for row in ROW_LIST]
    assert [row.pull_request or 0 for row in rows] == [row.pull_request for row in ROW_LIST]


def test_irregular_rows_are_read() -> None:
    read = read_table(readme(ROW_LIST), HEADING)
    rows = dict(zip((row.id for row in ROW_LIST), read, strict=True))
    assert rows["r04"] == TableRow(
        4,
        22.3,
        "2024-10-11",
        "[Muon, step | by | step](https://example.org/a|b)",
        f"{TRACK}/2024-10-10_Muon/eb5659d0.txt",
        None,
        "@someone",
    )
    assert (rows["r03"].log, rows["r11"].log, rows["r13"].log) == ("", "", "")
    assert (rows["r13"].pull_request, rows["r11"].contributors) == (317, "-")
    assert rows["r07"].log == f"{TRACK}/2024-12-04_ValueEmbed"
    assert rows["r12"].description == "gates, another start"
    assert [rows[name].time_minutes for name in ("r08", "r08b", "r08c")] == [8.1, 8.31, 8.44]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("# other heading\n", "no heading 'World record history'"),
        (page(), "no table below"),
        (page("5 | 15.2 minutes | text | 10/14/24 | none"), "a row of 5 cells, not 6"),
        (page(f"{GOOD} | more"), "a row of 7 cells"),
        (page(GOOD.replace("10/14/24", "2024-10-14")), "no date mm/dd/yy"),
        (page(GOOD.replace("15.2 minutes", "soon")), "no time in minutes"),
    ],
)
def test_what_is_no_such_table_is_said(text: str, said: str) -> None:
    with pytest.raises(SpeedrunError, match=said):
        read_table(text, HEADING)


def test_a_table_with_borders_is_the_same_table() -> None:
    assert read_table(page(f"| {GOOD} |"), HEADING) == read_table(page(GOOD), HEADING)


PLAIN = st.text(st.characters(exclude_characters="|[]()\n\r", exclude_categories=("C", "Z")))
LINKED = st.builds(lambda text, url: f"[{text} | {text}](u|{url})", PLAIN, PLAIN)


@given(st.lists(PLAIN | LINKED, min_size=1, max_size=8))
def test_cells_come_back_as_they_were_joined(cells: list[str]) -> None:
    assert split_cells("x | " + " | ".join(cells) + " | y") == ["x", *cells, "y"]


@given(st.text(max_size=300))
def test_any_text_is_a_table_or_a_clear_error(text: str) -> None:
    try:
        read_table(f"## {HEADING}\n{text}", HEADING)
    except SpeedrunError as error:
        assert "upstream" in str(error)
