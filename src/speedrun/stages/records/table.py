"""The table of records in upstream's README, as rows of facts.

Its lines have no '|' at either end, and a '|' inside brackets is no border.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import datetime

from speedrun.files import SpeedrunError

COLUMNS = 6
_BRACKETS = {"[": 1, "(": 1, "]": -1, ")": -1}
_LINK = re.compile(r"\[([^\]]*)\]\(([^)\s]*)\)")
_PULL_REQUEST = re.compile(r"/pull/(\d+)")
_MINUTES = re.compile(r"(\d+(?:\.\d+)?) min")


@dataclass(frozen=True)
class TableRow:
    """One row. ``log`` is a path, a file's or a folder's, or ""."""

    number: int
    time_minutes: float
    date: str  # ISO 8601
    description: str
    log: str
    pull_request: int | None
    contributors: str


def read_table(page: str, heading: str) -> list[TableRow]:
    """Return the rows of the table below ``heading``.

    Errors: SpeedrunError when the heading or its table is not there, or a row cannot be read.
    """
    rows, faults = read_rows(page, heading)
    for fault in faults:
        raise SpeedrunError(fault)
    return rows


def read_rows(page: str, heading: str) -> tuple[list[TableRow], list[str]]:
    """Return the rows below ``heading`` and, of those that cannot be read, the reasons.

    Errors: SpeedrunError when the heading or its table is not there.
    """
    lines = page.splitlines()
    starts = [number for number, line in enumerate(lines) if line.strip("# \t") == heading]
    if not starts:
        raise SpeedrunError(f"no heading {heading!r} in upstream's page: correct upstream.table")
    rows: list[TableRow] = []
    faults: list[str] = []
    for line in _table_lines(lines[starts[0] + 1 :]):
        try:
            rows.append(_row(line))
        except SpeedrunError as error:
            faults.append(str(error))
    if not rows and not faults:
        raise SpeedrunError(f"no table below {heading!r} in upstream's page")
    return rows, faults


def _table_lines(lines: list[str]) -> list[str]:
    """Return the rows up to the next heading; they begin with their number."""
    found = []
    for line in lines:
        if line.startswith("#"):
            break
        if re.match(r"\s*\|?\s*\d+\s*\|", line):
            found.append(line)
    return found


def _row(line: str) -> TableRow:
    cells = split_cells(line)
    if len(cells) != COLUMNS:
        raise SpeedrunError(
            f"upstream's table has a row of {len(cells)} cells, not {COLUMNS}: {line[:80]!r}"
        )
    number, time, description, date, log, contributors = cells
    minutes, pull_request = _MINUTES.match(time), _PULL_REQUEST.search(log)
    if minutes is None:
        raise SpeedrunError(f"upstream's table has no time in minutes in {line[:80]!r}")
    return TableRow(
        number=int(number),
        time_minutes=float(minutes[1]),
        date=_iso_date(date, line),
        description=description,
        log=_log_link(log),
        pull_request=int(pull_request[1]) if pull_request else None,
        contributors=contributors,
    )


def split_cells(line: str) -> list[str]:
    """Split a row at each '|' that is outside brackets."""
    cells, depth = [""], 0
    for character in line.strip().removeprefix("|").removesuffix("|"):
        depth = max(depth + _BRACKETS.get(character, 0), 0)
        if character == "|" and depth == 0:
            cells.append("")
        else:
            cells[-1] += character
    return [cell.strip() for cell in cells]


def _iso_date(text: str, line: str) -> str:
    try:
        return datetime.strptime(f"{text} +0000", "%m/%d/%y %z").date().isoformat()
    except ValueError as error:
        raise SpeedrunError(f"upstream's table has no date mm/dd/yy in {line[:80]!r}") from error


def printable(text: str) -> str:
    """Return upstream's words as one line that cannot steer a terminal."""
    return "".join(char if char.isprintable() else "\N{REPLACEMENT CHARACTER}" for char in text)


def _log_link(cell: str) -> str:
    links = {name.lower(): path for name, path in _LINK.findall(cell)}
    return str(links.get("log", "")).rstrip("/")
