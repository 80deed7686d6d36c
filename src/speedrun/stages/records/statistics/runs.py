"""The runs behind the records: upstream's logs, read from the repository and grouped.

A record's folder holds the runs that its author sent along: of the record, of the record before it
as a baseline, of variants, on the author's machines. Runs belong together if they have identical
code (all embedded files, normalised), the same GPUs, and all or none came to their end.
"""

from __future__ import annotations

import hashlib
import itertools
from collections import Counter
from dataclasses import dataclass

from speedrun import trainlog
from speedrun.registry import Registry
from speedrun.stages.records.sources import Repository
from speedrun.stages.records.verify import log_files

TIMED_ON = "8x NVIDIA H100 80GB HBM3"  # the machine of the speedrun's rules


@dataclass(frozen=True)
class Run:
    """One log, as far as statistics need it."""

    path: str
    code: str  # digest of all embedded files; "" for a log that embeds none
    hashes: dict[str, str]  # SHA-256 of each embedded file
    gpus: str  # e.g. "8x NVIDIA H100 80GB HBM3"; "" where the log does not say
    complete: bool
    val_loss: float  # nats per token, the last one
    train_time_s: float | None  # the last one printed; None in layout A


@dataclass(frozen=True)
class Group:
    """Runs of identical code on equal GPUs."""

    runs: list[Run]

    @property
    def code(self) -> str:
        """The digest of their code."""
        return self.runs[0].code

    @property
    def gpus(self) -> str:
        """Their GPUs."""
        return self.runs[0].gpus

    @property
    def complete(self) -> bool:
        """Whether they came to their end."""
        return self.runs[0].complete

    @property
    def losses(self) -> list[float]:
        """Last validation losses, nats per token."""
        return [run.val_loss for run in self.runs]

    @property
    def times_s(self) -> list[float]:
        """Printed training times, in seconds."""
        return [run.train_time_s for run in self.runs if run.train_time_s is not None]


@dataclass(frozen=True)
class Corpus:
    """All runs of a registry's records, by record; ``failures`` are logs that did not parse."""

    runs: dict[str, list[Run]]
    failures: dict[str, str]  # path -> why

    @property
    def count(self) -> int:
        """How many logs were parsed."""
        return sum(len(runs) for runs in self.runs.values())


def read(repository: Repository, registry: Registry) -> Corpus:
    """Parse every log of every linked folder at the registry's commit.

    Errors: SpeedrunError for a log that cannot be read; one that does not parse is a failure.
    """
    commit, paths = registry.upstream.commit, log_files(repository, registry)
    repository.prefetch({commit: paths})
    parsed: dict[str, Run] = {}
    failures: dict[str, str] = {}
    for path, content in repository.read_many(commit, paths):
        try:
            parsed[path] = run(path, content)
        except ValueError as error:
            failures[path] = str(error)
    return Corpus({one.id: _below(one.log_folder, parsed) for one in registry.records}, failures)


def _below(folder: str, parsed: dict[str, Run]) -> list[Run]:
    return [one for path, one in parsed.items() if folder and path.startswith(f"{folder}/")]


def run(path: str, content: bytes) -> Run:
    """Parse one log; ValueError with what is wrong for a text that is none."""
    log = trainlog.parse(content.decode("utf-8", "replace"))
    hashes = {name: _digest(text) for name, text in sorted(log.files.items())}
    counted = Counter(log.environment.gpus)
    time_ms = log.last.train_time_ms
    return Run(
        path=path,
        code=_digest(repr(hashes)) if hashes else "",
        hashes=hashes,
        gpus=", ".join(f"{count}x {name}" for name, count in counted.items()),
        complete=log.complete,
        val_loss=log.last.val_loss,
        train_time_s=None if time_ms is None else time_ms / 1000,
    )


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "replace")).hexdigest()


def groups(runs: list[Run]) -> list[Group]:
    """Return the runs grouped, largest group first."""

    def kind(run: Run) -> tuple[str, str, bool]:
        return run.code, run.gpus, run.complete

    ordered = itertools.groupby(sorted(runs, key=kind), key=kind)
    found = [Group(list(members)) for _, members in ordered]
    return sorted(found, key=lambda group: (-len(group.runs), group.runs[0].path))
