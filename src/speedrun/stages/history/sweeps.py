"""A sweep's scores and nodes, from its own files: score/, report/scores.csv, report/nodes.csv."""

from __future__ import annotations

import csv
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from speedrun import files, trials
from speedrun.files import SpeedrunError

Row = dict[str, Any]
NUMBERS = ("fsr", "fsr_audited", "similarity", "judge")
NEEDED = ("task", "arm", "model", "hints", "outcome", "fsr", "fsr_audited")
NODES_NEEDED = ("task", "arm", "outcome")


@dataclass(frozen=True)
class Scores:
    """What was found of one sweep; ``plan`` leads to its code, ``nodes`` to those that failed."""

    rows: list[Row]
    nodes: list[Row]
    plan: Path | None
    read: list[Path]


def load(path: Path, track: str) -> Scores:
    """Read a sweep: its folder, the folder of its scores, or its scores.csv.

    Errors: SpeedrunError for what is none of these, of another track, or lacks a column.
    """
    if path.suffix == ".csv" and path.is_file():
        return _scores(_numbered(read_csv(path), path), path.parent.parent, [path], track)
    sweep = path.parent if path.name == "score" else path
    found = sorted((sweep / "score" / track).glob("r*-r*.json"))
    found = [one for one in found if not one.name.endswith(".record.json")]
    if not found:
        raise SpeedrunError(
            f"{path} holds no scores of track {track}: give results/SWEEP or a scores.csv, --track"
        )
    rows = [row for one in found for row in _trials(one)]
    return _scores(_numbered(rows, path), sweep, found, track)


def _scores(rows: list[Row], sweep: Path, read: list[Path], track: str) -> Scores:
    nodes, plan = sweep / "report" / "nodes.csv", sweep / "plan.json"
    also = [one for one in (nodes, plan) if one.is_file()]
    if plan in also and (name := trials.load(plan).track.name) != track:
        raise SpeedrunError(f"{sweep} is a sweep of track {name}, not {track}: give --track {name}")
    return Scores(
        rows,
        _with(NODES_NEEDED, read_csv(nodes), nodes) if nodes in also else [],
        plan if plan in also else None,
        [*read, *also],
    )


def _trials(path: Path) -> list[Row]:
    found = files.read_json(path)
    try:
        return [dict(row) for row in found["trials"]]
    except (KeyError, TypeError, ValueError) as error:
        raise SpeedrunError(f"{path} is no score of a task: delete it and run again") from error


def read_csv(path: Path) -> list[Row]:
    """Return the rows of a CSV with a header. Errors: SpeedrunError naming the file."""
    try:
        with path.open(encoding="utf-8", newline="") as file:
            return [dict(row) for row in csv.DictReader(file, restkey="", restval="", strict=True)]
    except (csv.Error, UnicodeDecodeError) as error:
        raise SpeedrunError(f"{path} is no CSV in UTF-8: {error}; make the report again") from error


def _numbered(rows: list[Row], path: Path) -> list[Row]:
    """Return rows with numbers or None in NUMBERS, and whether their task counts in means."""
    try:
        return [_typed(row) for row in _with(NEEDED, rows, path)]
    except (TypeError, ValueError) as error:
        raise SpeedrunError(f"{path}: {error}; make the report again") from error


def _with(names: Sequence[str], rows: list[Row], path: Path) -> list[Row]:
    """Return the rows, all of which have the columns. Errors: SpeedrunError naming one missing."""
    missing = [name for row in rows for name in names if name not in row]
    if missing:
        raise SpeedrunError(f"{path} has no column {missing[0]}: make the report again")
    return rows


def _typed(row: Row) -> Row:
    numbers = {name: _number(name, row.get(name)) for name in NUMBERS}
    return row | numbers | {"counts": row.get("measurable") in (None, "", "true")}


def _number(name: str, value: Any) -> float | None:
    """Return a number, or None where it is not known. Errors: ValueError for NaN and infinity."""
    if value in (None, ""):
        return None
    if not math.isfinite(found := float(value)):
        raise ValueError(f"{name} {value} is no finite number")
    return found
