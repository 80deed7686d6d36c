"""The history in a few sentences, each number of them from the tables."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from speedrun.stages.history.markdown import number, p_value, span, times

Row = Mapping[str, Any]
Tables = Mapping[str, Sequence[Row]]

DEPTHS = ("shallow", "moderate", "deep", "breakthrough")
HALF = 0.5  # of the log speedup
LEVEL = 0.05  # of the test that deep ideas come early


def short(tables: Tables) -> str:
    """Return the main findings as a list."""
    lines = [*_totals(tables), *_shares(tables), *_order(tables), *_since(tables), *_ai(tables)]
    return "\n".join(f"- {line}" for line in [*lines, *_published(tables)])


def _totals(tables: Tables) -> Iterator[str]:
    whole, top = tables["totals"][-1], tables["largest"]
    year = [row for row in tables["half_years"] if row["half_year"].startswith("2024")]
    yield (
        f"**{whole['first_minutes']:g} to {whole['last_minutes']:g} minutes in {whole['steps']} "
        f"steps**: {times(whole['product'], 1)} as the product of the steps, "
        f"{times(whole['first_over_last'], 1)} as first over last. The {len(top)} largest steps "
        f"hold {_percent(sum(row['share'] for row in top))} of the log speedup, the "
        f"{sum(row['n'] for row in year)} of 2024 {_percent(sum(row['share'] for row in year))}."
    )


def _percent(share: float) -> str:
    return f"{number(100 * share, 1)} %"


def _word(tables: Tables, scope: str, field: str, word: str) -> Row:
    return next(
        row
        for row in tables["shares"]
        if (row["scope"], row["field"], row["word"]) == (scope, field, word)
    )


def _shares(tables: Tables) -> Iterator[str]:
    scope = tables["totals"][-1]["scope"]
    depth = {word: _word(tables, scope, "depth", word) for word in DEPTHS}
    plain = [depth["shallow"], depth["moderate"]]
    factor = math.prod(row["factor"] for row in plain)
    share = sum(row["share"] for row in plain)
    said = [f"{row['n']} {word} {_percent(row['share'])}" for word, row in depth.items()][2:]
    most = "Most of it was not deep" if share > HALF else "Deep steps brought most of it"
    yield (
        f"**{most}**: shallow and moderate steps bring {times(factor, 1)}, "
        f"{_percent(share)} of the log speedup; {', '.join(said)}{_numbers(tables)}."
    )
    yield from _sources(tables, scope)


def _numbers(tables: Tables) -> str:
    """Name the breakthroughs by their record numbers."""
    found = [str(row["record"]) for row in tables["steps"] if row["depth"] == DEPTHS[-1]]
    return f" (number {', '.join(found)})" if found else ""


def _sources(tables: Tables, scope: str) -> Iterator[str]:
    source = {w: _word(tables, scope, "provenance", w) for w in ("imported", "adapted", "invented")}
    said = [f"{word} {times(row['factor'])} ({row['n']})" for word, row in source.items()]
    known = source["imported"]["n"] + source["adapted"]["n"] > source["invented"]["n"]
    most = "Most ideas were known before" if known else "Most ideas were new"
    yield f"**{most}**: {', '.join(said)}."


def _order(tables: Tables) -> Iterator[str]:
    row, since = tables["order"][-2:]
    early = row["p_front"] is not None and row["p_front"] < LEVEL
    shown = "came early" if early else "are not shown to be early ones"
    trend = "shrank with time" if row["trend_rho"] < 0 else "did not shrink with time"
    yield (
        f"**Deep ideas {shown}**: their mean place is "
        f"{number(row['mean_place'], 1)} of {row['n']}, {number(row['expected_place'], 1)} "
        f"expected (exact p = {p_value(row['p_front'])}, "
        f"{span(row['p_front_low'], row['p_front_high'], 2)} if depths are doubted); "
        f"{row['k']} of them show front-loading only at a mean of {number(row['critical'], 1)} or "
        f"less. Gains {trend}: rank correlation with order {number(row['trend_rho'])} over all, "
        f"{number(since['trend_rho'])} "
        f"(p = {p_value(since['trend_p'])}) since 2025, at a median of "
        f"{number(since['trend_median_percent'], 1)} % a step."
    )


def _since(tables: Tables) -> Iterator[str]:
    row = tables["totals"][1]
    scope = row["scope"]
    architecture = _word(tables, scope, "kind", "architecture")
    moderate = _word(tables, scope, "depth", "moderate")
    yield (
        f"**After the published analysis ({scope})**: {row['steps']} steps, "
        f"{times(row['product'], 3)}; {_percent(moderate['share'])} of it moderate "
        f"(n = {moderate['n']}), {_percent(architecture['share'])} architecture "
        f"(n = {architecture['n']})."
    )


def _ai(tables: Tables) -> Iterator[str]:
    rows = tables["ai"]
    deep = sum(row["depth"] in ("deep", "breakthrough") for row in rows)
    yield (
        f"**Credited to AI systems**: {len(rows)} records, "
        f"{_percent(sum(row['share'] for row in rows))} of the log speedup, {deep or 'none'} of "
        "them deep."
    )


def _published(tables: Tables) -> Iterator[str]:
    rows = tables["published"]
    plain = _verdicts([row for row in rows if row["low"] is None])
    labelled = _verdicts([row for row in rows if row["low"] is not None])
    same = [row["same"] for row in tables["published_labels"]]
    yield (
        f"**Beside the published analysis**: of the figures that need no labels {plain}; of those "
        f"that rest on labels {labelled}. Of {len(same)} known labels {sum(same)} are ours too."
    )


def _verdicts(rows: Sequence[Row]) -> str:
    """Say how many agree, and which differ."""
    said = [row["verdict"] for row in rows]
    differs = [row["what"] for row in rows if row["verdict"] == "differs"]
    near = said.count("within label noise")
    parts = [f"{said.count('agrees')} of {len(said)} agree"]
    parts += [f"{near} more within label noise"] if near else []
    parts += [f"but not {'; '.join(differs)}"] if differs else []
    return ", ".join(parts)
