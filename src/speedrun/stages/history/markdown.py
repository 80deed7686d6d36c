"""Markdown that a page's generated parts are made of."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from speedrun.files import SpeedrunError

BEGIN, END = "<!-- history: {}: begin -->", "<!-- history: {}: end -->"
# what would be read as Markdown or HTML; an underscore within a word is none
_SPECIAL = re.compile(r"[\\*<>|\[\]`]|(?<!\w)_|_(?!\w)")


def text(value: str) -> str:
    """Return plain text as Markdown that shows it so."""
    return _SPECIAL.sub(r"\\\g<0>", " ".join(value.split()))


def number(value: float | None, digits: int = 2) -> str:
    """Return a number; "-" where there is none, and no minus before a zero."""
    return "-" if value is None else f"{round(value, digits) + 0.0:.{digits}f}"


def times(value: float, digits: int = 2) -> str:
    """Return a factor, such as a speedup."""
    return f"{number(value, digits)}\N{MULTIPLICATION SIGN}"


def p_value(value: float | None) -> str:
    """Return a probability with two digits that count."""
    return "-" if value is None else f"{value:.2g}"


def span(low: float | None, high: float | None, digits: int = 1, scale: float = 1) -> str:
    """Return an interval, "" where there is none."""
    if low is None or high is None:
        return ""
    return f"{number(scale * low, digits)} to {number(scale * high, digits)}"


def table(headings: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return a table whose cells are Markdown already."""
    lines = ["| " + " | ".join(headings) + " |", "|" + "-|" * len(headings)]
    lines += ["| " + " | ".join(cell or " " for cell in row) + " |" for row in rows]
    return "\n".join(lines)


def into_page(page: str, parts: Mapping[str, str]) -> str:
    """Return a page with each generated part put between its two marks, all else as it was."""
    for name, made in parts.items():
        before, begin, rest = page.partition(BEGIN.format(name))
        _, end, after = rest.partition(END.format(name))
        if not begin or not end:
            marks = f"{BEGIN.format(name)!r} and {END.format(name)!r}"
            raise SpeedrunError(f"the page has no lines {marks}: add them")
        page = f"{before}{begin}\n\n{made}\n\n{end}{after}"
    return page
