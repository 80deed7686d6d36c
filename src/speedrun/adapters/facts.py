"""What is known here of a sweep before it is run: times of its records, lengths, finished nodes.

What was measured on this machine (results/) comes before what upstream published before what our
record files say.
"""

from __future__ import annotations

import itertools
import json
import statistics
from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import yaml

from speedrun import files, plan, registry
from speedrun.adapters import task_table
from speedrun.estimate import Asked
from speedrun.stages.task import HINT_FILES

START_CHARS = 40_000  # of a start record that is not here yet; nanogpt's have 20,000 to 190,000
NODES_READ = 300  # finished nodes whose calls are averaged


@dataclass
class Facts:
    """What is known on this machine of a resolved sweep."""

    repository: Path
    config: dict[str, Any]
    _sizes: dict[Path, int] = field(default_factory=dict)

    @cached_property
    def registry(self) -> registry.Registry | None:
        """The track's registry, if it has one."""
        return task_table.registry_of(self.repository, self.config["track"])

    @cached_property
    def times(self) -> dict[str, tuple[float | None, str]]:
        """Device hours of one run, and their origin, by a record's first reference folder."""
        tasks = plan.tasks(self.config)
        groups = [pair for task in tasks for pair in plan.references(self.config, task).items()]
        return {folders[0]: self._time(record, folders) for record, folders in groups}

    def _time(self, record: str, folders: Iterable[str]) -> tuple[float | None, str]:
        gpus = int(self.config["hardware"].get("world_size", 1))
        seconds = [found for folder in folders if (found := _device_seconds(Path(folder)))]
        if seconds:
            return statistics.mean(seconds) * gpus / 3600, "measured here"
        if self.registry:
            minutes = self.registry.record(record).time_minutes
            slowdown = float(self.config["hardware"].get("slowdown", 1.0))
            return minutes * slowdown * gpus / 60, "published"
        return self._from_record(record)

    def _from_record(self, record: str) -> tuple[float | None, str]:
        path = self._record_folder(record) / "record.yaml"
        said = yaml.safe_load(path.read_text(encoding="utf-8")) if path.is_file() else {}
        seconds = (said or {}).get("measured", {}).get("time_mean_s")
        return (seconds / 3600, "record.yaml") if seconds else (None, "unknown")

    def _record_folder(self, record: str) -> Path:
        return Path(self.repository, "tracks", self.config["track"]["name"], "records", record)

    @cached_property
    def start_chars(self) -> dict[str, int]:
        """Length of each task's start code."""
        return {task.name: self._code_chars(task.start) for task in plan.tasks(self.config)}

    def _code_chars(self, record: str) -> int:
        track = self.config["track"]
        fetched = Path(plan.RESULTS, "records", track["name"], record, "files")
        found = [path for path in fetched.rglob("*") if path.is_file()]
        own = self._record_folder(record) / track["entry"]
        sizes = [path.stat().st_size for path in found or [own] if path.is_file()]
        return sum(sizes) or START_CHARS

    def shown_chars(self, trial: plan.Trial) -> int:
        """Length of what every prompt of a trial holds: start code, hints and documents."""
        folder = self.repository / "hints" / self.config["track"]["name"] / trial.task
        shown = [folder / HINT_FILES[level] for level in trial.arm["hints"]]
        shown += [self.repository / path for path in trial.arm.get("knowledge", [])]
        return self.start_chars[trial.task] + sum(map(self._size, shown))

    def _size(self, path: Path) -> int:
        if path not in self._sizes:
            self._sizes[path] = path.stat().st_size if path.is_file() else 0
        return self._sizes[path]

    @cached_property
    def nodes(self) -> dict[tuple[str, str], list[Asked]]:
        """What finished nodes of this track really asked, by coder and model."""
        found: dict[tuple[str, str], list[Asked]] = {}
        pattern = f"trials/{self.config['track']['name']}/*/*/s*/node_*/generate.record.json"
        records = Path(plan.RESULTS).glob(pattern)
        for path in itertools.islice(records, NODES_READ):
            params = files.read_json(path)["params"]
            asked = _asked(path.with_name("calls.jsonl"))
            if asked:
                found.setdefault((params["coder"], params["model"]), []).append(asked)
        return found


def _device_seconds(folder: Path) -> float | None:
    path = folder / "analysis.json"
    seconds = files.read_json(path).get("device_seconds") if path.is_file() else None
    return float(seconds) if seconds else None


def _asked(calls: Path) -> Asked | None:
    """Return what a node's calls took; None when it made none or a count is not known."""
    lines = calls.read_text(encoding="utf-8").splitlines() if calls.is_file() else []
    made = [json.loads(line) for line in lines]
    made = [call for call in made if call["purpose"] == "node"]
    if not made or any(None in (call["tokens_in"], call["tokens_out"]) for call in made):
        return None
    totals = [sum(call[key] for call in made) for key in ("tokens_in", "tokens_out")]
    return Asked(len(made), *totals)
