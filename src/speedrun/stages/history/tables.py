"""The history as tables: plain rows, and CSV. Equal data give equal bytes."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from speedrun.classification import FIELDS
from speedrun.stages.history import agreement, noise, order, shares
from speedrun.stages.history.analysis import History
from speedrun.stages.history.shares import Share
from speedrun.stages.history.steps import Step, first_over_last, product

Row = dict[str, Any]
LARGEST = 10
SINCE = "2025-01-01"  # the last change of pace: from then on the median gain is about a percent


def steps(history: History) -> list[Row]:
    """Return one row a step, with the speedup up to it."""
    return [
        {
            "record": step.number,
            "task": step.task,
            "date": step.target.date,
            "start_minutes": step.start.time_minutes,
            "minutes": step.target.time_minutes,
            "gain_percent": 100 * (1 - step.target.time_minutes / step.start.time_minutes),
            "ln_gain": step.ln_gain,
            "speedup": product(history.steps[: place + 1]),
            **{field: step.word(field) for field in FIELDS},
            "confidence": step.label.confidence,
            "contributors": "; ".join(step.contributors),
            "ai_system": step.target.ai_system,
        }
        for place, step in enumerate(history.steps)
    ]


def share_rows(history: History) -> list[Row]:
    """Return the shares by depth, provenance, kind and half-year of each scope, with both noises.

    A half-year is no label: its shares have no interval.
    """
    return [
        row
        for scope, mine in history.scopes.items()
        for field in (*FIELDS, "half_year")
        for row in _field_rows(history, scope, mine, field)
    ]


def _field_rows(history: History, scope: str, mine: Sequence[Step], field: str) -> Iterator[Row]:
    noises = noise.NOISES if field in FIELDS else ()
    bands = {name: history.bands(mine, field, name) for name in noises}
    for share in history.shares(mine, field):
        row = _share(scope, share)
        for name in noise.NOISES:
            band = bands[name][share.word] if name in bands else None
            row |= {f"{name}_low": band and band.low, f"{name}_high": band and band.high}
        yield row


def _share(scope: str, share: Share) -> Row:
    values = dataclasses.asdict(share) | {"factor": share.factor}
    names = ("field", "word", "n", "ln_gain", "factor", "share")
    return {"scope": scope} | {name: values[name] for name in names}


def contributors(history: History) -> list[Row]:
    """Return everybody's share, of each scope, largest first."""
    return [
        _share(scope, share)
        for scope, mine in history.scopes.items()
        for share in history.shares(mine, "contributor")
    ]


def half_years(history: History) -> list[Row]:
    """Return how much of the whole log speedup each half-year and depth brought."""
    found = []
    for share in shares.shares(history.steps, "half_year"):
        mine = [step for step in history.steps if step.half_year == share.word]
        whole = shares.part(history.steps, mine)
        for one in shares.shares(mine, "depth"):
            found.append(
                {"half_year": share.word, "depth": one.word, "n": one.n, "factor": one.factor}
                | {"share": one.share * whole}
            )
    return found


def years(history: History) -> list[Row]:
    """Return each year's log speedup by kind: what people turned to as the easy gains went."""
    found = []
    for year in sorted({step.target.date[:4] for step in history.steps}):
        mine = [step for step in history.steps if step.target.date[:4] == year]
        for one in shares.shares(mine, "kind"):
            row = {"year": year, "kind": one.word, "n": one.n, "of": len(mine)}
            found.append(row | {"factor": one.factor, "share_of_year": one.share})
    return found


def largest(history: History) -> list[Row]:
    """Return the steps that decide the shares: those with the largest gains."""
    ranked = sorted(history.steps, key=lambda step: -step.ln_gain)[:LARGEST]
    return [
        {"record": step.number, "title": step.target.title, "factor": product([step])}
        | {"share": shares.part(history.steps, [step]), "confidence": step.label.confidence}
        | {field: step.word(field) for field in FIELDS}
        for step in ranked
    ]


def order_rows(history: History) -> list[Row]:
    """Return the place of deep steps and the trend of gains, of each scope and since 2025."""
    since = {"since 2025": [step for step in history.steps if step.target.date >= SINCE]}
    return [_order(history, scope, mine) for scope, mine in (history.scopes | since).items()]


def _order(history: History, scope: str, mine: Sequence[Step]) -> Row:
    found = order.placement(mine)
    names = [one.name for one in dataclasses.fields(order.Placement)]
    places = dataclasses.asdict(found) if found else dict.fromkeys(names)
    trend = dataclasses.asdict(order.trend(mine))
    band = history.doubted_p(mine)
    places |= {"p_front_low": band and band[0], "p_front_high": band and band[1]}
    return {"scope": scope} | places | {f"trend_{name}": trend[name] for name in trend}


def totals(history: History) -> list[Row]:
    """Return both totals of each scope; their quotient is what re-timing added to the clock."""
    return [
        {
            "scope": scope,
            "steps": len(mine),
            "first_minutes": mine[0].start.time_minutes,
            "last_minutes": mine[-1].target.time_minutes,
            "first_over_last": first_over_last(mine),
            "product": product(mine),
            "retimed": product(mine) / first_over_last(mine),
        }
        for scope, mine in history.scopes.items()
    ]


def ai(history: History) -> list[Row]:
    """Return the steps that upstream credits to an AI system."""
    return [
        {
            "record": step.number,
            "date": step.target.date,
            "ai_system": step.target.ai_system,
            "contributors": "; ".join(step.contributors),
            "factor": product([step]),
            "share": shares.part(history.steps, [step]),
            **{field: step.word(field) for field in FIELDS},
        }
        for step in shares.credited_to_ai(history.steps)
    ]


def agreements(history: History) -> list[Row]:
    """Return the agreement of the passes."""
    return [dataclasses.asdict(one) | {"raw": one.raw} for one in history.agreement]


def differences(history: History) -> list[Row]:
    """Return what the passes differ on."""
    found = agreement.differences(*history.passes, history.labels)
    return [dataclasses.asdict(one) for one in found]


def published_labels(history: History) -> list[Row]:
    """Return the published labels beside ours."""
    status = {(one.record, one.field): one for one in history.published.labels}
    return [
        {"record": one.record, "what": status[one.record, one.field].what, "field": one.field}
        | {"published": one.published, "ours": one.ours, "same": one.same}
        | {"status": status[one.record, one.field].status, "confidence": one.confidence}
        | {"evidence": one.evidence}
        for one in agreement.beside(history.published.labels, history.labels)
    ]


def published_figures(history: History) -> list[Row]:
    """Return the published figures beside ours."""
    return [
        {"figure": one.figure.key, "what": one.figure.what, "status": one.figure.status}
        | {"published": one.figure.value, "ours": one.ours}
        | {"low": one.moved and one.moved[0], "high": one.moved and one.moved[1]}
        | {"verdict": one.verdict, "ours_all": one.ours_all, "why": one.figure.why}
        for one in history.compared
    ]


TABLES: dict[str, Callable[[History], list[Row]]] = {
    "steps": steps,
    "shares": share_rows,
    "contributors": contributors,
    "half_years": half_years,
    "years": years,
    "largest": largest,
    "order": order_rows,
    "totals": totals,
    "ai": ai,
    "agreement": agreements,
    "differences": differences,
    "published_labels": published_labels,
    "published": published_figures,
}
