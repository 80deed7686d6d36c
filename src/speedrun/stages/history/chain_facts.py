"""What a join needs to know of a track's records: kind of change, date; and of models: cutoff."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from speedrun import classification, registry, text_files
from speedrun.classification import FIELDS
from speedrun.files import SpeedrunError
from speedrun.stages.history import steps

UNKNOWN = "unknown"


@dataclass(frozen=True)
class Facts:
    """Of one track, by the record that a task's step ends at."""

    track: str
    words: dict[str, dict[str, str]]  # record -> field -> word, UNKNOWN where nothing says it
    dates: dict[str, str]  # record -> ISO 8601; none of our own records
    cutoffs: dict[str, str]  # model -> ISO 8601, of those that state one

    def word(self, task: str, field: str) -> str:
        """Return the word of a task's human step."""
        return self.words.get(target(task), {}).get(field, UNKNOWN)

    def period(self, task: str, model: str) -> str:
        """Say whether a record is from before or after a model's stated cutoff.

        A cutoff of a month or year, 2024-10, holds the whole of it.
        """
        date, cutoff = self.dates.get(target(task)), self.cutoffs.get(model)
        if date is None or cutoff is None:
            return UNKNOWN
        return "before cutoff" if date[: len(cutoff)] <= cutoff else "after cutoff"


def target(task: str) -> str:
    """Return r06 of r05-r06."""
    return task.rpartition("-")[2]


def load(root: Path, track: str) -> Facts:
    """Read a track's facts: from its registry and labels, or from each record.yaml.

    ``root`` is the repository. Errors: SpeedrunError naming the file that is missing or broken.
    """
    folder = root / "tracks" / track
    if (folder / "registry.yaml").is_file():
        return _fetched(folder, track, cutoffs(root / "config/model"))
    found = sorted((folder / "records").glob("*/record.yaml"))
    if not found:
        raise SpeedrunError(f"{folder} has no registry.yaml and no records: give a --track we have")
    records = {path.parent.name: text_files.yaml_mapping(path) for path in found}
    words = {
        name: {field: str(values.get(field, UNKNOWN)) for field in FIELDS}
        for name, values in records.items()
    }
    return Facts(track, words, {}, cutoffs(root / "config/model"))


def _fetched(folder: Path, track: str, known: dict[str, str]) -> Facts:
    found = registry.load(folder / "registry.yaml")
    labels = classification.load(folder / "classification/labels.csv", steps.numbers(found))
    chain = steps.steps_of(found, labels)
    words = {step.target.id: {field: step.word(field) for field in FIELDS} for step in chain}
    return Facts(track, words, {step.target.id: step.target.date for step in chain}, known)


def cutoffs(folder: Path) -> dict[str, str]:
    """Return the stated cutoff of each model that has one, from config/model."""
    models = [text_files.yaml_mapping(path) for path in sorted(folder.glob("*.yaml"))]
    return {
        str(model["name"]): str(model["cutoff_date"])
        for model in models
        if model.get("cutoff_date")
    }
