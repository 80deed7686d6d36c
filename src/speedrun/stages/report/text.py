"""The report's words: numbers as they are shown, and the table that a run prints at its end."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from speedrun.verdict import FASTER_P

Row = dict[str, Any]
UNKNOWN = "-"
REPRODUCE, CUMULATIVE = "reproduce", "cumulative"


def as_text(rows: Sequence[Row]) -> str:
    """Return the table that a run prints at its end, one line a trial."""
    header = ["task", "arm", "hints", "seed", "outcome", "FSR", "audited", "interval", "curse"]
    header += ["verdict", *(["flags"] if has_flags(rows) else []), "similarity", "judge"]
    header += ["mode"] if is_mixed(rows) else []
    header += ["own start"] if is_cumulative(rows) else []
    body = [
        [
            row["task"], row["arm"], row["hints"], str(row["seed"]), row["outcome"],
            short(row["fsr"]), short(row["fsr_audited"]), _span(row),
            signed(row["winners_curse"]), _verdict(row),
            *([str(row["n_flags"])] if has_flags(rows) else []),
            short(row["similarity"]), short(row["judge"]),
            *([row["mode"]] if is_mixed(rows) else []),
            *([short(row["fsr_own_start"])] if is_cumulative(rows) else []),
        ]
        for row in rows
    ]  # fmt: skip
    widths = [max(len(line[i]) for line in [header, *body]) for i in range(len(header))]
    lines = ["  ".join(map(str.ljust, line, widths)).rstrip() for line in [header, *body]]
    return "\n".join([lines[0], "-" * len(lines[0]), *lines[1:]])


def has_flags(rows: Sequence[Row]) -> bool:
    """Say whether a flag of any winner waits for a person."""
    return any(row["n_flags"] for row in rows)


def signed(value: float | None) -> str:
    """Return a difference with its sign."""
    return UNKNOWN if value is None else f"{round(value, 2) + 0.0:+.2f}"


def is_mixed(rows: Sequence[Row]) -> bool:
    """Say whether a trial is in another mode than to reproduce: only then is the mode shown."""
    return any(row["mode"] != REPRODUCE for row in rows)


def is_cumulative(rows: Sequence[Row]) -> bool:
    """Say whether a trial starts from its own earlier solution: only then is FSR of two kinds."""
    return any(row["mode"] == CUMULATIVE for row in rows)


def own_start(row: Row) -> str:
    """Return a trial's FSR against its own start, with the reason where that is no plain number."""
    reason = row["own_start_reason"]
    return short(row["fsr_own_start"]) + (f" ({reason})" if reason else "")


def short(value: float | None) -> str:
    """Return a number with two decimals, a dash for an unknown one, never a negative zero."""
    return UNKNOWN if value is None else f"{value + 0.0:.2f}".replace("-0.00", "0.00")


def _span(row: Row) -> str:
    if row["fsr_low"] is None:
        return UNKNOWN
    return f"[{short(row['fsr_low'])}, {short(row['fsr_high'])}]"


def _verdict(row: Row) -> str:
    marks = [f"= {value}" for value in (0, 1) if row[f"equivalent_to_{value}"]]
    marks += ["not faster"] if is_not_faster(row) else []
    return ", ".join([(row["verdict"] or UNKNOWN).replace("_", " "), *marks])


def is_not_faster(row: Row) -> bool:
    """Say whether a winner that was timed again is not shown to be faster than the start."""
    p = row["p_faster"]
    return row["verdict"] not in (None, "failed") and p is not None and p >= FASTER_P
