"""Whole runs, for real: the fixture sweep with failing candidates and kills, and the quickstart."""

from __future__ import annotations

import csv
import io
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

import workflow_runs
from speedrun import files, schema, trials
from speedrun.schema import Outcome
from speedrun.stages import records
from workflow_runs import REPORT, environment, run

pytestmark = pytest.mark.slow

PINNED = {"oracle": 1, "null": 0}

# Constants moved by up to a factor of 10,000 break a script in every way: sizes, rates, steps.
BROKEN = "+arms.broken={coder: {name: tuner, factor: 10000, moves: 6}}"
NANO = [BROKEN, "audit.rounds=6"]


def rows(folder: Path, sweep: str, table: str) -> list[dict[str, str]]:
    text = (folder / f"results/{sweep}/report/{table}.csv").read_text(encoding="utf-8")
    return list(csv.DictReader(io.StringIO(text)))


@pytest.fixture(scope="module")
def nano(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The fixture sweep with an arm of broken candidates, through to MLflow."""
    folder = tmp_path_factory.mktemp("nano")
    done = run(folder, "-c2", overrides=NANO)
    assert done.returncode == 0, done.stderr[-3000:]
    assert "audited" in done.stdout and "report: results/nano/report/index.html" in done.stdout
    return folder


def test_failing_candidates_are_results_and_fail_nothing(nano: Path) -> None:
    nodes = [row for row in rows(nano, "nano", "nodes") if row["arm"] == "broken"]
    assert len(nodes) == 4
    outcomes = {Outcome(row["outcome"]) for row in nodes}
    assert outcomes - {Outcome.OK}
    scores = {(row["task"], row["arm"]): row for row in rows(nano, "nano", "scores")}
    assert len(scores) == 8
    assert all(scores[task, "oracle"]["outcome"] == "ok" for task in ("r01-r02", "r02-r03"))


def test_the_scale_is_pinned(nano: Path) -> None:
    """Runs of a second on shared cores are noisy: only the order is asserted on nano."""
    scores = {(row["task"], row["arm"]): row for row in rows(nano, "nano", "scores")}
    for task in ("r01-r02", "r02-r03"):
        oracle, null = (float(scores[task, arm]["fsr_audited"]) for arm in ("oracle", "null"))
        assert null < 0.5 < oracle
        similar = [float(scores[task, arm]["similarity"]) for arm in ("oracle", "null")]
        assert similar == [1.0, 0.0]


def test_publishing_again_changes_nothing(nano: Path) -> None:
    first = files.read_json(nano / "results/nano/publish/published.json")
    command = [sys.executable, "-m", "speedrun", "publish", "--plan", "results/nano/plan.json"]
    subprocess.run(
        [*command, "--out", "again.json"], cwd=nano, env=environment(), check=True, timeout=300
    )
    again = files.read_json(nano / "again.json")
    assert first["unfinished"] == again["unfinished"] == []
    assert first["created"] > 40
    assert (again["created"], again["replaced"], again["removed"]) == (0, 0, 0)
    assert again["kept"] == first["created"]


def test_the_workflows_own_report_works(nano: Path) -> None:
    done = run(nano, "--report", "report.html", overrides=NANO)
    assert done.returncode == 0, done.stderr[-2000:]
    assert (nano / "report.html").stat().st_size > 10_000


def finished(folder: Path) -> dict[str, str]:
    """Return the content of every finished run's exit; a repeated run has other clocks."""
    return {
        str(path.relative_to(folder)): path.read_text(encoding="utf-8")
        for path in folder.glob("results/**/finished.json")
    }


def test_a_killed_real_run_repeats_no_finished_node(tmp_path: Path) -> None:
    page = REPORT.format(sweep="nano")
    before: dict[str, str] = {}
    for seconds in (14.0, 10.0, 10.0):
        workflow_runs.kill_after(tmp_path, seconds, "-c2", page, overrides=["seeds=[0]"])
        now = finished(tmp_path)
        assert {name: now[name] for name in before} == before
        before = now
    assert before
    time.sleep(2)  # what the killed workflow started ends by itself
    left = subprocess.run(["pgrep", "-f", str(tmp_path)], capture_output=True, check=False)
    assert left.stdout == b""
    done = run(tmp_path, "-c2", page, overrides=["seeds=[0]"])
    assert done.returncode == 0, done.stderr[-3000:]
    after = finished(tmp_path)
    assert {name: after[name] for name in before} == before


@pytest.mark.timeout(1600)
def test_the_quickstart_pins_oracle_at_1_and_null_at_0(tmp_path: Path) -> None:
    started = time.monotonic()
    done = run(tmp_path, "-c2", sweep="quickstart", timeout_s=1500)
    assert done.returncode == 0, done.stderr[-3000:]
    print(f"quickstart: {time.monotonic() - started:.0f} s of wall time on 2 cores")
    print((tmp_path / "results/quickstart/report/table.txt").read_text(encoding="utf-8"))
    plan = trials.load(tmp_path / "results/quickstart/plan.json")
    scores = rows(tmp_path, "quickstart", "scores")
    assert len(scores) == len(plan.trials)
    margin = plan.audit.equivalence_margin
    for row in scores:
        if row["arm"] in PINNED:
            centre = PINNED[row["arm"]]
            # The estimate has a sd of about 0.06 here, so that this bound is 4 sd away. Whether the
            # whole interval lies inside it, which is what the table marks, is left to the noise.
            assert abs(float(row["fsr_audited"]) - centre) < margin, row
            inside = (
                centre - margin < float(row["fsr_low"]) < float(row["fsr_high"]) < centre + margin
            )
            assert row[f"equivalent_to_{centre}"] == str(inside).lower(), row
        if row["coder"] == "replay":
            assert row["tokens"] == row["cost_usd"] == ""  # not recorded, so not known
    for path in tmp_path.glob("results/trials/*/*/*/*/node_*/analysis.json"):
        analysis = schema.load(schema.Analysis, path)
        assert analysis.reason or analysis.outcome is Outcome.OK


def test_measuring_the_chain_prints_its_table_and_updates_the_cards(
    nano: Path, repository: Path, tmp_path: Path
) -> None:
    own = tmp_path / "repository"
    for part in ("config", "tracks"):
        shutil.copytree(repository / part, own / part)
    command = [sys.executable, "-m", "speedrun", "records", "--measure", "--track", "nano"]
    done = subprocess.run(
        [*command, "--rounds", "2", "--repository", str(own), "--write"],
        cwd=nano,
        env=environment(),
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert [line.split()[0] for line in done.stdout.splitlines()[1:4]] == ["r01", "r02", "r03"]
    assert "n = 2 a record" in done.stdout
    for record in ("r01", "r02", "r03"):
        card = records.read_card(own / "tracks/nano/records" / record / "record.yaml")
        assert card.measured is not None and card.measured.n == 2
        assert card.measured.time_mean_s > 0
