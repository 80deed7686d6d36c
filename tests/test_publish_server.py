"""publish: a real MLflow server, filled and read over HTTP."""

from __future__ import annotations

import json
import math
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from publish_store import Published, client_of, publish
from publish_sweep import RUNS, change_plan
from speedrun import files

pytest_plugins = ("publish_fixtures",)


def _free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


@pytest.fixture
def server(tmp_path: Path, uri: str) -> Iterator[str]:
    """Yield the address of a real MLflow server on the store ``uri``."""
    address = f"http://127.0.0.1:{(port := _free_port())}"
    command = [sys.executable, "-m", "mlflow", "server", "--port", str(port), "--workers", "1"]
    command += ["--backend-store-uri", uri, "--artifacts-destination", str(tmp_path / "served")]
    with (tmp_path / "server.log").open("wb") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log, start_new_session=True)
    try:
        _await_health(address, process, tmp_path / "server.log")
        yield address
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait(30)


def _await_health(address: str, process: subprocess.Popen[bytes], log: Path) -> None:
    for _ in range(240):
        assert process.poll() is None, log.read_text()
        try:
            with urllib.request.urlopen(f"{address}/health", timeout=2):
                return
        except OSError:
            time.sleep(0.5)
    pytest.fail(log.read_text())


@pytest.mark.slow
def test_a_real_server(
    plan: Path, original: Published, server: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same content through HTTP; and what was published to SQLite is served with artifacts."""
    url = f"{server}/get-artifact?run_uuid={original.ids['report']}&path=scores.csv"
    with urllib.request.urlopen(url, timeout=30) as reply:
        assert reply.read() == (plan.parent / "report/scores.csv").read_bytes()
    change_plan(plan, lambda value: value.update(sweep="served"))
    monkeypatch.setenv("MLFLOW_TRACKING_URI", server)
    assert publish(plan, "unused").created == RUNS
    assert publish(plan, "unused").kept == RUNS
    client = client_of(server)
    runs = client.search_runs([client.get_experiment_by_name("served").experiment_id])
    served = {run.data.tags["speedrun.key"]: run for run in runs}
    for key, run in served.items():
        _, _, _, params, history, artifacts = original.content[key]
        if key != "pipeline":  # whose plan.json differs by the name
            assert run.data.params == params
            assert set(run.data.metrics) == set(history)
            local = Path(client.download_artifacts(run.info.run_id, ""))
            names = files.tree_files(local)
            assert {str(name): files.digest_file(local / name) for name in names} == artifacts
    assert len(served) == RUNS
    node = served["results/trials/nano/r01-r02/tuner-1a2b3c4d/s0/node_2"]
    losses = client.get_metric_history(node.info.run_id, "val_loss")
    assert math.isnan(losses[-1].value)
    assert json.loads(node.data.params["seed"]) == 0
