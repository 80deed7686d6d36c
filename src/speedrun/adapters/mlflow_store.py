"""Publish: mirror a sweep's files into MLflow. The files are the truth, MLflow is a view.

Every run carries ``speedrun.key``, its stable name within the sweep, and ``speedrun.digest``,
over all that it holds. An equal pair is left alone; anything else is made anew, completely, and
only then are older runs of that key deleted. A publish that dies in between leaves an
unfinished run or a duplicate, which the next publish removes. MLflow deletes softly: `mlflow gc`
frees the space.

Runs whose node or trial has left the plan (a smaller budget, another override) stay, because
they were paid for, and say so in the tag ``speedrun.current``. Runs without a ``speedrun.key``
are somebody else's and are never touched.
"""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import unquote, urlparse

from speedrun.adapters import mlflow_connect, mlflow_sweep
from speedrun.adapters.mlflow_run import Mirror

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Metric, Param, Run, RunTag

KEY, DIGEST, PARENT = "speedrun.key", "speedrun.digest", "speedrun.parent"
CURRENT = "speedrun.current"
PARENT_RUN = "mlflow.parentRunId"
NOTE = "mlflow.note.content"
# The UI's classic model-training view; without it an experiment opens in the GenAI one.
EXPERIMENT_TAGS = {"mlflow.experimentKind": "custom_model_development"}
METRICS_A_CALL, VALUES_A_CALL, RUNS_A_PAGE = 1000, 100, 1000

T = TypeVar("T")


@dataclass(frozen=True)
class PublishReport:
    """What one publish did; ``unfinished`` names products of the plan that have no record yet."""

    experiment: str
    tracking_uri: str
    created: int  # runs of keys that the store did not have
    replaced: int  # runs made anew because their content changed
    kept: int  # runs that were equal already
    removed: int  # older, duplicate and unfinished runs that were deleted
    stale: int  # runs that have left the plan and stay
    unfinished: list[str]


@dataclass
class _Store:
    """One experiment as it stands: every active run of ours, by key."""

    client: MlflowClient
    experiment_id: str
    runs: dict[str, list[Run]]
    ids: dict[str, str] = field(default_factory=dict)  # key -> the run that stays


def publish(plan: Path, results: Path, tracking_uri: str) -> PublishReport:
    """Mirror the sweep of ``plan`` (results/<sweep>/plan.json) into MLflow.

    MLFLOW_TRACKING_URI, where set, wins over ``tracking_uri``. Raises SpeedrunError when the
    store cannot be reached or written; the results are only read.
    """
    uri = os.environ.get("MLFLOW_TRACKING_URI") or tracking_uri
    sweep = mlflow_sweep.read_sweep(plan, results)
    with mlflow_connect.connect(uri, plan.parent) as (client, artifact_root):
        experiment_id = _experiment(client, sweep.plan.sweep, artifact_root)
        store = _Store(client, experiment_id, _runs_by_key(client, experiment_id))
        return _sync(store, sweep, uri)


def _experiment(client: MlflowClient, name: str, artifact_root: str | None) -> str:
    """Return the sweep's experiment, made or restored from the bin as needed."""
    known = client.get_experiment_by_name(name)
    if known is None:
        location = f"{artifact_root}/{name}" if artifact_root else None
        return client.create_experiment(name, location, EXPERIMENT_TAGS)
    if known.lifecycle_stage == "deleted":
        client.restore_experiment(known.experiment_id)
    for tag, value in EXPERIMENT_TAGS.items():
        if known.tags.get(tag) != value:
            client.set_experiment_tag(known.experiment_id, tag, value)
    return str(known.experiment_id)


def _runs_by_key(client: MlflowClient, experiment_id: str) -> dict[str, list[Run]]:
    found: dict[str, list[Run]] = defaultdict(list)
    token: str | None = None
    while True:
        page = client.search_runs([experiment_id], max_results=RUNS_A_PAGE, page_token=token)
        for run in page:
            if KEY in run.data.tags:
                found[run.data.tags[KEY]].append(run)
        token = page.token
        if not token:
            return found


def _sync(store: _Store, sweep: mlflow_sweep.Sweep, uri: str) -> PublishReport:
    """Make or keep every run, parents first; then mend links; deletions come last."""
    known = set(store.runs)
    made = [mirror.key for mirror in sweep.mirrors if _ensure(store, mirror)]
    stale = _keep_stale(store)
    removed = _delete_others(store)
    return PublishReport(
        experiment=sweep.plan.sweep,
        tracking_uri=uri,
        created=len([key for key in made if key not in known]),
        replaced=len([key for key in made if key in known]),
        kept=len(sweep.mirrors) - len(made),
        removed=removed,
        stale=stale,
        unfinished=sweep.unfinished,
    )


def _ensure(store: _Store, mirror: Mirror) -> bool:
    """Keep the equal run of this key or make a new one; True when one was made."""
    digest = mirror.digest()
    equal = [run for run in store.runs.get(mirror.key, []) if _is_equal(run, mirror, digest)]
    if equal:
        kept = min(equal, key=lambda run: str(run.info.run_id))
        store.ids[mirror.key] = kept.info.run_id
        _set_tags(store, kept, {CURRENT: "true"} | _parent_link(store, mirror.parent))
        return False
    store.ids[mirror.key] = _create(store, mirror, digest)
    return True


def _is_equal(run: Run, mirror: Mirror, digest: str) -> bool:
    finished = run.info.status == "FINISHED" and run.data.tags.get(DIGEST) == digest
    return finished and _has_artifacts(run, mirror)


def _has_artifacts(run: Run, mirror: Mirror) -> bool:
    """Say whether a local artifact folder is complete; a remote one is taken at its word."""
    location = urlparse(run.info.artifact_uri)
    if location.scheme not in ("", "file"):
        return True
    folder = Path(unquote(location.path))
    return all((folder / name).is_file() for name in [*mirror.texts, *mirror.attachments])


def _parent_link(store: _Store, parent: str) -> dict[str, str]:
    return {PARENT_RUN: store.ids[parent]} if parent in store.ids else {}


def _set_tags(store: _Store, run: Run, tags: dict[str, str]) -> None:
    for name, value in tags.items():
        if run.data.tags.get(name) != value:
            store.client.set_tag(run.info.run_id, name, value)


def _create(store: _Store, mirror: Mirror, digest: str) -> str:
    """Write one run; FINISHED is set last and therefore means complete."""
    tags = mirror.tags | {KEY: mirror.key, DIGEST: digest, CURRENT: "true"}
    tags |= {"speedrun.stage": mirror.stage, PARENT: mirror.parent}
    tags |= {NOTE: mirror.note} if mirror.note else {}
    run = store.client.create_run(
        store.experiment_id,
        start_time=mirror.start_ms,
        tags=_parent_link(store, mirror.parent) | {KEY: mirror.key},
        run_name=mirror.name,
    )
    _log_values(store.client, run.info.run_id, mirror, tags)
    _log_artifacts(store.client, run.info.run_id, mirror)
    store.client.set_terminated(run.info.run_id, end_time=mirror.end_ms)
    return str(run.info.run_id)


def _log_values(client: MlflowClient, run_id: str, mirror: Mirror, tags: dict[str, str]) -> None:
    """Log metrics, parameters and tags in as few calls as MLflow's limits allow."""
    from mlflow.entities import Metric, Param, RunTag

    metrics = [Metric(p.name, p.value, p.time_ms, p.step) for p in mirror.points]
    params = [Param(name, value) for name, value in mirror.params.items()]
    run_tags = [RunTag(name, value) for name, value in tags.items()]
    for call in _calls(metrics, params, run_tags):
        client.log_batch(run_id, **call)


def _calls(
    metrics: list[Metric], params: list[Param], tags: list[RunTag]
) -> Iterable[dict[str, Any]]:
    """Yield the arguments of log_batch calls: usually one, more for long curves."""
    kinds: dict[str, list[Sequence[Any]]] = {
        "metrics": _chunks(metrics, METRICS_A_CALL - 2 * VALUES_A_CALL),
        "params": _chunks(params, VALUES_A_CALL),
        "tags": _chunks(tags, VALUES_A_CALL),
    }
    for number in range(max(len(chunks) for chunks in kinds.values())):
        yield {kind: chunks[number] for kind, chunks in kinds.items() if number < len(chunks)}


def _chunks(values: Sequence[T], size: int) -> list[Sequence[T]]:
    return [values[start : start + size] for start in range(0, len(values), size)]


def _log_artifacts(client: MlflowClient, run_id: str, mirror: Mirror) -> None:
    for name, text in mirror.texts.items():
        client.log_text(run_id, text, name)
    for name, path in mirror.attachments.items():
        folder = str(PurePosixPath(name).parent)
        client.log_artifact(run_id, str(path), None if folder == "." else folder)


def _keep_stale(store: _Store) -> int:
    """Tag what has left the plan and hang it below its parent's newest run; returns the count."""
    count = 0
    for key, runs in store.runs.items():
        finished = [run for run in runs if run.info.status == "FINISHED"]
        if key not in store.ids and finished:
            newest = finished[0]
            link = _parent_link(store, newest.data.tags.get(PARENT, ""))
            _set_tags(store, newest, {CURRENT: "false"} | link)
            store.ids[key] = newest.info.run_id
            count += 1
    return count


def _delete_others(store: _Store) -> int:
    """Delete every run of ours that is not the one that stays; returns the count."""
    ids = [(key, run.info.run_id) for key, runs in store.runs.items() for run in runs]
    others = [run_id for key, run_id in ids if store.ids.get(key) != run_id]
    for run_id in others:
        store.client.delete_run(run_id)
    return len(others)
