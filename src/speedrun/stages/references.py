"""references: what the runs of the records themselves say of a track's tasks on one hardware.

The records are trained by the workflow like any solution, into folders that all arms and sweeps
share. This stage reads them, answers for each task whether it can be measured (measurable.py) and
freezes the answers.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from speedrun import files, measurable, schema, trials
from speedrun.files import SpeedrunError
from speedrun.measurable import Entry, Frozen


@dataclass(frozen=True)
class Pair:
    """A task with the folder of each record's reference runs, and a sweep's audit of it."""

    task: str
    start: str
    target: str
    references: dict[str, str]
    audit: Path


def examine(track: schema.TrackSpec, pair: Pair, p_max: float) -> Entry:
    """Return whether a task can be measured: by all reference runs on disk, or its audit's rounds.

    An audit under other settings, whose references lie elsewhere, is not read. Without any data
    the answer is unknown.
    """
    times = {record: _times(track, Path(folder)) for record, folder in pair.references.items()}
    found = measurable.judge(times[pair.start], times[pair.target], _rounds(pair), p_max)
    return Entry(pair.task, pair.references, found)


def runs(folder: Path) -> list[Path]:
    """Return the analysed runs in a record's reference folder, in the order of their numbers."""
    found = [path.parent for path in folder.glob("run_*/analysis.json")]
    return sorted(found, key=lambda run: int(run.name.removeprefix("run_")))


def _times(track: schema.TrackSpec, folder: Path) -> list[float]:
    return trials.run_times(track, runs(folder))


def _rounds(pair: Pair) -> list[tuple[float, float]]:
    audit: dict[str, Any] = files.read_json(pair.audit) if pair.audit.is_file() else {}
    return measurable.rounds_of(audit) if audit.get("references") == pair.references else []


def graphics(pairs: Sequence[Pair]) -> list[str]:
    """Return the names of the graphics cards on which the reference runs were made, each once."""
    folders = sorted({folder for pair in pairs for folder in pair.references.values()})
    ended = [
        schema.load(schema.RunExit, run / "run" / "exit.json")
        for folder in folders
        for run in runs(Path(folder))
    ]
    return sorted({name for one in ended if one.gpus for name in one.gpus.names})


def freeze(path: Path, frozen: Frozen, *, fresh: bool) -> Frozen:
    """Write the tasks of ``frozen`` that have an answer; return what was written.

    Errors: SpeedrunError when ``path`` exists and ``fresh`` is not set, or no task has an answer.
    """
    refuse(path, fresh=fresh)
    known = [entry for entry in frozen.tasks if entry.finding.measurable is not None]
    if not known:
        raise SpeedrunError(
            f"none of {len(frozen.tasks)} tasks has enough reference runs to freeze an answer: "
            """make more with `snakemake references --config overrides='["references.runs=6"]'`"""
        )
    kept = Frozen(frozen.track, frozen.hardware, frozen.machine, frozen.date, known)
    measurable.save(path, kept)
    return kept


def refuse(path: Path, *, fresh: bool) -> None:
    """Raise SpeedrunError when a list is frozen already and is not to be made afresh."""
    if path.exists() and not fresh:
        raise SpeedrunError(f"{path} is frozen: --fresh replaces it by what is on disk now")
