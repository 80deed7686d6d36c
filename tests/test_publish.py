"""publish: the files are the truth, MLflow is a view that can be made again from them."""

from __future__ import annotations

import json
import math
import multiprocessing
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlparse

import pytest

from publish_sweep import RUNS, build_sweep, write_record, write_run
from speedrun import files, schema
from speedrun.adapters import mlflow_connect, mlflow_run, mlflow_store, mlflow_sweep
from speedrun.files import SpeedrunError
from speedrun.schema import StageRecord


def change_plan(plan: Path, change: Callable[[dict[str, Any]], None]) -> None:
    """Rewrite the plan after ``change``."""
    value = files.read_json(plan)
    change(value)
    files.write_json(plan, value)


# --- a store, and what is in it ------------------------------------------------------------


@pytest.fixture(scope="session")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return one initialised, empty SQLite store: making one costs seconds."""
    path = tmp_path_factory.mktemp("template") / "mlflow.db"
    with mlflow_connect.connect(f"sqlite:///{path}", path.parent):
        return path


@dataclass(frozen=True)
class Published:
    """One sweep that was published once; tests that change it work on a copy of results and store.

    A copy's runs keep their artifacts in the original's folder, which no test removes.
    """

    root: Path
    report: mlflow_store.PublishReport
    content: dict[str, Any]
    ids: dict[str, str]


@pytest.fixture(scope="session")
def original(tmp_path_factory: pytest.TempPathFactory, template: Path) -> Published:
    """Publish one sweep to SQLite, once for all tests."""
    root = tmp_path_factory.mktemp("original")
    shutil.copy(template, root / "mlflow.db")
    uri = f"sqlite:///{root / 'mlflow.db'}"
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("MLFLOW_TRACKING_URI", raising=False)
        report = publish(build_sweep(root), uri)
    return Published(root, report, dump(uri), ids_of(uri))


@pytest.fixture
def plan(tmp_path: Path, original: Published, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return the plan of a sweep of one's own, with no tracking server in the environment."""
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    shutil.copytree(original.root / "results", tmp_path / "results")
    return tmp_path / "results/tiny/plan.json"


@pytest.fixture
def uri(tmp_path: Path, original: Published) -> str:
    """Return the URI of a store of one's own in which the sweep has been published."""
    shutil.copy(original.root / "mlflow.db", tmp_path / "mlflow.db")
    return f"sqlite:///{tmp_path / 'mlflow.db'}"


@pytest.fixture
def empty(tmp_path: Path, template: Path) -> str:
    """Return the URI of an initialised, empty store."""
    shutil.copy(template, tmp_path / "empty.db")
    return f"sqlite:///{tmp_path / 'empty.db'}"


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


# --- pure ----------------------------------------------------------------------------------


def test_names_and_values_fit_mlflow() -> None:
    """Whatever a stage calls a parameter, MLflow takes it; long values keep their digest."""
    mirror = mlflow_run.Mirror("k", "n", "s")
    mirror.add_params({"a/b[1]=é": None, "x/y": {"../z": "v" * 9000}, "flag": True})
    assert set(mirror.params) == {"x_y..._z", "flag"}
    assert mirror.params["flag"] == "true"
    long = mirror.params["x_y..._z"]
    assert len(long) == mlflow_run.VALUE_LENGTH_MAX
    assert long.endswith(files.digest_text("v" * 9000)[:16])


def test_unknown_metrics_are_left_out_and_infinities_are_nan() -> None:
    """None is no zero, and an infinity would flatten every chart."""
    mirror = mlflow_run.Mirror("k", "n", "s")
    mirror.add_point("unknown", None, 1)
    mirror.add_point("diverged", math.inf, 1)
    assert [point.name for point in mirror.points] == ["diverged"]
    assert math.isnan(mirror.points[0].value)


def test_equal_names_with_other_values_are_kept_apart() -> None:
    """Two stages may use one metric name; neither is lost."""
    mirror = mlflow_run.Mirror("k", "n", "s")
    for stage, value in (("train", 1.0), ("analyze", 1.0), ("generate", 2.0)):
        mirror.add_metrics({"wall_s": value}, stage)
    assert {p.name: p.value for p in mirror.points} == {"wall_s": 1.0, "generate.wall_s": 2.0}


def test_times_come_from_the_record(tmp_path: Path) -> None:
    """A start without a zone is UTC; an unknown one is never now."""
    for started, expected in (
        ("1970-01-01T00:00:10", 10_000),
        ("1970-01-01T01:00:10+01:00", 10_000),
        ("", 1),
    ):
        write_record(tmp_path / "a.record.json", "a", [], started=started)
        record = schema.load(StageRecord, tmp_path / "a.record.json")
        assert mlflow_run.span_ms(record) == (expected, expected + 1500)


def test_digest_sees_every_part(plan: Path) -> None:
    """Any change of a parameter, metric, tag, text or file changes the digest."""
    mirrors = {m.key: m for m in mlflow_sweep.read_sweep(plan, plan.parent.parent).mirrors}
    mirror = mirrors["results/trials/nano/r01-r02/tuner-1a2b3c4d/s0/node_1"]
    seen = {mirror.digest()}
    mirror.params["new"] = "1"
    seen.add(mirror.digest())
    mirror.add_point("new", 1.0, 5)
    seen.add(mirror.digest())
    mirror.tags["new"] = "1"
    seen.add(mirror.digest())
    mirror.texts["solution.diff"] += " "
    seen.add(mirror.digest())
    files.write_text(mirror.attachments["summary.md"], "other")
    seen.add(mirror.digest())
    assert len(seen) == 6


def test_a_missing_artifact_is_named(plan: Path) -> None:
    """A record that promises a file which is gone is our error, with the next command."""
    (plan.parent.parent / "corpus/nano/manifest.json").unlink()
    with pytest.raises(SpeedrunError, match=r"manifest\.json.*missing.*snakemake"):
        mlflow_sweep.read_sweep(plan, plan.parent.parent)


def test_unfinished_products_are_listed_and_the_rest_is_mirrored(plan: Path) -> None:
    """A sweep that still runs can be looked at."""
    node = plan.parent.parent / "trials/nano/r01-r02/tuner-1a2b3c4d/s0/node_2"
    shutil.rmtree(node)
    (plan.parent / "judge/nano/r02-r03.judge.record.json").unlink()
    sweep = mlflow_sweep.read_sweep(plan, plan.parent.parent)
    key = "results/trials/nano/r01-r02/tuner-1a2b3c4d/s0/node_2"
    assert sorted(sweep.unfinished) == ["judge r02-r03", key]
    assert len(sweep.mirrors) == RUNS - 2


def test_a_chained_trial_shows_its_start_and_all_that_its_nodes_cost(plan: Path) -> None:
    """Draft, summary and chain are mirrored; a node's questions are summed under one name."""
    trial = "results/trials/nano/r02-r03/tuner-1a2b3c4d/s0"

    def chained(value: dict[str, Any]) -> None:
        value["trials"][1] |= {"mode": "cumulative", "start_from": trial.replace("r02-r03", "r01")}

    change_plan(plan, chained)
    assert f"{trial}/start" in mlflow_sweep.read_sweep(plan, plan.parent.parent).unfinished
    here = plan.parents[2] / trial
    files.write_json(here / "start/chain.json", {})
    files.write_tree(here / "start/solution", {"train.py": "lr = 2\n"})
    link = {"params": {"from": "there", "node": 2}}
    write_record(here / "start/chain.record.json", "chain", ["chain.json", "solution"], **link)
    files.write_text(here / "node_1/digest_model.md", "It learned.\n")
    write_record(here / "node_1/summarize.record.json", "summarize", [], tokens=30)
    files.write_text(here / "node_1/draft/preflight.json", "{}\n")
    found = {"params": {"passed": True}, "metrics": {"preflight_device_seconds": 2.0}}
    write_record(here / "node_1/draft/preflight.record.json", "preflight", [], **found)
    mirrors = {one.key: one for one in mlflow_sweep.read_sweep(plan, plan.parent.parent).mirrors}
    assert mirrors[trial].params["mode"] == "cumulative"
    assert mirrors[trial].params["chain.from"] == "there"
    assert {"start/chain.json", "start/solution/train.py"} <= set(mirrors[trial].attachments)
    node = mirrors[f"{trial}/node_1"]
    assert (node.last("tokens"), node.last("summarize.tokens")) == (1230.0, 30.0)
    assert node.last("cost_usd") is None  # not known
    assert node.last("preflight_device_seconds") == 2.0
    assert node.params["preflight.passed"] == "true"
    assert {"digest_model.md", "draft/preflight.json"} <= set(node.attachments)
    assert "-lr = 2" in node.texts["solution.diff"].splitlines()


def test_a_broken_plan_is_named(plan: Path) -> None:
    """A plan of another shape is an error, not a KeyError."""
    change_plan(plan, lambda value: value.pop("trials"))
    with pytest.raises(SpeedrunError, match=r"plan\.json.*trials"):
        mlflow_sweep.read_sweep(plan, plan.parent.parent)


# --- the store -----------------------------------------------------------------------------


def test_a_sweep_is_mirrored(original: Published) -> None:
    """Trials, nodes, curves, diffs and every other stage are there, under the right parents."""
    report, content = original.report, original.content
    assert (report.created, report.kept, report.removed, report.unfinished) == (RUNS, 0, 0, [])
    assert content[""]["mlflow.experimentKind"] == "custom_model_development"
    trial = "results/trials/nano/r01-r02/tuner-1a2b3c4d/s0"
    times, parent, tags, params, history, artifacts = content[f"{trial}/node_1"]
    assert parent == trial
    assert times == ("node_1", "FINISHED", 1795320000000, 1795320001500)
    assert {params[name] for name in ("arm", "coder")} == {"tuner"}
    assert (params["action"], params["parent"], params["note.lr"]) == ("improve", "0", "0.01")
    assert tags["generate.python"] == "3.11"
    assert history["val_loss"] == [
        (0, 1795320000000, "5.0"),
        (10, 1795320000500, "4.0"),
        (20, 1795320001000, "3.5"),
    ]
    assert [(step, value) for step, _, value in history["val_loss_by_ms"]] == [
        (0, "5.0"),
        (400, "4.0"),
        (800, "3.5"),
    ]
    assert history["probe_difference"][0][2] == "0.01"
    assert history["time_s"] == [(0, 1795320001500, "19.0")]
    assert history["generate.tokens"][0][2] == "1200.0"
    assert {"solution/train.py", "summary.md", "run/log.jsonl", "prompt.md"} <= set(artifacts)
    assert {"replies/turn_0.md", "solution.diff"} <= set(artifacts)


def test_failed_nodes_diffs_and_scores(original: Published) -> None:
    """A missed target has no time, NaN stays NaN, diffs follow the parent, scores are there."""
    content, runs = original.content, runs_of(f"sqlite:///{original.root / 'mlflow.db'}")
    trial = "results/trials/nano/r02-r03/tuner-1a2b3c4d/s0"
    _, _, _, params, history, _ = content[f"{trial}/node_2"]
    assert params["outcome"] == "missed_target"
    assert history["val_loss"][-1][2] == "nan"
    assert not {"time_s", "steps", "probe_loss", "train_time_ms"} & set(history)
    folder = Path(urlparse(runs[f"{trial}/node_2"].info.artifact_uri).path)
    lines = (folder / "solution.diff").read_text().splitlines()
    assert lines[:2] == ["--- a/train.py", "+++ b/train.py"]
    assert "-lr = 3" in lines and "+lr = 9" in lines
    first = Path(urlparse(runs[f"{trial}/node_1"].info.artifact_uri).path)
    assert "-lr = 1" in (first / "solution.diff").read_text().splitlines()
    _, _, tags, params, history, _ = content[trial]
    assert history["fsr_audited"][0][2] == "0.4"
    assert (params["outcome"], params["equivalent_to_0"]) == ("ok", "false")
    assert "seed" not in history
    assert "cost_usd" not in history
    assert [(step, value) for step, _, value in history["node_time_s"]] == [(1, "19.0")]
    assert [(step, value) for step, _, value in history["best_time_s"]] == [
        (1, "19.0"),
        (2, "19.0"),
    ]
    assert "|2|1|improve|missed_target|" in tags["mlflow.note.content"]
    assert content["audit r01-r02"][4]["audit_mean"][0][2] == "0.25"
    assert set(content["tokenize nano"][5]) == {"left_out.json", "tokenize.record.json"}
    assert "plan.json" in content["pipeline"][5]


def test_publishing_twice_changes_nothing(plan: Path, uri: str, original: Published) -> None:
    """The second publish keeps every run, identifiers included."""
    report = publish(plan, uri)
    assert (report.created, report.replaced, report.removed) == (0, 0, 0)
    assert report.kept == RUNS
    assert ids_of(uri) == original.ids
    assert dump(uri) == original.content


def test_a_deleted_store_is_restored(plan: Path, empty: str, original: Published) -> None:
    """Without database and artifacts, publishing makes the same content, in other runs."""
    assert publish(plan, empty).created == RUNS
    assert dump(empty) == original.content
    assert not set(ids_of(empty).values()) & set(original.ids.values())


def test_lost_artifacts_and_a_binned_experiment_are_restored(
    plan: Path, empty: str, original: Published
) -> None:
    """A run whose local artifacts are gone is made again; the bin is no obstacle."""
    publish(plan, empty)
    run = runs_of(empty)["report"]
    shutil.rmtree(Path(urlparse(run.info.artifact_uri).path))
    client_of(empty).delete_experiment(run.info.experiment_id)
    report = publish(plan, empty)
    assert (report.replaced, report.kept) == (1, RUNS - 1)
    assert dump(empty) == original.content


def test_a_changed_node_is_replaced_and_the_rest_stays(
    plan: Path, uri: str, original: Published
) -> None:
    """Node and trial are new, the sibling hangs below the new trial run, the rest is untouched."""
    trial = "results/trials/nano/r01-r02/tuner-1a2b3c4d/s0"
    write_run(plan.parent.parent.parent / trial / "node_1", 7.25)
    report = publish(plan, uri)
    assert (report.replaced, report.removed, report.created) == (2, 2, 0)
    content, ids, now = dump(uri), original.ids, ids_of(uri)
    assert {key for key in ids if ids[key] != now[key]} == {trial, f"{trial}/node_1"}
    assert content[f"{trial}/node_1"][4]["time_s"][-1][2] == "7.25"
    assert content[f"{trial}/node_2"][1] == trial


def test_what_left_the_plan_stays_and_says_so(plan: Path, uri: str, original: Published) -> None:
    """A smaller budget deletes nothing that was paid for; back in the plan, it is kept as it is."""
    change_plan(plan, lambda value: value["trials"][0].update(n_nodes=1))
    report = publish(plan, uri)
    node = "results/trials/nano/r01-r02/tuner-1a2b3c4d/s0/node_2"
    content = dump(uri)
    assert report.stale == 1
    assert ids_of(uri)[node] == original.ids[node]
    assert content[node][2]["speedrun.current"] == "false"
    assert content[node][1] == node.removesuffix("/node_2")  # below the new trial run
    change_plan(plan, lambda value: value["trials"][0].update(n_nodes=2))
    assert publish(plan, uri).stale == 0
    assert ids_of(uri)[node] == original.ids[node]
    assert dump(uri) == original.content


class Killed(BaseException):
    """Stands for the death of the process: nothing of ours catches it."""


@pytest.mark.parametrize("method", ["delete_run", "set_terminated"])
def test_a_publish_that_dies_is_cleaned_by_the_next(
    plan: Path, uri: str, monkeypatch: pytest.MonkeyPatch, method: str
) -> None:
    """Dying between create and delete, or before a run is complete, leaves nothing for good."""
    write_run(plan.parent.parent / "references/nano/cpu/r02/run_0", 7.25)

    def die(*_: Any, **__: Any) -> None:
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(f"mlflow.MlflowClient.{method}", die)
        with pytest.raises(Killed):
            publish(plan, uri)
    report = publish(plan, uri)
    assert report.removed >= 1
    key = "results/references/nano/cpu/r02/run_0"
    assert dump(uri)[key][4]["time_s"][-1][2] == "7.25"
    assert publish(plan, uri).kept == RUNS


def test_runs_of_others_are_never_touched(plan: Path, uri: str) -> None:
    """A run that somebody logged into the experiment by hand stays."""
    client = client_of(uri)
    experiment = client.get_experiment_by_name("tiny").experiment_id
    run = client.create_run(experiment, run_name="by hand")
    publish(plan, uri)
    assert client.get_run(run.info.run_id).info.lifecycle_stage == "active"


def _publish_in_child(plan: Path, uri: str, pipe: Any) -> None:
    pipe.send(publish(plan, uri).created)


@pytest.mark.slow
def test_two_processes_at_once_on_a_fresh_store(plan: Path, template: Path) -> None:
    """Both succeed, and together they make every run once."""
    assert template.is_file()  # MLflow is imported here once, not in each child
    uri = f"sqlite:///{plan.parent / 'fresh.db'}"
    context = multiprocessing.get_context("fork")
    receive, send = context.Pipe(duplex=False)
    children = [context.Process(target=_publish_in_child, args=(plan, uri, send)) for _ in "ab"]
    for child in children:
        child.start()
    for child in children:
        child.join(120)
    assert [child.exitcode for child in children] == [0, 0]
    assert sorted([receive.recv(), receive.recv()]) == [0, RUNS]
    assert len(runs_of(uri)) == RUNS


# --- what can go wrong ---------------------------------------------------------------------


def test_an_unreachable_server_is_named_quickly(
    plan: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The environment wins over the argument, and the error says what to do."""
    with socket.socket() as closed:  # bound and not listening: connections are refused
        closed.bind(("127.0.0.1", 0))
        server = f"http://127.0.0.1:{closed.getsockname()[1]}"
        monkeypatch.setenv("MLFLOW_TRACKING_URI", server)
        begin = time.monotonic()
        with pytest.raises(SpeedrunError) as error:
            publish(plan, "sqlite:///never.db")
    assert time.monotonic() - begin < 10
    for part in (server, "mlflow server", "unset MLFLOW_TRACKING_URI"):
        assert part in str(error.value)
    assert not Path("never.db").exists()


def test_a_file_that_is_no_database_is_refused_and_kept(plan: Path) -> None:
    """MLflow would retry for an hour and then say something else."""
    path = plan.parent / "broken.db"
    path.write_text("not a database, but somebody's file\n" * 9)
    before = files.digest_file(path)
    with pytest.raises(SpeedrunError, match="not a usable SQLite store"):
        publish(plan, f"sqlite:///{path}")
    assert files.digest_file(path) == before


def test_a_store_that_mlflow_refuses_is_explained(plan: Path, tmp_path: Path) -> None:
    """The old file store is refused by MLflow 3; we pass on why."""
    with pytest.raises(SpeedrunError, match="results are untouched"):
        publish(plan, (tmp_path / "mlruns").as_uri())


def _mount(folder: Path, size: str, *extra: str) -> bool:
    options = ",".join([f"size={size}", *extra])
    command = ["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(folder)]
    return subprocess.run(command, capture_output=True, check=False).returncode == 0


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """Yield a file system of 256 KiB; needs the right to mount."""
    folder = tmp_path / "disk"
    folder.mkdir()
    if os.geteuid() != 0 or shutil.which("mount") is None or not _mount(folder, "256k"):
        pytest.skip("needs the right to mount a small file system")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


def test_a_full_disk_loses_nothing(
    plan: Path, small_disk: Path, template: Path, original: Published
) -> None:
    """Full while the store is made, full while runs are written; with room it completes."""
    results, database = plan.parent.parent, small_disk / "mlflow.db"
    uri, before = f"sqlite:///{database}", files.digest_tree(results)
    with pytest.raises(SpeedrunError, match="disk full"):
        publish(plan, uri)
    assert not database.exists()  # and no half-made one either
    room_kb = template.stat().st_size // 1024 + 300
    assert _mount(small_disk, f"{room_kb}k", "remount")
    shutil.copy(template, database)
    with pytest.raises(SpeedrunError, match="disk full"):
        publish(plan, uri)
    assert 0 < len(runs_of(uri)) < RUNS
    assert files.digest_tree(results) == before
    assert _mount(small_disk, "64m", "remount")
    publish(plan, uri)
    assert dump(uri) == original.content


# --- a real server -------------------------------------------------------------------------


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
