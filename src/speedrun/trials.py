"""plan.json, typed: what a sweep compares, and what its trials have produced so far.

The scoring stages know the sweep from this file alone. All paths in it are relative to the
working directory.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from speedrun import files, schema

START = "start"  # the folder in a cumulative trial of what it starts from
LINK, ANALYSIS, SOLUTION = "chain.json", "analysis.json", "solution"
READS = "reads"  # of TrackSpec.rules the one that looks at a run: which shards it opened

# columns of scores.csv, one row a trial
SCORE_COLUMNS = (
    "task", "arm", "coder", "model", "scaffold", "hints", "seed", "nodes", "outcome", "fsr",
    "fsr_audited", "fsr_low", "fsr_high", "similarity", "judge", "tokens", "cost_usd",
    "device_seconds", "verdict", "equivalent_to_1", "equivalent_to_0", "reason", "measurable",
    "measurable_reason", "mode", "fsr_own_start", "own_start_reason", "winners_curse", "n_flags",
    "flags", "p_faster",
)  # fmt: skip


@dataclass(frozen=True)
class TaskPlan:
    """One task: start record, target record and the folder with its public/ and private/."""

    task: str
    start: str
    target: str
    folder: str

    @property
    def start_files(self) -> Path:
        """Folder of the start record's source."""
        return Path(self.folder) / "public" / "start"

    @property
    def target_files(self) -> Path:
        """Folder of the target record's source; private, never shown to a coder."""
        return Path(self.folder) / "private" / "target"


@dataclass(frozen=True)
class NotRun:
    """A task that the hardware profile cannot run faithfully, and why."""

    task: str
    reason: str


@dataclass(frozen=True)
class TrialPlan:
    """One arm on one task with one seed; ``folder`` holds node_1 .. node_<n_nodes>."""

    task: str
    arm: str
    folder: str
    coder: str
    model: str
    scaffold: str
    hints: str
    mode: str
    seed: int
    n_nodes: int
    start_from: str = ""  # cumulative: the folder of the trial whose best solution it starts from

    @property
    def label(self) -> str:
        """Arm folder and seed folder, e.g. ``tuner-1a2b3c4d/s0``: unique within a task."""
        return "/".join(Path(self.folder).parts[-2:])


@dataclass(frozen=True)
class AuditPlan:
    """How winners are re-timed; fixed before any of them is known.

    No rounds: the slice of a plan for a stage that times nothing.
    """

    rounds: int = 0
    lanes: int = 0
    equivalence_margin: float = 0.0
    confidence: float = 0.9
    loss_p_max: float = 0.01  # the speedrun's rule: mean loss <= target at this p
    seed: int = 0
    references: str = "interleaved"  # or "reused": reference runs, and a few rounds for the drift
    drift_rounds: int = 0  # that the start runs in too, where references are reused
    noise_runs: int = 0  # of each winner and record, validated on random tokens
    holdout_runs: int = 0  # of each winner and record, validated on a shard that none reads


@dataclass(frozen=True)
class Plan:
    """The resolved sweep."""

    sweep: str
    track: schema.TrackSpec
    hardware: str
    config_digest: str
    config: dict[str, Any]
    references: dict[str, list[str]]
    tasks: list[TaskPlan]
    trials: list[TrialPlan]
    audit: AuditPlan
    embedder: dict[str, Any] = field(default_factory=dict)
    judge: dict[str, Any] = field(default_factory=dict)
    review: dict[str, Any] = field(default_factory=dict)  # reviewer: a model's settings, or None
    not_run: list[NotRun] = field(default_factory=list)
    p_max: float = 0.05  # below it start and target times differ (measurable.py)

    def task(self, name: str) -> TaskPlan:
        """Return the task called ``name``; an unknown one is an error that lists them."""
        for task in self.tasks:
            if task.task == name:
                return task
        known = ", ".join(task.task for task in self.tasks)
        raise files.SpeedrunError(f"sweep {self.sweep} has no task {name!r}: it has {known}")

    def trials_of(self, task: str) -> list[TrialPlan]:
        """Return the trials of one task in plan order."""
        return [trial for trial in self.trials if trial.task == task]


@dataclass(frozen=True)
class Node:
    """One finished candidate of a trial."""

    number: int
    folder: Path
    analysis: schema.Analysis

    @property
    def solution(self) -> Path:
        """Folder of the candidate's source; absent when the coder gave no code."""
        return self.folder / SOLUTION


@dataclass(frozen=True)
class Link:
    """start/chain.json of a cumulative trial, where ``source`` is called ``from``."""

    source: str  # the folder of the trial of the task before
    node: int | None  # its winner; None where the chain ended
    ended: bool
    reason: str  # why the chain ended, or which run the start comes from
    solution_digest: str = ""  # of the winner's code: other code is another link, to Snakemake too

    def to_json(self) -> dict[str, Any]:
        """Return the file's content."""
        values = {"node": self.node, "ended": self.ended, "reason": self.reason}
        return {"from": self.source, **values, "solution_digest": self.solution_digest}


def name(folder: Path) -> str:
    """Return a trial's stable name, <track>/<task>/<arm>-<digest>/s<seed>, from its folder.

    Of any other folder of results/ the last four names, which tell a reference run from all else.
    """
    return "/".join(folder.parts[-4:])


def load(path: Path) -> Plan:
    """Read plan.json."""
    return schema.load(Plan, path)


def nodes(trial: TrialPlan) -> list[Node]:
    """Return node_1 .. node_<n_nodes>; nodes of a larger budget beside them are not this trial's.

    A node without analysis.json is an error: the sweep is not finished.
    """
    return nodes_in(Path(trial.folder), trial.n_nodes)


def nodes_in(trial: Path, n_nodes: int) -> list[Node]:
    """Return the finished nodes of a trial's folder; ``nodes`` says which they are."""
    folders = [trial / f"node_{i}" for i in range(1, n_nodes + 1)]
    return [
        Node(i, folder, schema.load(schema.Analysis, folder / "analysis.json"))
        for i, folder in enumerate(folders, start=1)
    ]


def link(start: Path) -> Link | None:
    """Return what a trial with the folder ``start`` starts from; None: the human's start record.

    Errors: SpeedrunError for a broken chain.json.
    """
    path = start / LINK
    if not path.is_file():
        return None
    values = files.read_json(path)
    try:
        named = values["from"], values["node"], values["ended"], values["reason"]
        return Link(*named, values.get("solution_digest", ""))
    except (KeyError, TypeError) as error:
        raise files.SpeedrunError(f"{path} is no link of a chain: delete it, run again") from error


def own_start(start: Path) -> Path | None:
    """Return analysis.json of the solution that a trial starts from, None where there is none."""
    found = link(start)
    return None if found is None or found.ended else start / ANALYSIS


def own_code(start: Path) -> Path | None:
    """Return the code that a cumulative trial starts from, None where it is the human's record."""
    found = link(start)
    return None if found is None or found.ended else start / SOLUTION


def winner(candidates: list[Node]) -> Node | None:
    """Return the fastest node that reached the target (ties: the earliest), or None.

    The root, the start record itself, is not among the candidates: a trial that brings nothing
    has no winner instead of a free zero.
    """
    timed = [
        (node.analysis.time_s, node.number, node)
        for node in candidates
        if node.analysis.outcome == schema.Outcome.OK and node.analysis.time_s is not None
    ]
    return min(timed, key=lambda item: item[:2])[2] if timed else None


def reference_folder(plan: Plan, record: str) -> str:
    """Return the folder that holds a record's reference runs (run_0, run_1, ...)."""
    return str(reference_runs(plan, record)[0].parent)


def reference_runs(plan: Plan, record: str) -> list[Path]:
    """Return the folders of a record's reference runs.

    Errors: SpeedrunError for a whole sweep's plan whose tasks run the record in several settings;
    a task's times are those of its own setting, which its slice names.
    """
    folders = [Path(folder) for folder in plan.references.get(record, [])]
    if len({folder.parent for folder in folders}) > 1:
        raise files.SpeedrunError(
            f"{record} ran in several settings of sweep {plan.sweep}: give the task's slice, "
            f"--plan results/{plan.sweep}/plan/STAGE/{plan.track.name}/TASK.json"
        )
    return folders


def reference_name(plan: Plan, record: str, folder: Path) -> str:
    """Return the name of a record's runs: with their key where it ran in several settings."""
    settings = {Path(one).parent for one in plan.references[record]}
    return record if len(settings) == 1 else f"{record}/{folder.parent.name}"


def run_times(track: schema.TrackSpec, folders: list[Path]) -> list[float]:
    """Return the times of the analysed runs in ``folders`` that came to their end, in seconds."""
    runs = [schema.load(schema.Analysis, folder / "analysis.json") for folder in folders]
    return [clock for run in runs if (clock := time_s(track, run)) is not None]


def time_s(track: schema.TrackSpec, analysis: schema.Analysis) -> float | None:
    """Return a run's time on the track's clock, also of one whose loss ended above the target.

    None for a run that did not come to its end, or whose last loss is no number.
    """
    if analysis.outcome == schema.Outcome.OK:
        return analysis.time_s
    missed = analysis.outcome == schema.Outcome.MISSED_TARGET
    if not missed or analysis.val_loss is None or not analysis.curve:
        return None
    return point_s(track, analysis.curve[-1])


def point_s(track: schema.TrackSpec, point: schema.CurvePoint) -> float:
    """Return when a validation point was reached, in seconds on the track's clock."""
    if track.clock == "train_time":
        return point.train_time_ms / 1000
    return point.cpu_s if track.clock == "cpu" else point.wall_s
