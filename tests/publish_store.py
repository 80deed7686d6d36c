"""One sweep in an MLflow store, published once for all tests, and what a store says of it."""

from __future__ import annotations

import functools
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlparse

import pytest

from publish_sweep import build_sweep
from speedrun import files
from speedrun.adapters import mlflow_connect, mlflow_store


@dataclass(frozen=True)
class Published:
    """One sweep that was published once; tests that change it work on a copy of results and store.

    A copy's runs keep their artifacts in the original's folder, which no test removes.
    """

    root: Path
    report: mlflow_store.PublishReport
    content: dict[str, Any]
    ids: dict[str, str]

    def copy_plan(self, folder: Path) -> Path:
        """Copy the results below ``folder`` and return the plan there."""
        shutil.copytree(self.root / "results", folder / "results")
        return folder / "results/tiny/plan.json"

    def copy_store(self, folder: Path) -> str:
        """Copy the store into ``folder`` and return its URI."""
        shutil.copy(self.root / "mlflow.db", folder / "mlflow.db")
        return f"sqlite:///{folder / 'mlflow.db'}"


@functools.cache
def template(base: Path) -> Path:
    """Return one initialised, empty SQLite store below ``base``: making one costs seconds."""
    path = base / "publish_template" / "mlflow.db"
    path.parent.mkdir()
    with mlflow_connect.connect(f"sqlite:///{path}", path.parent):
        return path


@functools.cache
def original(base: Path) -> Published:
    """Publish one sweep to SQLite below ``base``, once for all tests of the session."""
    root = base / "publish_original"
    root.mkdir()
    shutil.copy(template(base), root / "mlflow.db")
    uri = f"sqlite:///{root / 'mlflow.db'}"
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("MLFLOW_TRACKING_URI", raising=False)
        report = publish(build_sweep(root), uri)
    return Published(root, report, dump(uri), ids_of(uri))


def publish(plan: Path, uri: str) -> mlflow_store.PublishReport:
    """Publish the sweep of ``plan``, whose results lie two levels up."""
    return mlflow_store.publish(plan, plan.parent.parent, uri)


def client_of(uri: str) -> Any:
    """Return an MLflow client."""
    from mlflow import MlflowClient

    return MlflowClient(uri)


def runs_of(uri: str) -> dict[str, Any]:
    """Return the active runs by key; two of one key fail here."""
    client = client_of(uri)
    experiment = client.get_experiment_by_name("tiny")
    runs = client.search_runs([experiment.experiment_id], max_results=1000)
    found = {run.data.tags["speedrun.key"]: run for run in runs}
    assert len(found) == len(runs)
    return found


def artifacts_of(run: Any) -> dict[str, str]:
    """Return ``{name: sha256}`` of a run's artifacts on disk."""
    folder = Path(urlparse(run.info.artifact_uri).path)
    return {str(name): files.digest_file(folder / name) for name in files.tree_files(folder)}


def dump(uri: str) -> dict[str, Any]:
    """Return all that the store says about the sweep, without its random identifiers."""
    client, runs = client_of(uri), runs_of(uri)
    keys = {run.info.run_id: key for key, run in runs.items()}
    content: dict[str, Any] = {"": client.get_experiment_by_name("tiny").tags}
    for key, run in runs.items():
        tags = dict(run.data.tags)
        parent = keys[tags.pop("mlflow.parentRunId")] if "mlflow.parentRunId" in tags else ""
        history = {
            name: [
                (p.step, p.timestamp, repr(p.value))
                for p in client.get_metric_history(run.info.run_id, name)
            ]
            for name in run.data.metrics
        }
        times = (run.info.run_name, run.info.status, run.info.start_time, run.info.end_time)
        content[key] = (times, parent, tags, run.data.params, history, artifacts_of(run))
    return content


def ids_of(uri: str) -> dict[str, str]:
    """Return ``{key: run id}``."""
    return {key: run.info.run_id for key, run in runs_of(uri).items()}
