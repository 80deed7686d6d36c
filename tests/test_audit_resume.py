"""audit: what was paid for is kept, through failures of ours and SIGKILL."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest

import sweep_files
from audit_runs import drifting, members, result, timed_run
from speedrun import files, interleave, trials
from speedrun.schema import Outcome
from speedrun.stages import audit


def test_fewer_lanes_reuse_what_more_lanes_paid_for(tmp_path: Path) -> None:
    calls: list[tuple[str, int, int]] = []
    run = timed_run(calls, lambda code, seed: 1.0)
    found = []
    for lanes, cpus in ((2, [0, 1]), (1, [1]), (2, [5, 7])):
        block = interleave.plan_block(members(tmp_path), "train.py", 4, lanes, 0, "s", cpus)
        found.append(interleave.run_block(block, sweep_files.TRACK, run, tmp_path / "store"))
    assert len(calls) == 4 * 3
    assert found[0] == found[1] == found[2]
    assert {one.cpu for one in found[2]} == {0, 1}  # where they were timed


def test_a_finished_block_runs_nothing_again(tmp_path: Path) -> None:
    plan = sweep_files.sweep(tmp_path)
    calls: list[tuple[str, int, int]] = []
    for _ in range(2):
        run = timed_run(calls, drifting)
        audit.audit_task(plan, "r01-r02", run, tmp_path / "s", tmp_path / "a.json", "spec")
        content = (tmp_path / "a.json").read_bytes()
    assert len(calls) == 4 * 5
    assert content == (tmp_path / "a.json").read_bytes()


def test_a_harness_failure_keeps_what_was_finished(tmp_path: Path) -> None:
    block = interleave.plan_block(members(tmp_path), "train.py", 3, 1, 0, "s", cpus=[0])
    done: list[int] = []

    def broken(solution: Path, entry: str, out: Path, seed: int, cpu: int):
        if len(done) == 4:
            raise files.SpeedrunError("no sandbox")
        done.append(seed)
        return result(Outcome.OK, 1.0, 3.4)

    with pytest.raises(files.SpeedrunError, match="no sandbox"):
        interleave.run_block(block, sweep_files.TRACK, broken, tmp_path / "store")
    calls: list[tuple[str, int, int]] = []
    run = timed_run(calls, lambda code, seed: 1.0)
    assert len(interleave.run_block(block, sweep_files.TRACK, run, tmp_path / "store")) == 9
    assert len(calls) == 5


KILLED = """
import sys, subprocess, time
sys.path[:0] = {path!r}
from pathlib import Path
import sweep_files, audit_runs
from speedrun import trials
from speedrun.stages import audit

def run(solution, entry, out, seed, cpu):
    with open("starts.txt", "a") as log:
        log.write(f"{{solution}} {{seed}}\\n")
    out.mkdir(parents=True)
    (out / "half").write_text("x")
    program = "import time; time.sleep(0.05)"
    subprocess.run([sys.executable, "-S", "-c", program], check=True)
    (out / "half").unlink()
    return audit_runs.result(audit_runs.Outcome.OK, audit_runs.drifting(
        (solution / entry).read_text(), seed), 3.4 + seed % 97 / 5000)

plan = trials.load(Path("sweep/plan.json"))
audit.audit_task(plan, "r01-r02", run, Path("store"), Path("a.json"), "spec")
"""


def test_a_killed_audit_resumes_with_the_same_bytes(tmp_path: Path) -> None:
    sweep_files.sweep(tmp_path, rounds=6)
    script = tmp_path / "go.py"
    script.write_text(KILLED.format(path=[str(Path(__file__).parent), *sys.path]))
    command = [sys.executable, str(script)]
    process = subprocess.Popen(command, cwd=tmp_path)
    finished = tmp_path / "store"
    deadline = time.monotonic() + 30
    while len(list(finished.glob("*/timing.json"))) < 5 and time.monotonic() < deadline:
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.wait()
    kept = len(list(finished.glob("*/timing.json")))
    assert 5 <= kept < 30
    assert not (tmp_path / "a.json").exists()
    subprocess.run(command, cwd=tmp_path, check=True)
    starts = (tmp_path / "starts.txt").read_text().splitlines()
    assert len(starts) in (30, 31)  # all once, and the one that was cut off again
    assert not list(finished.glob("*/run/half"))
    calls: list[tuple[str, int, int]] = []
    plan = trials.load(tmp_path / "sweep" / "plan.json")
    run = timed_run(calls, drifting)
    undisturbed = tmp_path / "b.json"
    audit.audit_task(plan, "r01-r02", run, tmp_path / "other", undisturbed, "spec")
    assert undisturbed.read_bytes() == (tmp_path / "a.json").read_bytes()


def test_a_failing_record_is_our_failure_and_is_not_kept(tmp_path: Path) -> None:
    plan = sweep_files.sweep(tmp_path)

    def run(solution: Path, entry: str, out: Path, seed: int, cpu: int):
        is_target = (solution / entry).read_text() == sweep_files.TARGET
        outcome = Outcome.TIMEOUT if is_target and "private" in str(solution) else Outcome.OK
        return result(outcome, 1.0, 3.4)

    arguments = (plan, "r01-r02", run, tmp_path / "s", tmp_path / "a.json", "spec")
    with pytest.raises(files.SpeedrunError, match="record target failed while being timed"):
        audit.audit_task(*arguments)
    kept = [files.read_json(p)["outcome"] for p in (tmp_path / "s").glob("*/timing.json")]
    assert "timeout" not in kept
    assert not (tmp_path / "a.json").exists()


def test_what_two_audits_share_is_run_once(tmp_path: Path) -> None:
    """Audits of neighbouring tasks run side by side and share a record's runs on noise."""
    block = interleave.plan_block(members(tmp_path, "a"), "train.py", 1, 1, 0, "s", cpus=[0])
    calls: list[tuple[str, int, int]] = []
    timed = timed_run(calls, lambda code, seed: 1.0)

    def run(solution: Path, entry: str, out: Path, seed: int, cpu: int):
        found = timed(solution, entry, out, seed, cpu)
        time.sleep(0.3)  # the other one has come by then
        assert (out / "log.txt").is_file()
        return found

    arguments = (block, sweep_files.TRACK, run, tmp_path / "store")
    with ThreadPoolExecutor(2) as pool:
        first, second = (pool.submit(interleave.run_block, *arguments) for _ in range(2))
    assert first.result() == second.result()
    assert len(calls) == 1


def test_a_failure_of_a_winner_that_is_a_records_copy_is_not_the_records(tmp_path: Path) -> None:
    (copy,) = members(tmp_path, "a")
    runs = [result(Outcome.TIMEOUT, 1.0, 3.4), result(Outcome.OK, 1.0, 3.4)]
    outcomes = []
    for trusted in (False, False, True):
        block = interleave.plan_block(
            [replace(copy, trusted=trusted)], "train.py", 1, 1, 0, "s", cpus=[0]
        )
        found = interleave.run_block(
            block, sweep_files.TRACK, lambda *_: runs.pop(0), tmp_path / "store"
        )
        outcomes += [one.outcome for one in found]
    assert outcomes == [Outcome.TIMEOUT, Outcome.TIMEOUT, Outcome.OK]
