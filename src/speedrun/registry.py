"""A track whose records live in somebody else's repository: its registry, typed and checked.

tracks/<track>/registry.yaml holds facts alone (times, dates, credits, where the source lies and its
SHA-256); the source itself is fetched by the user. A transition is a pair of consecutive record
numbers; the task of a transition starts at the last timing of its start record.
"""

from __future__ import annotations

import difflib
import itertools
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import yaml

from speedrun import schema
from speedrun.files import SpeedrunError

RECONSTRUCTED = "reconstructed_source"
FLAGS = {
    RECONSTRUCTED: "no source of the timed run exists: the nearest of its time stands in",
    "stand_in_program": "the timed program was another one (llm.c), and so is the linked log's",
    "arguments_from_log": "the arguments are the timed run's where its launch script differs",
    "torch_upgrade_only": "the change is a newer PyTorch",
    "retiming_row": "the table times the same record again",
    "no_log": "the table links no log",
    "pr_only_no_log": "the table links a pull request alone",
    "log_is_directory": "the table links a folder of logs",
    "linked_log_is_baseline": "the linked log times the record before",
    "linked_log_one_gpu": "the linked log is of one GPU",
    "linked_log_h200": "the linked log is of H200 GPUs",
    "linked_log_older_base": "the linked log's code lacks part of the records before",
    "linked_log_other_steps": "the linked log's run has another number of steps",
    "private_data_paths": "the linked log's code reads data from its author's folders",
}
NEEDS = {
    "cuda": "an NVIDIA GPU",
    "flex_attention": "torch.nn.attention.flex_attention",
    "fp8": "FP8 matmuls: compute capability 8.9 or newer",
    "hopper": "code for Hopper GPUs alone, such as FlashAttention 3",
    "triton": "hand-written Triton kernels",
    "tma": "Triton tensor descriptors (TMA)",
    "fa3_source": "flash_attn_interface, built from source",
    "kernel_hub": "kernels.get_kernel, which downloads a kernel at the first run",
    "tiktoken_download": "tiktoken's GPT-2 vocabulary, downloaded at the first run",
}
WORLD_SIZES = (1, 2, 4, 8)
GIT_SOURCES, LOG_SOURCE = ("git_early", "git_final"), "log"


@dataclass(frozen=True)
class Upstream:
    """The repository, pinned, and whose work it is."""

    url: str
    commit: str
    date: str
    licence: str
    attribution: str
    readme: str  # the page with the table of records
    table: str  # the heading under which the table stands


@dataclass(frozen=True)
class Source:
    """Where a record's files are: in a commit's tree, or embedded in a log of the pinned commit.

    The first of ``paths`` is the entry file; it is given the track's entry name.
    """

    kind: str  # "git_early" | "git_final" | "log"
    commit: str = ""  # git_*: the commit to read from
    paths: list[str] = field(default_factory=list)  # git_*: files of that commit
    log: str = ""  # log: the log that holds the source


@dataclass(frozen=True)
class Cite:
    """A paper or library that the record's change names as its origin."""

    title: str
    url: str = ""  # "" where upstream names it and links nothing


@dataclass(frozen=True)
class Record:
    """One row of the upstream table. Times are the table's, in minutes."""

    id: str  # r01 ... r89; a re-timing of the same number has a letter: r21b
    number: int
    time_minutes: float
    date: str  # ISO 8601
    title: str  # in our words
    era: str
    source: Source
    sha256: dict[str, str]  # file name under files/ -> SHA-256 of its normalised text
    variant: str = ""  # of a re-timing: what changed
    contributors: list[str] = field(default_factory=list)
    ai_system: str = ""  # an AI system that upstream credits
    pull_request: int | None = None
    cites: list[Cite] = field(default_factory=list)
    log: str = ""  # what upstream's table links: a file or a folder
    log_folder: str = ""  # the folder of all logs of this record
    flags: list[str] = field(default_factory=list)  # of FLAGS
    world_sizes: list[int] = field(default_factory=list)  # GPUs on which it is the same experiment
    world_size_reason: str = ""  # why not on others
    needs: list[str] = field(default_factory=list)  # of NEEDS
    arguments: list[str] = field(default_factory=list)  # of the entry file, where it takes any
    train_tokens: int | None = None  # tokens that a run of this source trains on
    steps: int | None = None  # optimizer steps of this source


@dataclass(frozen=True)
class Era:
    """Records that share an environment: one requirements file under workflow/envs/."""

    id: str
    title: str
    torch: str  # what upstream's logs name
    requirements: str  # file name under workflow/envs/
    python: str = "3.12"


@dataclass(frozen=True)
class Transition:
    """A pair of consecutive record numbers; ``excluded`` says why it is no task, or is ""."""

    task: str
    start: Record
    target: Record
    excluded: str = ""

    @property
    def gain_percent(self) -> float:
        """The human speedup, in percent of the start's time."""
        return 100 * (1 - self.target.time_minutes / self.start.time_minutes)

    @property
    def strict(self) -> bool:
        """Whether both sources are those of the timed runs."""
        return not any(RECONSTRUCTED in record.flags for record in (self.start, self.target))


@dataclass(frozen=True)
class Registry:
    """registry.yaml."""

    track: str
    entry: str
    upstream: Upstream
    eras: list[Era]
    excluded: dict[str, str]  # task -> why it is none
    records: list[Record]

    @cached_property
    def by_id(self) -> dict[str, Record]:
        """The records by their id."""
        return {record.id: record for record in self.records}

    def record(self, name: str) -> Record:
        """Return a record; an unknown name is an error that names the nearest."""
        if name not in self.by_id:
            nearest = self._nearest(name)
            raise SpeedrunError(
                f"registry: no record {name!r} in track {self.track}; the nearest is {nearest!r}"
            )
        return self.by_id[name]

    def _nearest(self, name: str) -> str:
        digits = re.search(r"\d+", name)
        number = int(digits.group()) if digits else None
        same = [record.id for record in self.records if record.number == number]
        return "".join(difflib.get_close_matches(name, same or self.by_id, n=1, cutoff=0))

    @cached_property
    def transitions(self) -> list[Transition]:
        """All pairs of consecutive numbers, the excluded ones too."""
        numbers = itertools.groupby(self.records, key=lambda record: record.number)
        timings = [list(rows) for _, rows in numbers]
        pairs = [(before[-1], after[0]) for before, after in itertools.pairwise(timings)]
        return [self._transition(*pair) for pair in pairs]

    def _transition(self, start: Record, target: Record) -> Transition:
        task = f"{start.id}-{target.id}"
        return Transition(task, start, target, self.excluded.get(task, ""))

    @cached_property
    def tasks(self) -> list[Transition]:
        """The transitions that are tasks."""
        return [pair for pair in self.transitions if not pair.excluded]


def load(path: Path) -> Registry:
    """Read a registry.yaml; every error names the file, and the key where there is one."""
    if not path.is_file():
        raise SpeedrunError(
            f"{path} is missing: a track that is fetched needs its registry; run where tracks/ is, "
            "or give --registry"
        )
    try:
        data: Any = yaml.load(path.read_text(encoding="utf-8"), Loader=_Loader)
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        reason = " ".join(str(error).split())
        raise SpeedrunError(f"{path} is not valid YAML: {reason}; correct it") from error
    if not isinstance(data, dict):
        raise SpeedrunError(f"{path}: expected keys and values, got {type(data).__name__}")
    try:
        registry = schema.from_dict(Registry, data)
    except SpeedrunError as error:
        raise SpeedrunError(f"{path}: {error}; correct that key") from error
    _check(registry, path)
    return registry


class _Loader(getattr(yaml, "CSafeLoader", yaml.SafeLoader)):  # type: ignore[misc]
    """YAML's safe loader, but a date stays the text that it is."""


_Loader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if tag != "tag:yaml.org,2002:timestamp"]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}


def _check(registry: Registry, path: Path) -> None:
    """Refuse what no reader could work with: double ids, unknown words, exclusions of nothing."""
    ids, eras = [record.id for record in registry.records], {era.id for era in registry.eras}
    faults = [f"record {name} stands twice" for name in dict.fromkeys(ids) if ids.count(name) > 1]
    for record in registry.records:
        if record.era not in eras:
            faults.append(f"record {record.id} is of era {record.era!r}, which is none")
        faults += [f"record {record.id}: {fault}" for fault in _record_faults(record)]
    known = {pair.task for pair in registry.transitions}
    faults += [f"excluded task {task} is none" for task in registry.excluded if task not in known]
    if faults:
        raise SpeedrunError(f"{path}: {faults[0]}; correct it")


def _record_faults(record: Record) -> Iterator[str]:
    vocabularies: list[tuple[str, Iterable[Any], Iterable[Any]]] = [
        ("flag", record.flags, FLAGS),
        ("need", record.needs, NEEDS),
        ("world size", record.world_sizes, WORLD_SIZES),
    ]
    for kind, words, known in vocabularies:
        for word in words:
            if word not in known:
                yield f"unknown {kind} {word!r} (known: {', '.join(map(str, known))})"
    yield from _source_faults(record.source)


def _source_faults(source: Source) -> Iterator[str]:
    if source.kind == LOG_SOURCE:
        if not source.log:
            yield "a source of kind log needs log"
    elif source.kind in GIT_SOURCES:
        if not (source.commit and source.paths):
            yield f"a source of kind {source.kind} needs commit and paths"
    else:
        yield f"source kind {source.kind!r} is none of {', '.join(GIT_SOURCES)}, {LOG_SOURCE}"
