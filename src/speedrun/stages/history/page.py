"""The generated parts of docs/history.md."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from speedrun.classification import FIELDS
from speedrun.stages.history.markdown import number, p_value, span, table, text, times
from speedrun.stages.history.steps import UNNAMED
from speedrun.stages.history.summary import short

Row = Mapping[str, Any]
Tables = Mapping[str, Sequence[Row]]
CONTRIBUTORS = 10  # shown of each scope


def parts(tables: Tables) -> dict[str, str]:
    """Return every generated part by its name, from the rows of the tables."""
    return {name: make(tables) for name, make in PARTS.items()}


def published(tables: Tables) -> str:
    """Return the published figures beside ours."""
    heads = ("", "published", "known from", "ours, same records", "if labels are doubted", "",
             "ours, all", "reason")  # fmt: skip
    rows = [
        (
            text(row["what"]),
            _plain(row["published"]),
            row["status"],
            _figure(row["ours"]),
            span(row["low"], row["high"]),
            row["verdict"],
            _figure(row["ours_all"]),
            text(row["why"]),
        )
        for row in tables["published"]
    ]
    return table(heads, rows)


def _plain(value: float) -> str:
    return f"{value:g}"


def _figure(value: float) -> str:
    return f"{round(value, 3):.4g}"


def totals(tables: Tables) -> str:
    """Return both totals."""
    heads = ("records", "steps", "minutes", "first over last", "product of steps", "quotient")
    rows = [
        (
            row["scope"],
            str(row["steps"]),
            f"{row['first_minutes']:g} → {row['last_minutes']:g}",
            *(number(row[name], 3) for name in ("first_over_last", "product", "retimed")),
        )
        for row in tables["totals"]
    ]
    return table(heads, rows)


def agreement(tables: Tables) -> str:
    """Return how well the passes agree."""
    heads = ("field", "n", "equal", "percent", "Cohen's kappa", "kappa, weighted linearly")
    rows = [
        (
            row["field"],
            str(row["n"]),
            str(row["same"]),
            number(100 * row["raw"], 1),
            number(row["kappa"]),
            number(row["weighted"]),
        )
        for row in tables["agreement"]
    ]
    return table(heads, rows)


def differences(tables: Tables) -> str:
    """Return what the passes differ on, and what was settled."""
    heads = ("record", "field", "pass a", "pass b", "settled", "why")
    rows = [
        (
            _link(row["record"]),
            row["field"],
            row["first"],
            row["second"],
            row["settled"],
            text(row["why"]),
        )
        for row in tables["differences"]
    ]
    return table(heads, rows)


def labels(tables: Tables) -> str:
    """Return the published labels beside ours, with our evidence where they differ."""
    rows = tables["published_labels"]
    same = sum(row["same"] for row in rows)
    heads = ("record", "what", "field", "published", "known from", "ours", "confidence", "evidence")
    lines = [
        (
            _link(row["record"]),
            text(row["what"]),
            row["field"],
            row["published"],
            row["status"],
            row["ours"],
            row["confidence"],
            "" if row["same"] else text(row["evidence"]),
        )
        for row in rows
    ]
    return f"{same} of {len(rows)} are equal.\n\n{table(heads, lines)}"


def shares(tables: Tables) -> str:
    """Return the shares by field and word, scopes side by side."""
    scopes = list(dict.fromkeys(row["scope"] for row in tables["shares"]))
    named = {(row["scope"], row["field"], row["word"]): row for row in tables["shares"]}
    made = [_field(field, scopes, named) for field in FIELDS]
    return "\n\n".join(made)


def _field(field: str, scopes: Sequence[str], named: Mapping[tuple[str, str, str], Row]) -> str:
    words = list(dict.fromkeys(word for _, known, word in named if known == field))
    heads = [field, *(f"{scope}: {what}" for scope in scopes for what in ("n, speedup", "%"))]
    rows = [
        [word, *(cell for scope in scopes for cell in _cells(named[scope, field, word]))]
        for word in words
    ]
    return table(heads, rows)


def _cells(row: Row) -> tuple[str, str]:
    band = [span(row[f"{noise}_low"], row[f"{noise}_high"], 0, 100) for noise in NOISES]
    share = f"**{number(100 * row['share'], 1)}** ({'; '.join(band)})"
    return f"{row['n']}, {times(row['factor'])}", share


NOISES = ("observed", "doubted")


def half_years(tables: Tables) -> str:
    """Return each half-year's steps, speedup, and share of all by depth."""
    rows = tables["half_years"]
    depths = list(dict.fromkeys(row["depth"] for row in rows))
    lines = []
    for name in dict.fromkeys(row["half_year"] for row in rows):
        mine = {row["depth"]: row for row in rows if row["half_year"] == name}
        whole = 1.0
        for row in mine.values():
            whole *= row["factor"]
        total = sum(row["share"] for row in mine.values())
        cells = [f"{number(100 * mine[d]['share'], 1)} (n = {mine[d]['n']})" for d in depths]
        n = sum(row["n"] for row in mine.values())
        lines.append([name, str(n), f"{times(whole)}", number(100 * total, 1), *cells])
    return table(["half-year", "steps", "speedup", "% of all", *depths], lines)


def years(tables: Tables) -> str:
    """Return each year's log speedup by kind, the largest kinds of the chain first."""
    named = {(row["year"], row["kind"]): row for row in tables["years"]}
    kinds = list(dict.fromkeys(kind for _, kind in named))
    found = list(dict.fromkeys(year for year, _ in named))
    counts = {
        year: next(row["of"] for (one, _), row in named.items() if one == year) for year in found
    }
    lines = [[kind, *(_of_year(named[year, kind]) for year in found)] for kind in kinds]
    return table(["kind", *(f"{year} (n = {counts[year]}), %" for year in found)], lines)


def _of_year(row: Row) -> str:
    return f"{number(100 * row['share_of_year'], 1)} (n = {row['n']})"


def largest(tables: Tables) -> str:
    """Return the steps with the largest gains."""
    heads = ("record", "change", "speedup", "% of all", *FIELDS, "confidence")
    rows = [
        (
            _link(row["record"]),
            text(row["title"]),
            f"{times(row['factor'], 3)}",
            number(100 * row["share"], 1),
            *(row[field] for field in FIELDS),
            row["confidence"],
        )
        for row in tables["largest"]
    ]
    total = sum(row["share"] for row in tables["largest"])
    said = f"These {len(rows)} steps are {number(100 * total, 1)} % of the log speedup."
    return f"{table(heads, rows)}\n\n{said}"


def order(tables: Tables) -> str:
    """Return the test of the places of deep steps, and the trend of gains."""
    heads = ("records", "deep of all", "mean place", "expected", "p (front-loaded)",
             "if depths are doubted", "p, two-sided", "front-loaded if at most", "median gain %",
             "correlation with order", "p")  # fmt: skip
    rows = [
        (
            row["scope"],
            f"{row['k'] or 0} of {row['trend_n']}",
            number(row["mean_place"], 1),
            number(row["expected_place"], 1),
            p_value(row["p_front"]),
            span(row["p_front_low"], row["p_front_high"], 2),
            p_value(row["p_two_sided"]),
            number(row["critical"] or None, 1),
            number(row["trend_median_percent"]),
            number(row["trend_rho"]),
            p_value(row["trend_p"]),
        )
        for row in tables["order"]
    ]
    return table(heads, rows)


def ai(tables: Tables) -> str:
    """Return the steps credited to an AI system, and their share."""
    heads = ("record", "system", "with", "date", "speedup", "% of log speedup", "depth",
             "provenance", "kind")  # fmt: skip
    rows = [
        (
            _link(row["record"]),
            text(row["ai_system"]),
            text(row["contributors"]),
            row["date"],
            f"{times(row['factor'], 4)}",
            number(100 * row["share"]),
            row["depth"],
            row["provenance"],
            row["kind"],
        )
        for row in tables["ai"]
    ]
    whole, total = 1.0, sum(row["share"] for row in tables["ai"])
    for row in tables["ai"]:
        whole *= row["factor"]
    said = f"Together {times(whole, 4)}, {number(100 * total)} % of the log speedup."
    return f"{table(heads, rows)}\n\n{said}"


def contributors(tables: Tables) -> str:
    """Return the largest contributors of all records."""
    scope = tables["contributors"][-1]["scope"]
    rows = [row for row in tables["contributors"] if row["scope"] == scope]
    top = sum(row["share"] for row in rows[:CONTRIBUTORS])
    lines = [
        (
            text(row["word"]),
            str(row["n"]),
            f"{times(row['factor'])}",
            number(100 * row["share"], 1),
        )
        for row in rows[:CONTRIBUTORS]
    ]
    named = sum(row["word"] != UNNAMED for row in rows)
    said = f"The first {CONTRIBUTORS} of {named}: {number(100 * top, 1)} % of the log speedup."
    return f"{table(('', 'steps', 'speedup', '% of all'), lines)}\n\n{said}"


def _link(record: int) -> str:
    return f"[{record}](records/r{record:02d}.md)"


PARTS: dict[str, Callable[[Tables], str]] = {
    "short": short,
    "published": published,
    "totals": totals,
    "agreement": agreement,
    "differences": differences,
    "labels": labels,
    "shares": shares,
    "half-years": half_years,
    "years": years,
    "largest": largest,
    "order": order,
    "ai": ai,
    "contributors": contributors,
}
