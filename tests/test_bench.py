"""The bench's training share: of one sweep's own records, in one session."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path
from types import ModuleType

import pytest

from speedrun import schema

BEGIN = "2026-01-01T00:{minute:02d}:00+00:00"


@pytest.fixture(scope="module")
def bench(repository: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location("bench_run", repository / "bench/run.py")
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def record(path: Path, minute: int, seconds: float) -> None:
    started = BEGIN.format(minute=minute)
    stage = path.name.split(".")[-3]
    facts = schema.StageRecord(stage, path.stem, {}, {}, {}, [], started=started, seconds=seconds)
    schema.save(path, facts)


@pytest.fixture()
def results(tmp_path: Path) -> Path:
    """A sweep of one trial with two nodes and one reference run, beside another sweep's files."""
    folder = tmp_path / "results/quickstart"
    trial = "results/trials/micro/r01-r02/tuner-0000aaaa/s0"
    reference = "results/references/micro/cpu/r01/run_0"
    plan = {"trials": [{"folder": trial, "n_nodes": 2}], "references": {"r01": [reference]}}
    folder.mkdir(parents=True)
    (folder / "plan.json").write_text(json.dumps(plan))
    record(tmp_path / reference / "train.record.json", 0, 60)
    record(tmp_path / trial / "node_1/train.record.json", 1, 120)
    record(tmp_path / trial / "node_2/train.record.json", 2, 60)
    record(folder / "audit/micro/r01-r02.audit.record.json", 4, 300)
    record(folder / "report/report.record.json", 9, 60)
    return folder


def test_the_share_counts_the_sweeps_own_records_alone(
    bench: ModuleType, results: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    trials = results.parent / "trials/micro/r01-r02"
    record(trials / "tuner-0000aaaa/s0/node_3/train.record.json", 40, 60)
    record(trials / "oracle-0000bbbb/s0/node_1/train.record.json", 50, 60)
    bench.training_share(results)
    said = capsys.readouterr().out
    assert "training ran in 480 of 600 s of wall time (80 %), 4 training jobs" in said


def test_records_of_two_sessions_have_no_share(
    bench: ModuleType, results: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    record(results / "publish/publish.record.json", 21, 1)
    bench.training_share(results)
    said = capsys.readouterr().out
    assert "span more than one session (nothing ran for 660 s)" in said
    assert "%" not in said
