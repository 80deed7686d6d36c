"""The join: what sweeps reached, by the kind of research that the human's step was.

Means weigh tasks equally and leave out what is not shown to be measurable, as the report does; an
interval resamples the trials of each task (stats.stratified_bootstrap) and is empty where no task
has two.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Hashable, Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from speedrun import files, stats, text_files
from speedrun.classification import FIELDS
from speedrun.schema import Outcome
from speedrun.stages.history import chain_facts, recall, sweeps
from speedrun.stages.history.chain_facts import Facts
from speedrun.stages.history.sweeps import Row, Scores

__all__ = ["Facts", "facts", "write"]

facts = chain_facts.load
FAILED = [str(one) for one in Outcome if one not in (Outcome.OK, Outcome.NOT_ATTEMPTED)]


def write(known: Facts, paths: Sequence[Path], out: Path) -> tuple[list[Path], list[Path]]:
    """Write fsr.csv, contamination.csv, recall.csv and failures.csv to ``out``.

    Returns the paths written and the files read.
    """
    found = [sweeps.load(path, known.track) for path in paths]
    rows = [row for one in found for row in one.rows]
    made = {
        "fsr": fsr_rows(known, rows),
        "contamination": contamination_rows(known, rows),
        "recall": [row for one in found if one.plan for row in recall.rows(one.plan)],
        "failures": failure_rows(known, [node for one in found for node in one.nodes]),
    }
    for name, content in made.items():
        files.write_text(out / f"{name}.csv", text_files.to_csv(content))
    return [out / f"{name}.csv" for name in made], _read(found)


def suspects(out: Path) -> list[str]:
    """Return a line for each winner without hints that recall.csv suspects."""
    rows = sweeps.read_csv(out / "recall.csv")
    return [
        f"recall suspect: {row['task']} {row['trial']}: {row['shared']} of {row['target_lines']} "
        "telling lines of the human's"
        for row in rows
        if row["state"] == recall.SUSPECT
    ]


def _read(found: Iterable[Scores]) -> list[Path]:
    return [path for one in found for path in one.read]


def fsr_rows(known: Facts, rows: Sequence[Row]) -> list[Row]:
    """Return FSR of each arm by depth, provenance and kind of the human's step."""
    return [
        {"field": field, "word": word, "arm": arm, "model": model} | _means(mine)
        for field in FIELDS
        for (word, arm, model), mine in _grouped(rows, _by_word(known, field))
    ]


def _by_word(known: Facts, field: str) -> Callable[[Row], tuple[str, str, str]]:
    return lambda row: (known.word(row["task"], field), row["arm"], row["model"])


def contamination_rows(known: Facts, rows: Sequence[Row]) -> list[Row]:
    """Return FSR of each arm for records from before and after its model's stated cutoff.

    Later records also are smaller gains on longer code, so that a fall is no proof of recall.
    """

    def key(row: Row) -> tuple[str, str, str, str]:
        model = row["model"]
        return row["arm"], model, row["hints"], known.period(row["task"], model)

    return [
        {"arm": arm, "model": model, "hints": hints, "cutoff": known.cutoffs.get(model)}
        | {"period": period}
        | _means(mine)
        for (arm, model, hints, period), mine in _grouped(rows, key)
    ]


def failure_rows(known: Facts, nodes: Sequence[Row]) -> list[Row]:
    """Return how many nodes of each arm failed, and how, by depth, provenance and kind.

    ``failed`` counts every outcome but ok and not_attempted; an unreadable outcome counts in
    ``nodes`` alone.
    """
    found = []
    for field in FIELDS:
        key = _by_word_and_arm(known, field)
        for (word, arm), mine in _grouped(nodes, key):
            counts = Counter(row["outcome"] for row in mine)
            failed = sum(counts[one] for one in FAILED)
            ended = {str(one): counts[one] for one in Outcome}
            row: Row = {"field": field, "word": word, "arm": arm, "nodes": len(mine)}
            found.append(row | {"failed": failed, "share_failed": failed / len(mine)} | ended)
    return found


def _by_word_and_arm(known: Facts, field: str) -> Callable[[Row], tuple[str, str]]:
    return lambda row: (known.word(row["task"], field), row["arm"])


def _grouped(
    rows: Sequence[Row], key: Callable[[Row], tuple[Any, ...]]
) -> list[tuple[tuple[Any, ...], list[Row]]]:
    """Return the rows by their key, keys in order."""
    groups: dict[Hashable, list[Row]] = {}
    for row in rows:
        groups.setdefault(key(row), []).append(row)
    return [(name, groups[name]) for name in sorted(groups, key=str)]  # type: ignore[misc]


def _means(rows: Sequence[Row]) -> Row:
    counted = [row for row in rows if row["counts"]]
    audited = _by_task(counted, "fsr_audited")
    interval = stats.stratified_bootstrap(audited) if audited else None
    return {
        "n_tasks": len({row["task"] for row in counted}),
        "n_trials": len(counted),
        "n_left_out": len(rows) - len(counted),
        "fsr": _mean(_by_task(counted, "fsr")),
        "fsr_audited": interval and interval.estimate,
        "low": interval and interval.low,
        "high": interval and interval.high,
    }


def _by_task(rows: Sequence[Row], column: str) -> dict[str, list[float]]:
    """Return a column's known values by task."""
    found: dict[str, list[float]] = {}
    for row in rows:
        if row[column] is not None:
            found.setdefault(row["task"], []).append(row[column])
    return found


def _mean(values: dict[str, list[float]]) -> float | None:
    return stats.mean_of_tasks([np.asarray(one) for one in values.values()]) if values else None
