"""`snakemake history`: one job, from this repository's files alone, and equal bytes again."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest

from workflow_runs import REPOSITORY, planned, run, stable_files

pytestmark = pytest.mark.dag
HISTORY = "results/history/nanogpt"


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which the target was made, without a sweep being asked for."""
    folder = tmp_path_factory.mktemp("history")
    done = run(folder, "history", "-c1", sweep="quickstart")
    assert done.returncode == 0, done.stderr[-3000:]
    assert planned(done.stderr) == {"history": 1, "total": 1}
    return folder


def test_it_makes_tables_figures_and_pages_of_every_record(finished: Path) -> None:
    out = finished / HISTORY
    assert len(list((out / "records").glob("r*.md"))) == 89
    assert {path.suffix for path in (out / "figures").iterdir()} >= {".svg"}
    assert (out / "tables/published.csv").is_file()
    assert (out / "history.md").read_bytes() == (REPOSITORY / "docs/history.md").read_bytes()


def test_it_is_done_until_a_label_changes(finished: Path) -> None:
    again = run(finished, "history", "-n", sweep="quickstart")
    assert "Nothing to be done" in again.stdout + again.stderr
    before = stable_files(finished)
    done = run(finished, "history", "-c1", "--forcerun", "history", sweep="quickstart")
    assert done.returncode == 0, done.stderr[-3000:]
    assert stable_files(finished) == before


def test_a_sweeps_own_history_follows_its_report(tmp_path: Path) -> None:
    done = run(tmp_path, "history_sweep", "-n")
    assert done.returncode == 0, done.stderr[-3000:]
    jobs = planned(done.stdout + done.stderr)
    assert (jobs["history_sweep"], jobs["report"], jobs.get("publish")) == (1, 1, None)


def test_a_finished_sweep_is_split_by_the_humans_changes(tmp_path: Path) -> None:
    overrides = ["hardware.trainer=simulated"]
    done = run(tmp_path, "history_sweep", "-c2", overrides=overrides)
    assert done.returncode == 0, done.stderr[-3000:]
    out = tmp_path / "results/nano/history"
    with (out / "recall.csv").open(encoding="utf-8", newline="") as file:
        states = {(row["arm"], row["state"]) for row in csv.DictReader(file)}
    assert states == {("oracle", "suspect"), ("null", "no"), ("tuner", "no")}
    assert all((out / f"{name}.csv").is_file() for name in ("fsr", "contamination", "failures"))
