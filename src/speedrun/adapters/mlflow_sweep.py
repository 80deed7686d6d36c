"""A sweep's plan and files as the list of MLflow runs that shall exist, parents first.

Four kinds of parent run: ``pipeline`` (corpus, tokenize, records, tasks), ``references`` (the
records' own runs), one a trial (its nodes), and ``evaluation`` (similarity, judge, review,
audit, score, report). What the plan names and has no record yet is listed as unfinished.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from speedrun import files, schema, trials
from speedrun.adapters import mlflow_node, mlflow_run
from speedrun.adapters.mlflow_run import Mirror
from speedrun.trials import Plan, TrialPlan

TASK_STAGES = ("similarity", "judge", "review", "audit", "score")


@dataclass
class Sweep:
    """All runs of one sweep; ``unfinished`` names products of the plan without a record."""

    plan: Plan
    folder: Path  # results/<sweep>
    results: Path
    mirrors: list[Mirror] = field(default_factory=list)
    unfinished: list[str] = field(default_factory=list)

    def path(self, folder: str) -> Path:
        """Return where a folder that the plan names lies: beside results."""
        return self.results.parent / folder


def read_sweep(plan_path: Path, results: Path) -> Sweep:
    """Read everything of a sweep that is to be mirrored."""
    sweep = Sweep(trials.load(plan_path), plan_path.parent, results)
    _add_group(sweep, "pipeline", _products(sweep, _pipeline(sweep), "pipeline"))
    sweep.mirrors[0].attach("plan.json", plan_path)
    _add_group(sweep, "references", _references(sweep))
    for trial in sweep.plan.trials:
        _add_trial(sweep, trial)
    _add_group(sweep, "evaluation", _products(sweep, _evaluation(sweep), "evaluation"))
    return sweep


def _add_group(sweep: Sweep, name: str, children: list[Mirror]) -> None:
    plan = sweep.plan
    group = Mirror(key=name, name=name, stage=name)
    group.add_params({"track": plan.track.name, "hardware": plan.hardware})
    group.add_params({"config_digest": plan.config_digest})
    _add_family(sweep, group, children)


def _add_family(sweep: Sweep, parent: Mirror, children: list[Mirror]) -> None:
    """Add a parent run, as long as its children together, and the children."""
    parent.start_ms = min((child.start_ms for child in children), default=1)
    parent.end_ms = max((child.end_ms for child in children), default=1)
    sweep.mirrors += [parent, *children]


def _pipeline(sweep: Sweep) -> dict[str, Path]:
    """Return the records of all that comes before the first node, by the name of their run."""
    plan, results, corpus = sweep.plan, sweep.results, sweep.plan.track.corpus
    ends = {record for task in plan.tasks for record in (task.start, task.target)}
    paths = {f"corpus {corpus}": results / "corpus" / corpus / "corpus.record.json"}
    paths[f"tokenize {corpus}"] = results / "shards" / corpus / "tokenize.record.json"
    for record in sorted(ends | set(plan.references)):
        folder = results / "records" / plan.track.name / record
        paths[f"record {record}"] = folder / "records.record.json"
    for task in plan.tasks:
        paths[f"task {task.task}"] = sweep.path(task.folder) / "task.record.json"
    return paths


def _evaluation(sweep: Sweep) -> dict[str, Path]:
    """Return the records of the scoring stages and the report, by the name of their run."""
    folder, track = sweep.folder, sweep.plan.track.name
    paths = {
        f"{stage} {task.task}": folder / stage / track / f"{task.task}.{stage}.record.json"
        for task in sweep.plan.tasks
        for stage in TASK_STAGES
    }
    paths["report"] = folder / "report" / "report.record.json"
    return paths


def _products(sweep: Sweep, paths: dict[str, Path], parent: str) -> list[Mirror]:
    """Return one run a product that has its record; the others are unfinished."""
    sweep.unfinished += [name for name, path in paths.items() if not path.is_file()]
    found = {name: path for name, path in paths.items() if path.is_file()}
    return [mlflow_run.from_record(path, name, parent) for name, path in found.items()]


def _references(sweep: Sweep) -> list[Mirror]:
    found = []
    for record, folders in sweep.plan.references.items():
        for folder in folders:
            values = {"record": record, "hardware": sweep.plan.hardware}
            mirror = _node(sweep, folder, "references", values)
            if mirror is not None:
                mirror.name, mirror.stage = f"{record} {mirror.name}", "reference"
                found.append(mirror)
    return found


def _node(sweep: Sweep, key: str, parent: str, params: dict[str, Any]) -> Mirror | None:
    """Return the run of the node or reference in folder ``key``, None while there is nothing."""
    folder = sweep.path(key)
    if not mlflow_node.is_finished(folder):
        sweep.unfinished.append(key)
    return mlflow_node.node_mirror(folder, key, parent, params)


def _add_trial(sweep: Sweep, trial: TrialPlan) -> None:
    name = f"{trial.task} {trial.arm} s{trial.seed}"
    parent, nodes = Mirror(key=trial.folder, name=name, stage="trial"), _nodes(sweep, trial)
    _add_family(sweep, parent, nodes)
    parent.add_params(_settings(sweep, trial) | {"n_nodes": trial.n_nodes})
    if trial.start_from:
        _add_start(sweep, parent, sweep.path(trial.folder) / trials.START)
    _add_score(parent, _score_row(sweep, trial))
    _add_search(parent, nodes)


def _add_start(sweep: Sweep, parent: Mirror, start: Path) -> None:
    """Add to a cumulative trial where it starts from, or where its chain had ended."""
    path = start / "chain.record.json"
    if not path.is_file():
        sweep.unfinished.append(f"{parent.key}/{trials.START}")
        return
    record = schema.load(schema.StageRecord, path)
    parent.add_stage_params(record.params, record.stage)
    mlflow_run.add_provenance(parent, record)
    for name in (path.name, *record.artifacts):
        parent.attach(f"{trials.START}/{name}", start / name)


def _settings(sweep: Sweep, trial: TrialPlan) -> dict[str, Any]:
    """Return what decides a trial, the budget left out."""
    settings: dict[str, Any] = schema.to_dict(trial)
    del settings["folder"], settings["n_nodes"]
    return settings | {"track": sweep.plan.track.name, "hardware": sweep.plan.hardware}


def _nodes(sweep: Sweep, trial: TrialPlan) -> list[Mirror]:
    own = Path(trial.folder, trials.START, "solution")  # of a cumulative trial
    human = sweep.plan.task(trial.task).start_files
    start = sweep.path(str(own if trial.start_from else human))
    found = []
    for number in range(1, trial.n_nodes + 1):
        key = f"{trial.folder}/node_{number}"
        mirror = _node(sweep, key, trial.folder, _settings(sweep, trial))
        if mirror is not None:
            mlflow_node.add_diff(mirror, sweep.path(key), start)
            found.append(mirror)
    return found


def _add_search(parent: Mirror, nodes: list[Mirror]) -> None:
    """Log the search itself: every node's time and the best so far, against the node number."""
    best: float | None = None
    lines = ["|node|parent|action|outcome|time_s|", "|-|-|-|-|-|"]
    for node in nodes:
        number, time_s = int(node.params.get("node", "0")), node.last("time_s")
        best = min((t for t in (best, time_s) if t is not None), default=None)
        parent.add_point("node_time_s", time_s, node.end_ms, number)
        parent.add_point("best_time_s", best, node.end_ms, number)
        cells = [node.params.get(name, "") for name in ("node", "parent", "action", "outcome")]
        lines.append(f"|{'|'.join(cells)}|{'' if time_s is None else f'{time_s:.2f}'}|")
    parent.note = "\n".join(lines)[: mlflow_run.NOTE_LENGTH_MAX]


def _score_row(sweep: Sweep, trial: TrialPlan) -> dict[str, Any]:
    """Return the trial's row of the score stage, empty before that stage has run."""
    path = sweep.folder / "score" / sweep.plan.track.name / f"{trial.task}.json"
    rows = files.read_json(path)["trials"] if path.is_file() else []
    return next((row for row in rows if row["trial"] == trial.label), {})


def _add_score(parent: Mirror, row: dict[str, Any]) -> None:
    """Numbers of the score row become metrics, the rest parameters; None is not known."""
    for name, value in row.items():
        if isinstance(value, int | float) and not isinstance(value, bool):
            if name not in parent.params:  # the seed is a setting, no result
                parent.add_point(name, value, parent.end_ms)
        else:
            parent.add_params({name: value})
