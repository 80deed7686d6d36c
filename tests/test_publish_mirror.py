"""publish: what of a sweep's files is mirrored, under which names, and what changes a run."""

from __future__ import annotations

import math
import shutil
from pathlib import Path
from typing import Any

import pytest

from publish_sweep import RUNS, build_sweep, change_plan, write_record
from speedrun import files, schema
from speedrun.adapters import mlflow_run, mlflow_sweep
from speedrun.files import SpeedrunError
from speedrun.schema import StageRecord


@pytest.fixture
def plan(tmp_path: Path) -> Path:
    """Return the plan of a sweep of one's own."""
    return build_sweep(tmp_path)


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
