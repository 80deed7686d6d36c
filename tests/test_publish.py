"""publish: the files are the truth, MLflow is a view that can be made again from them."""

from __future__ import annotations

import multiprocessing
import shutil
from pathlib import Path
from typing import Any
from urllib.parse import urlparse

import pytest

from publish_store import Published, client_of, dump, ids_of, publish, runs_of
from publish_sweep import RUNS, change_plan, write_run

pytest_plugins = ("publish_fixtures",)


@pytest.fixture
def empty(tmp_path: Path, template: Path) -> str:
    """Return the URI of an initialised, empty store."""
    shutil.copy(template, tmp_path / "empty.db")
    return f"sqlite:///{tmp_path / 'empty.db'}"


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
