"""A duel as a person reads it: one table and the checks below it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from speedrun.stages.duel.conclusion import INVALID, NOT_SHOWN, REVIEW, Settings, advice, place
from speedrun.typed import from_dict

STATES = {
    "open": "to be looked at",
    "covered": "checked by the probes",
    "accepted": "accepted",
    "rejected": "rejected",
}
NAMES = {"a": "start", "b": "candidate"}
COLUMNS = "{:<{w}} {:>3}  {:>17}  {:>9}  {:>15}  {:>6}  {:>6}"


def text(result: dict[str, Any]) -> str:
    """Return the whole report of one duel."""
    return "\n".join(_lines(result))


def _lines(result: dict[str, Any]) -> Iterator[str]:
    settings = from_dict(Settings, result["settings"])
    yield from _rows(result)
    yield ""
    yield _ratio(result["time"])
    yield _probes(result["probes"])
    yield _late(result["late"], result["untimed"])
    yield from _rules(result)
    if result["verdict"] == INVALID:
        yield from (f"also: {sentence}" for sentence in result["evidence"][1:])
    if result["sandbox"] == "none":
        yield "sandbox: NONE: these programs could read and change whatever you can"
    yield f"verdict: {result['sentence']}"
    if result["verdict"] == REVIEW:
        yield f"  decide in {result['decisions']} (docs/duel.md), then run the same again"
    if result["verdict"] == NOT_SHOWN and (hint := advice(result["time"], settings)):
        yield f"  {hint}"


def _rows(result: dict[str, Any]) -> Iterator[str]:
    labels = {side: f"{side.upper()} {_short(result[side]['label'])}" for side in NAMES}
    width = max(map(len, labels.values()))
    p = f"p(<={result['target_loss']:g})"
    head = ("", "n", "loss mean +- sd", p, "time s mean +- sd", "failed", "missed")
    yield COLUMNS.format(*head, w=width)
    for side, label in labels.items():
        row = result["sides"][NAMES[side]]
        yield COLUMNS.format(
            label,
            row["n"],
            _mean(row["val_loss"], 4),
            _number(row["loss_rule"]["p"]),
            _mean(row["time_s"], 2),
            len(row["failures"]),
            row["n_missed"],
            w=width,
        )


def _short(label: str) -> str:
    return label if len(label) <= 32 else f"...{label[-29:]}"


def _mean(summary: dict[str, Any] | None, digits: int) -> str:
    if summary is None:
        return "-"
    sd = "-" if summary["sd"] is None else f"{summary['sd']:.{digits}f}"
    return f"{summary['mean']:.{digits}f} +- {sd}"


def _number(p: float | None) -> str:
    return "-" if p is None else f"{p:.2g}"


def _ratio(time: dict[str, Any] | None) -> str:
    if time is None:
        return "time B/A: no round has a time of both"
    said = f"time B/A {time['ratio']:.3f}"
    if time["low"] is not None:
        said += f", {time['confidence']:.0%} interval {time['low']:.3f} to {time['high']:.3f}"
    said += f", p(B/A < 1) = {_number(time['p'])}"
    if "no_worse_bound" in time:
        said += f", p(B/A < {time['no_worse_bound']:g}) = {_number(time['p_no_worse'])}"
    return f"{said}, {time['n']} rounds"


def _probes(probes: dict[str, Any]) -> str:
    if not probes["probed"]:
        return "probes: none on this track: whether the printed losses are true is not checked"
    if not probes["n"]:
        return "probes: no answers to compare"
    if probes["lower_bound"] is None:
        return "probes: one round shows no noise"
    state = "ok" if probes["ok"] else "TOO LOW A PRINT"
    return (
        f"probes: {state}: B's printed losses are too low by {probes['mean_excess']:+.4f} nats "
        f"beside A's, surely by {probes['lower_bound']:+.4f}, limit {probes['limit']:g}"
    )


def _late(late: dict[str, Any], untimed: list[str] | None) -> str:
    if untimed is not None:
        found = "; ".join(untimed) or "no stretch is longer than in A's runs"
        return f"off the printed clock: {found}"
    if not late["n"]:
        return "after the clock: not measured"
    state = "ok" if late["ok"] else "WORKS AFTER THE CLOCK"
    took = f"B {late['mean_s']:.2f} CPU s, A {late['records_s']:.2f}"
    charge = f"; {late['charge_s']:.2f} s are charged to B" if late["charge_s"] else ""
    return f"after the clock (probes, exit): {state}: {took}{charge}"


def _rules(result: dict[str, Any]) -> Iterator[str]:
    enabled, found = result["rules"], result["findings"]
    if not enabled:
        yield "rules: none is enabled on this track: the code is not checked"
        return
    findings = "1 finding" if len(found) == 1 else f"{len(found)} findings"
    yield f"rules: {len(enabled)} checked, {findings} in B against A"
    for one in found:
        state = "violation" if one["severity"] == "violation" else STATES[one["state"]]
        said = f" ({one['by']}: {one['why']})" if one["by"] else ""
        yield f"  {state}: {place(one)} [{one['rule']}:{one['key']}]{said}"
