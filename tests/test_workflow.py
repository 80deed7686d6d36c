"""The DAG: what it plans, what an override reruns, and what a SIGKILL leaves behind."""

from __future__ import annotations

import csv
import fcntl
import io
import json
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest

import workflow_runs
from speedrun.adapters import workflow as jobs
from workflow_runs import REPORT, REPOSITORY, command, planned, run, stable_files

pytestmark = pytest.mark.dag

SIMULATED = ["hardware.trainer=simulated"]
PAGE = REPORT.format(sweep="nano")


@pytest.fixture(scope="module")
def simulated(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The nano sweep with the simulated trainer, undisturbed, up to its report."""
    folder = tmp_path_factory.mktemp("undisturbed")
    done = run(folder, "-c2", PAGE, overrides=SIMULATED)
    assert done.returncode == 0, done.stderr[-3000:]
    assert "report: results/nano/report/index.html" in done.stdout
    return folder


def test_the_main_job_plans_every_stage(tmp_path: Path) -> None:
    done = run(tmp_path, "-n", sweep="quickstart")
    assert done.returncode == 0, done.stderr[-2000:]
    jobs = planned(done.stdout + done.stderr)
    assert set(jobs) >= {
        *("corpus", "tokenize", "records", "task", "generate", "train", "analyze"),
        *("train_reference", "analyze_reference", "similarity", "judge", "review"),
        *("audit", "score", "report", "publish", "all"),
    }


def test_the_slurm_profile_plans_as_typed_at_the_root(tmp_path: Path) -> None:
    (tmp_path / "slurm").symlink_to(REPOSITORY / "slurm")
    done = run(tmp_path, "--profile", "slurm", "-n", sweep="quickstart")
    assert done.returncode == 0, done.stderr[-2000:]
    assert planned(done.stdout + done.stderr)["train"] > 0


def test_a_dry_run_ends_with_what_is_missing_where_the_trainings_run(tmp_path: Path) -> None:
    (tmp_path / "slurm").symlink_to(REPOSITORY / "slurm")
    for given, cards in ([], True), (["--profile", "slurm"], False):
        done = run(tmp_path, "references", "-n", *given, sweep="paper19")
        assert done.returncode == 0, done.stderr[-2000:]
        assert done.stderr.splitlines()[-1].startswith("speedrun: missing: ")
        assert ("missing: GPU: hardware 8xh100" in done.stderr) is cards


def test_a_sweep_too_large_for_one_plan_is_refused_and_a_part_of_it_is_not(tmp_path: Path) -> None:
    for target in ([], ["trials"]):
        done = run(tmp_path, "-n", *target, sweep="paper_main")
        assert done.returncode != 0
        assert "sweep paper_main is 511,939 jobs" in done.stderr.splitlines()[-1]
        assert "Traceback" not in done.stderr
    part = "results/records/nanogpt/r01/records.record.json"
    done = run(tmp_path, "-n", part, sweep="paper_main")
    assert done.returncode == 0 and planned(done.stdout)["records"] == 1


def test_a_corpus_that_is_not_there_is_one_line(tmp_path: Path) -> None:
    corpus = ["corpus=text", "corpus.paths=[nowhere]"]
    done = run(tmp_path, "-c1", "results/shards/text/meta.json", sweep="nanogpt", overrides=corpus)
    assert done.returncode != 0
    assert done.stderr.splitlines()[-1].startswith("speedrun: missing: corpus.paths: nowhere")


@pytest.mark.parametrize(
    ("sweep", "overrides", "message"),
    [
        ("quikstart", [], "unknown sweep 'quikstart'; nearest is 'quickstart'"),
        ("nano", ["scaffold.n_node=4"], "unknown key 'scaffold.n_node'"),
        ("nano", ["tasks=[r01-r03]"], "unknown task 'r01-r03'; nearest is"),
        ("nano", ["track.records=[r01,r09]"], "r09/train.py is missing"),
        ("nano", ["+arms.told={coder: 'null', hints: l3}"], "hints: l3 of task nano/r01-r02"),
        ("nano", ["seeds=3"], "seeds must be a list"),
    ],
)
def test_a_wrong_name_ends_in_one_line_before_any_job(
    tmp_path: Path, sweep: str, overrides: list[str], message: str
) -> None:
    done = run(tmp_path, "-c1", sweep=sweep, overrides=overrides)
    assert done.returncode != 0
    said = [line for line in done.stderr.splitlines() if line.startswith("speedrun:")]
    assert len(said) == 1 and message in said[0]
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "results").exists()


def test_an_undisturbed_run_is_complete(simulated: Path) -> None:
    text = (simulated / "results/nano/report/scores.csv").read_text(encoding="utf-8")
    rows = list(csv.DictReader(io.StringIO(text)))
    assert [(row["task"], row["arm"]) for row in rows] == [
        (task, arm) for task in ("r01-r02", "r02-r03") for arm in ("oracle", "null", "tuner")
    ]
    nodes = sorted(simulated.glob("results/trials/*/*/*/*/node_*"))
    assert len(nodes) == 8
    for node in nodes:
        assert (node / "summary.md").read_text().strip()


def test_a_run_holds_the_lock_of_its_folder(simulated: Path) -> None:
    assert (simulated / "results/.lock").read_text().isdecimal()


def test_a_run_locks_its_folder_and_puts_its_plan_back(tmp_path: Path) -> None:
    """Another plan, written before the lock was taken, does not stay; none is written after."""
    target = "results/records/nano/r01/records.record.json"
    written, lock = tmp_path / "results/nano/plan.json", tmp_path / "results/.lock"
    running = subprocess.Popen(
        command("-c1", target),
        cwd=tmp_path,
        env=workflow_runs.environment(),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        stop_when(running, written.is_file)
        assert not lock.exists()
        expected = written.read_text(encoding="utf-8")
        written.write_text("{}", encoding="utf-8")
        running.send_signal(signal.SIGCONT)
        stop_when(running, lambda: lock.is_file() and lock.read_text() == str(running.pid))
        done = run(tmp_path, "-n", target, overrides=["seeds=[0,1]"])
        assert f"another workflow (process {running.pid}) runs in this folder" in done.stderr
        running.send_signal(signal.SIGCONT)
        assert running.wait(timeout=120) == 0
    finally:
        running.kill()
        running.wait()
    assert written.read_text(encoding="utf-8") == expected
    with lock.open() as file:  # let go of at its end
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)


def stop_when(running: subprocess.Popen[bytes], condition: Callable[[], bool]) -> None:
    """Halt a process once ``condition`` holds."""
    deadline_s = time.monotonic() + 120
    while not condition():
        assert running.poll() is None and time.monotonic() < deadline_s
        time.sleep(0.005)
    running.send_signal(signal.SIGSTOP)


def test_nothing_is_left_to_do_after_a_run(simulated: Path) -> None:
    done = run(simulated, "-n", PAGE, overrides=SIMULATED)
    assert "Nothing to be done" in done.stdout + done.stderr


def test_a_deleted_product_is_made_again_for_the_report(simulated: Path, tmp_path: Path) -> None:
    shutil.copytree(simulated, tmp_path / "copy", symlinks=True)
    (tmp_path / "copy/results/nano/audit/nano/r01-r02.json").unlink()
    done = run(tmp_path / "copy", "-n", PAGE, "-R", "report", overrides=SIMULATED)
    jobs = planned(done.stdout + done.stderr)
    assert (jobs["audit"], jobs["report"]) == (1, 1)


def test_a_killed_run_finishes_with_the_same_bytes(simulated: Path, tmp_path: Path) -> None:
    kills = 0
    for seconds in (4.0, 5.0, 6.0, 7.5, 9.0):
        kills += workflow_runs.kill_after(tmp_path, seconds, "-c2", PAGE, overrides=SIMULATED)
    assert kills >= 3
    done = run(tmp_path, "-c2", PAGE, overrides=SIMULATED)
    assert done.returncode == 0, done.stderr[-3000:]
    assert stable_files(tmp_path) == stable_files(simulated)
    leftovers = [path for path in tmp_path.rglob(".*.??????*") if ".snakemake" not in path.parts]
    assert leftovers == []


@pytest.mark.parametrize(
    ("override", "expected"),
    [
        ("scaffold.n_nodes=3", {"generate": 2, "train": 2, "analyze": 2, "audit": 2}),
        ("embedder=minilm", {"similarity": 2, "score": 2, "report": 1}),
        ("audit.equivalence_margin=0.2", {"audit": 2, "score": 2, "report": 1, "review": 0}),
        ("audit.reviewer=o3_mini", {"review": 2, "audit": 2, "score": 2, "train": 0, "judge": 0}),
        ("track.rules=[network]", {"analyze": 8, "review": 2, "analyze_reference": 0}),
        ("+arms.again={coder: 'null'}", {"generate": 2, "train": 2, "analyze": 2, "audit": 2}),
        (
            "+arms.told={coder: 'null', hints: l1}",
            {"generate": 2, "train": 2, "analyze": 2, "audit": 2, "task": 0},
        ),
        ("seeds=[0,1]", {"generate": 8, "train": 8, "analyze": 8, "task": 0, "tokenize": 0}),
    ],
)
def test_an_override_reruns_only_what_it_touches(
    simulated: Path, tmp_path: Path, override: str, expected: dict[str, int]
) -> None:
    folder = tmp_path / "copy"
    shutil.copytree(simulated, folder, symlinks=True)
    done = run(folder, "-n", PAGE, overrides=[*SIMULATED, override])
    jobs = planned(done.stdout + done.stderr)
    assert {name: jobs.get(name, 0) for name in expected} == expected
    untouched = {"corpus", "tokenize", "records", "train_reference"}
    assert not untouched & set(jobs)


@pytest.mark.parametrize("arguments", [("-c1", PAGE), ("-n", PAGE), ("--lint",)])
def test_two_workflows_that_plan_in_one_folder_are_refused(
    tmp_path: Path, arguments: tuple[str, ...]
) -> None:
    lock = tmp_path / "results" / ".lock"
    lock.parent.mkdir()
    with lock.open("w") as file:
        file.write("4242")
        file.flush()
        fcntl.flock(file, fcntl.LOCK_EX)
        done = run(tmp_path, *arguments)
    assert done.returncode != 0
    assert "speedrun: another workflow (process 4242) runs in this folder" in done.stderr
    assert [path.name for path in (tmp_path / "results").iterdir()] == [".lock"]


@pytest.mark.parametrize("arguments", [("-n", PAGE), ("--lint",)])
def test_what_runs_no_job_plans_without_the_lock(
    tmp_path: Path, arguments: tuple[str, ...]
) -> None:
    run(tmp_path, *arguments)
    assert (tmp_path / "results/nano/plan.json").is_file()
    assert not (tmp_path / "results/.lock").exists()


def test_a_partial_target_prints_no_old_table(tmp_path: Path) -> None:
    table = tmp_path / "results/nano/report/table.txt"
    table.parent.mkdir(parents=True)
    table.write_text("a table of yesterday")
    os.utime(table, (time.time() - 86400,) * 2)
    done = run(tmp_path, "-c1", "results/records/nano/r01/records.record.json")
    assert done.returncode == 0, done.stderr[-2000:]
    assert "yesterday" not in done.stdout + done.stderr


def test_a_table_is_new_once_it_is_made_or_published(tmp_path: Path) -> None:
    table, published = tmp_path / "table.txt", tmp_path / "published.json"
    started_s = time.time()
    assert not jobs.made_since(started_s, table, published)
    table.touch()
    os.utime(table, (started_s - 60,) * 2)
    assert not jobs.made_since(started_s, table, published)
    published.touch()
    os.utime(published, (started_s + 60,) * 2)
    assert jobs.made_since(started_s, table, published)


def test_the_public_side_is_all_that_generate_and_train_are_given(simulated: Path) -> None:
    done = run(simulated, "-n", "-p", "-F", PAGE, overrides=SIMULATED)
    text = done.stdout + done.stderr
    mark = "Shell command: "
    lines = [line.split(mark)[1] for line in text.splitlines() if mark in line]
    for line in lines:
        verb = line.split()[1]
        private = [word for word in line.split() if "/private" in word]
        if verb == "generate" and "oracle-" not in line:
            assert private == []
        if verb == "train":
            assert all(word.endswith("contexts.npy") for word in private)
    assert {line.split()[1] for line in lines} >= {"generate", "train"}


def test_plan_json_tells_the_whole_sweep(simulated: Path) -> None:
    plan = json.loads((simulated / "results/nano/plan.json").read_text())
    assert plan["sweep"] == "nano"
    assert {trial["arm"] for trial in plan["trials"]} == {"oracle", "null", "tuner"}
    assert REPOSITORY.name not in json.dumps(plan["trials"])


def test_snakemake_finds_nothing_to_lint_but_our_one_environment(tmp_path: Path) -> None:
    """The rules share one environment, requirements.txt; all other lints are mended.

    Caps and endpoints decide no result, and so stay out of what a rerun depends on.
    """
    done = run(tmp_path, "--lint", sweep="quickstart")
    found = {line.strip() for line in (done.stdout + done.stderr).splitlines() if "    * " in line}
    assert found == {
        "* Specify a conda environment or container for each rule.:",
        "* Shell command directly uses variable OPERATION from outside of the rule:",
    }
