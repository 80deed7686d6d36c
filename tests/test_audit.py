"""audit: interleaving, resuming after SIGKILL, the verdict's rule, the record chain."""

from __future__ import annotations

import dataclasses
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest

import running
import sweep_files
import train_bench
from speedrun import cli, files, interleave, schema, trials, verdict
from speedrun.cli import measure
from speedrun.interleave import Timing
from speedrun.runner import gpu
from speedrun.schema import Outcome
from speedrun.stages import audit

CLOCKS = {"start": 10.0, "target": 5.0, "oracle-aa/s0": 5.0, "null-bb/s0": 10.0}
CLOCKS["replay-cc/s0"] = 7.0


def result(outcome: Outcome, time_s: float, loss: float, probe: float = 0.01, after_s: float = 2.0):
    """Return what a run function returns, without having run anything."""
    probes = schema.ProbeResult(8, loss + probe, 0.01, loss, probe)
    changes = {"val_loss": loss, "probes": probes}
    found = sweep_files.analysis(outcome, time_s, **changes)
    ended = schema.RunExit(ran=True, reason="exited", cpu_s=time_s, cpu_total_s=time_s + after_s)
    return ended, found


def timed_run(calls: list[tuple[str, int, int]], clocks: Callable[[str, int], float]):
    """Return a run function whose times come from ``clocks(solution text, seed)``."""

    def run(solution: Path, entry: str, out: Path, seed: int, cpu: int):
        code = (solution / entry).read_text()
        calls.append((code, seed, cpu))
        files.write_text(out / "log.txt", code)
        return result(Outcome.OK, clocks(code, seed), 3.40 + (seed % 97) / 5000)

    return run


def drifting(code: str, seed: int) -> float:
    """Return times whose drift, shared within a round, is far larger than the differences."""
    base = {sweep_files.START: 10.0, sweep_files.TARGET: 5.0, sweep_files.AGENT: 7.0}[code]
    return base * (1 + (seed % 1000) / 500) * (1 + (seed * len(code) % 13) / 2000)


def test_drift_cancels_and_the_scale_is_pinned(tmp_path: Path) -> None:
    plan = sweep_files.sweep(tmp_path, rounds=6)
    calls: list[tuple[str, int, int]] = []
    run = timed_run(calls, drifting)
    out = tmp_path / "audit.json"
    audit.audit_task(plan, "r01-r02", run, tmp_path / "store", out, "spec")
    found = {entry["arm"]: entry for entry in files.read_json(out)["trials"]}
    assert found["oracle"]["equivalent_to_1"] and not found["oracle"]["equivalent_to_0"]
    assert found["null"]["equivalent_to_0"] and not found["null"]["equivalent_to_1"]
    assert found["replay"]["fsr"]["estimate"] == pytest.approx(0.6, abs=0.02)
    assert found["replay"]["fsr"]["high"] - found["replay"]["fsr"]["low"] < 0.05
    assert found["replay"]["fsr_audited"] == found["replay"]["fsr"]["estimate"]
    assert found["replay"]["verdict"] == "confirmed"
    assert found["replay"]["winner"]["node"] == 2
    assert found["tuner"]["winner"] is None and found["tuner"]["verdict"] is None


def test_a_round_shares_seed_and_cpu_and_orders_differ(tmp_path: Path) -> None:
    plan = sweep_files.sweep(tmp_path, rounds=6)
    calls: list[tuple[str, int, int]] = []
    run = timed_run(calls, drifting)
    data = audit.audit_task(plan, "r01-r02", run, tmp_path / "s", tmp_path / "a.json", "spec")
    assert len(calls) == 6 * 5
    assert {cpu for _, _, cpu in calls} <= os.sched_getaffinity(0)
    for one in data["rounds"]:
        assert sorted(one["order"]) == sorted(CLOCKS)
        assert sorted(one["runs"]) == sorted(CLOCKS)
    assert len({tuple(one["order"]) for one in data["rounds"]}) > 1
    assert len({one["seed"] for one in data["rounds"]}) == 6


def members(tmp_path: Path, names: str = "abc") -> list[interleave.Member]:
    for name in names:
        files.write_tree(tmp_path / name, {"train.py": f"print('{name}')\n"})
    return [interleave.member(name, tmp_path / name, trusted=False) for name in names]


def test_lanes_are_pinned_apart_and_never_exceed_the_cpus(tmp_path: Path) -> None:
    block = interleave.plan_block(members(tmp_path), "train.py", 5, 2, 0, "spec", cpus=[3, 7, 9])
    assert [(r.lane, r.cpu) for r in block.rounds] == [(0, 3), (1, 7), (0, 3), (1, 7), (0, 3)]
    single = interleave.plan_block(members(tmp_path), "train.py", 4, 8, 0, "spec", cpus=[5])
    assert {r.cpu for r in single.rounds} == {5}


def test_the_block_changes_with_everything_that_decides_it(tmp_path: Path) -> None:
    def digest(rounds: int = 4, seed: int = 0, spec: str = "s", names: str = "abc") -> str:
        items = members(tmp_path, names)
        return interleave.plan_block(items, "train.py", rounds, 1, seed, spec, [0]).digest

    variants = [digest(), digest(rounds=5), digest(seed=1), digest(spec="t"), digest(names="ab")]
    assert len(set(variants)) == len(variants)
    assert digest() == variants[0]


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


def test_lanes_run_side_by_side(tmp_path: Path) -> None:
    import threading

    meeting = threading.Barrier(2, timeout=10)

    def run(solution: Path, entry: str, out: Path, seed: int, cpu: int):
        meeting.wait()  # passes only if two lanes are inside at once
        return result(Outcome.OK, 1.0, 3.4)

    block = interleave.plan_block(members(tmp_path), "train.py", 2, 2, 0, "s", cpus=[0, 1])
    timings = interleave.run_block(block, sweep_files.TRACK, run, tmp_path / "store")
    assert [t.round for t in timings] == [0, 0, 0, 1, 1, 1]
    assert [t.member for t in timings] == [m.name for r in block.rounds for m in r.order]


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
import sweep_files, test_audit
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
    return test_audit.result(test_audit.Outcome.OK, test_audit.drifting(
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


def test_a_crash_of_the_winner_fails_the_audit_but_a_high_loss_does_not(tmp_path: Path) -> None:
    plan = sweep_files.sweep(tmp_path, rounds=8)
    rounds: dict[str, int] = {}

    def run(solution: Path, entry: str, out: Path, seed: int, cpu: int):
        name = str(solution)
        rounds[name] = rounds.get(name, 0) + 1
        loss = 3.30 + (seed % 97) / 5000
        if "replay" in name and rounds[name] == 3:
            return result(Outcome.CANDIDATE_ERROR, 1.0, 3.3)
        if "oracle" in name and rounds[name] == 3:
            return result(Outcome.MISSED_TARGET, 5.0, 3.51)
        return result(Outcome.OK, drifting((solution / entry).read_text(), seed), loss)

    audit.audit_task(plan, "r01-r02", run, tmp_path / "s", tmp_path / "a.json", "spec")
    found = {e["arm"]: e for e in files.read_json(tmp_path / "a.json")["trials"]}
    assert found["replay"]["verdict"] == "failed"
    assert "candidate_error" in found["replay"]["evidence"][0]
    assert found["replay"]["n_failed"] == 1
    assert found["replay"]["fsr"]["estimate"] == pytest.approx(0.6, abs=0.02)
    assert len(found["replay"]["savings"]) == 7
    assert found["oracle"]["verdict"] == "confirmed"
    assert (found["oracle"]["n_missed"], found["oracle"]["n_failed"]) == (1, 0)
    assert len(found["oracle"]["savings"]) == 8


def timing(
    round_: int, member: str, loss: float | None, probe: float | None, after_s: float | None
) -> Timing:
    return Timing(round_, member, 0, 1, Outcome.OK, "", 1.0, loss, probe, 3.0, after_s)


def judgement(
    losses: Sequence[float | None],
    probes: Sequence[float | None],
    after: Sequence[float | None] = (2.0,) * 6,
) -> tuple[str, list[str]]:
    """Return the verdict on an agent's rounds, beside a start and a target with ``PAIR``'s."""
    rounds = enumerate(zip(losses, probes, after, strict=False))
    runs = [timing(i, "agent", *values) for i, values in rounds]
    probed = any(probe is not None for probe in probes)
    records = [
        timing(i, name, 3.4, probe if probed else None, after_s)
        for i in range(len(runs))
        for name, probe, after_s in PAIR
    ]
    found = verdict.probe_rule(runs, runs + records)
    measured = {
        "loss": verdict.loss_rule(runs, 3.5, found["correction"]),
        "probes": found,
        "late": verdict.late_rule(runs, runs + records),
        "faster_than_start": None,
    }
    return verdict.judge(runs, measured, 0.01)


def judged(losses: Sequence[float | None], probes: Sequence[float | None]) -> str:
    return judgement(losses, probes)[0]


PAIR = (("start", 0.02, 1.6), ("target", 0.04, 2.0))
GOOD = [3.40, 3.42, 3.39, 3.41, 3.40, 3.38]
HONEST = [0.03, 0.05, 0.01, 0.04, 0.02, 0.03]


def test_the_loss_rule_is_the_mean_at_p() -> None:
    assert judged(GOOD, HONEST) == "confirmed"
    assert judged([*GOOD[:5], 3.51], HONEST) == "confirmed"  # one loss above the target
    assert judged([loss + 0.095 for loss in GOOD], HONEST) == "not_confirmed"
    assert judged([3.4] * 6, HONEST) == "not_confirmed"  # the seed is ignored
    assert judged(GOOD[:1], HONEST[:1]) == "not_confirmed"


def test_a_run_that_diverged_is_not_left_out_of_the_mean() -> None:
    word, evidence = judgement([*GOOD[:5], None], HONEST)
    assert word == "not_confirmed"
    assert evidence[0] == "1 of 6 runs ended without a finite loss"
    assert judged([None] * 6, HONEST) == "not_confirmed"


def test_a_run_that_diverged_has_no_time(tmp_path: Path) -> None:
    block = interleave.plan_block(members(tmp_path, "a"), "train.py", 1, 1, 0, "s", cpus=[0])

    def run(solution: Path, entry: str, out: Path, seed: int, cpu: int):
        ended, missed = result(Outcome.MISSED_TARGET, 4.0, 3.9)
        return ended, dataclasses.replace(missed, val_loss=None)

    (one,) = interleave.run_block(block, sweep_files.TRACK, run, tmp_path / "store")
    assert (one.time_s, one.val_loss, one.failed) == (None, None, False)


def test_a_print_that_is_surely_too_low_is_not_confirmed() -> None:
    # each run is far within its own tolerance of 0.3, together they are not explained by noise
    word, evidence = judgement(GOOD, [probe + 0.08 for probe in HONEST])
    assert word == "not_confirmed"
    assert evidence[0].startswith("probe loss exceeds the printed loss by +0.0800 more than")
    assert "above the limit 0.05" in evidence[0]
    noisy = [0.25, -0.2, 0.1, -0.1, 0.2, -0.05]
    assert judged(GOOD, noisy) == "confirmed"
    assert judged(GOOD, [-0.2] * 6) == "confirmed"  # too high a print is no gain


def test_what_a_print_is_surely_too_low_by_is_added_to_the_losses() -> None:
    close = [loss + 0.07 for loss in GOOD]  # mean 3.47: below the target as printed
    assert judged(close, HONEST) == "confirmed"
    word, evidence = judgement(close, [probe + 0.05 for probe in HONEST])
    assert word == "not_confirmed"
    assert "printed 3.4700, 0.0306 added for the probes" in evidence[0]
    assert "within the limit 0.05" in evidence[1]


def test_one_round_of_probes_proves_nothing_but_none_at_all_is_a_simulation() -> None:
    runs = [timing(0, "agent", 3.4, 0.03, 2.0), timing(0, "start", 3.4, 0.03, 2.0)]
    one = verdict.probe_rule(runs[:1], runs)
    assert (one["ok"], one["lower_bound"], one["correction"]) == (False, None, 0.0)
    word, evidence = judgement(GOOD, [0.03, *[None] * 5])
    assert word == "not_confirmed" and "two rounds are needed" in evidence[0]
    assert judged(GOOD, [None] * 6) == "confirmed"
    unanswered = [timing(0, "agent", 3.4, None, 2.0), runs[1]]
    assert not verdict.probe_rule(unanswered[:1], unanswered)["ok"]


@pytest.mark.parametrize(
    ("after", "expected"),
    [
        ([2.7, 2.5, 2.9, 2.4, 2.6, 2.8], "failed"),  # 0.65 s, 33 %
        ([2.7, 2.5, 2.4, 2.4, 2.5, 2.5], "confirmed"),  # 0.5 s, not more
        ([3.9, 2.0, 1.9, 2.0, 2.1, 2.0], "confirmed"),  # one slow round
        ([0.2] * 6, "confirmed"),
        ([None] * 6, "confirmed"),  # another clock
    ],
)
def test_work_after_the_clock_is_compared_with_the_slower_record(
    after: list[float | None], expected: str
) -> None:
    word, evidence = judgement(GOOD, HONEST, after)
    assert word == expected
    late = "works after the clock: 2.65 CPU s after the last protocol line, the records 2.00"
    assert evidence[0].startswith(late) == (expected == "failed")


def test_cheap_probes_leave_no_room_for_half_a_second() -> None:
    def late(mine: float, records: float) -> bool:
        runs = [timing(0, name, 3.4, 0.0, s) for name, s in (("a", mine), ("start", records))]
        return not verdict.late_rule(runs[:1], runs)["ok"]

    assert late(0.6, 0.03) and not late(0.5, 0.03)
    assert late(3.4, 2.5) and not late(3.2, 2.5)


CHEATS = {"late": {"after_s": 3.5}, "shaved": {"probe": 0.09}, "honest": {}}


@pytest.mark.parametrize("cheat", CHEATS)
def test_a_cheating_winner_is_not_confirmed(tmp_path: Path, cheat: str) -> None:
    plan = sweep_files.sweep(tmp_path, rounds=6)

    def run(solution: Path, entry: str, out: Path, seed: int, cpu: int):
        values = {"probe": 0.01, "after_s": 2.0}
        if "replay" in str(solution):
            values |= CHEATS[cheat]
        values["probe"] += (seed % 11 + len(str(solution)) * seed % 7) / 1000
        clock = drifting((solution / entry).read_text(), seed)
        return result(Outcome.OK, clock, 3.40 + (seed % 97) / 5000, **values)

    data = audit.audit_task(plan, "r01-r02", run, tmp_path / "s", tmp_path / "a.json", "spec")
    found = {one["arm"]: one for one in data["trials"]}
    words = {"late": "failed", "shaved": "not_confirmed", "honest": "confirmed"}
    assert found["replay"]["verdict"] == words[cheat]
    assert (found["oracle"]["verdict"], found["null"]["verdict"]) == ("confirmed",) * 2
    kept = data["rounds"][0]["runs"][found["replay"]["trial"]]["after_clock_s"]
    assert kept == pytest.approx(3.5 if cheat == "late" else 2.0)
    assert found["replay"]["late"]["excess_s"] == pytest.approx(kept - 2.0)
    assert found["replay"]["probes"]["mean_excess"] == pytest.approx(
        0.08 if cheat == "shaved" else 0.0, abs=0.01
    )


WORKS_ON = {"start": 0.05, "target": 0.05, "agent": 0.8}  # CPU s after the last protocol line


def test_real_work_after_the_last_line_is_found(tmp_path: Path) -> None:
    from speedrun.stages import analyze, train

    bench = train_bench.Bench(tmp_path)
    track = dataclasses.replace(sweep_files.TRACK, after_clock_s_max=4.0, train_time_ratio_min=0.0)
    for name, extra_s in WORKS_ON.items():
        line = f"print('{running.PROTOCOL}', flush=True)\n"
        files.write_tree(
            tmp_path / name, {"train.py": f"{running.BURN}\n{line}burn({extra_s})  # {name}\n"}
        )

    def run(solution: Path, entry: str, out: Path, seed: int, cpu: int):
        inputs = (bench.data, bench.probes, out, train_bench.SPEC, seed)
        ended = train.train(solution, entry, *inputs, cpu=cpu)
        return ended, analyze.analyze(out, track, None)

    programs = [interleave.member(name, tmp_path / name, trusted=False) for name in WORKS_ON]
    cpus = [max(os.sched_getaffinity(0))]
    block = interleave.plan_block(programs, "train.py", 2, 1, 0, "s", cpus)
    timings = interleave.run_block(block, track, run, tmp_path / "store")
    assert {one.outcome for one in timings} == {Outcome.OK}
    late, fair = (
        verdict.late_rule([one for one in timings if one.member == name], timings)
        for name in ("agent", "start")
    )
    assert not late["ok"] and fair["ok"]
    assert late["excess_s"] == pytest.approx(0.75, abs=0.2)


def test_the_audit_pins_one_core_a_lane(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    sweep_files.sweep(tmp_path)
    paths = ["--plan", str(tmp_path / "sweep" / "plan.json")]
    paths += [word for name in ("out", "shards") for word in (f"--{name}", str(tmp_path / name))]
    given = ["audit", *paths, "--task", "r01-r02", "--spec", '{"threads": 2}']
    assert cli.main(given) == 1
    said = capsys.readouterr().err
    assert said == "speedrun audit: audit pins one core a lane: set hardware.threads=1\n"


def test_the_chain_table(tmp_path: Path) -> None:
    records = {"r01": 12.0, "r02": 9.0, "r03": 8.9}
    for name in records:
        files.write_tree(tmp_path / name, {"train.py": f"# {name}\n"})

    def clocks(code: str, seed: int) -> float:
        name = code.strip("# \n")
        return records[name] * (1 + seed % 100 / 300) * (1 + seed % 7 * int(name[1:]) % 5 / 1e3)

    calls: list[tuple[str, int, int]] = []
    settings = trials.AuditPlan(rounds=8, lanes=1, equivalence_margin=0.25, confidence=0.9)
    chain = [(name, tmp_path / name) for name in records]
    run = timed_run(calls, clocks)
    rows = audit.measure_chain(sweep_files.TRACK, chain, settings, run, tmp_path / "s", "spec")
    assert [row["record"] for row in rows] == ["r01", "r02", "r03"]
    assert [row["n"] for row in rows] == [8, 8, 8]
    assert rows[0]["ratio"] is None
    assert rows[1]["ratio"] == pytest.approx(0.75, abs=0.01)
    assert rows[1]["p_ratio_below"] < 0.01
    assert rows[2]["p_ratio_below"] > 0.99
    losses = [3.40 + (seed % 97) / 5000 for code, seed, _ in calls if "r01" in code]
    assert rows[0]["loss_mean"] == pytest.approx(sum(losses) / 8)
    assert rows[0]["margin_sd"] > 5


def test_other_clocks_use_the_printed_time(tmp_path: Path) -> None:
    track = dataclasses.replace(sweep_files.TRACK, clock="train_time")
    block = interleave.plan_block(members(tmp_path, "a"), "train.py", 1, 1, 0, "s", cpus=[0])

    def run(solution: Path, entry: str, out: Path, seed: int, cpu: int):
        return result(Outcome.MISSED_TARGET, 4.0, 3.9)

    (one,) = interleave.run_block(block, track, run, tmp_path / "store")
    assert one.time_s == pytest.approx(3.6)
    assert one.after_clock_s is None


UNPROBED = schema.TrackSpec(
    name="nano", corpus="nano", records=["r01", "r02"], entry="train.py", target_loss=3.28,
    clock="train_time",
)  # fmt: skip


def simulated_bench(root: Path) -> measure.Bench:
    """A bench on a track without probes: shards of a few tokens, the simulated trainer."""
    for name in ("fineweb_train_000001.bin", "fineweb_val_000000.bin"):
        header = np.zeros(256, dtype="<i4")
        header[:3] = (20240520, 1, 8)
        content = header.tobytes() + np.arange(8, dtype="<u2").tobytes()
        files.write_bytes(root / "shards" / "public" / name, content)
    files.write_json(root / "shards" / "meta.json", {"vocab_size": 50257})
    spec = {"timeout_s": 60, "memory_mb": 1000, "output_mb": 1, "file_mb": 1, "processes": 8}
    spec |= {"threads": 16, "sandbox": "none", "trainer": "simulated", "launch": "torchrun"}
    spec |= {"environment": {"SIMULATED_TARGET": "3.28"}, "data_prefix": "fineweb10B/"}
    return measure.Bench(root / "shards", None, spec, UNPROBED)


def test_a_track_without_probes_on_its_own_clock(tmp_path: Path) -> None:
    """The whole machine a run, nothing pinned, no probe asked, one simulated solution a member."""
    plan = sweep_files.sweep(tmp_path, rounds=6)
    audit_plan = dataclasses.replace(plan.audit, lanes=4)
    plan = dataclasses.replace(plan, track=UNPROBED, audit=audit_plan)
    bench, store, out = simulated_bench(tmp_path), tmp_path / "store", tmp_path / "a.json"
    data = audit.audit_task(plan, "r01-r02", bench.run, store, out, bench.digest)
    assert {one["cpu"] for one in data["rounds"]} == {None}
    runs = [run for one in data["rounds"] for run in one["runs"].values()]
    assert {run["after_clock_s"] for run in runs} == {run["probe_difference"] for run in runs}
    found = {one["arm"]: one for one in data["trials"]}
    assert found["null"]["equivalent_to_0"] and found["oracle"]["equivalent_to_1"]
    assert found["replay"]["probes"]["ok"] and not found["replay"]["probes"]["n"]
    evidence = found["replay"]["evidence"]
    assert "no probes on this track: the printed losses stand unchecked" in evidence
    assert not any("CPU s" in sentence for sentence in evidence)
    again = audit.audit_task(plan, "r01-r02", stopped, store, out, bench.digest)
    assert again == data


def test_where_the_target_is_slower_no_winner_has_an_audited_fsr(tmp_path: Path) -> None:
    plan = sweep_files.sweep(tmp_path, rounds=4)
    clocks = {sweep_files.START: 5.0, sweep_files.TARGET: 10.0, sweep_files.AGENT: 4.0}
    run = timed_run([], lambda code, seed: clocks[code] * (1 + seed % 7 / 1000))
    data = audit.audit_task(plan, "r01-r02", run, tmp_path / "store", tmp_path / "a.json", "spec")
    for one in data["trials"]:
        if one["winner"]:
            assert (one["fsr"], one["fsr_audited"]) == (None, None)
            assert not one["equivalent_to_0"] and not one["equivalent_to_1"]
    found = {one["arm"]: one for one in data["trials"]}
    assert found["replay"]["faster_than_start"]["ratio"] == pytest.approx(0.8, abs=0.01)


def stopped(solution: Path, entry: str, out: Path, seed: int, cpu: int | None):
    raise AssertionError("a finished timing was made again")


def test_without_probes_the_loss_rule_alone_decides() -> None:
    runs = [timing(i, "agent", loss, None, None) for i, loss in enumerate(GOOD)]
    silent = verdict.probe_rule(runs, runs, probed=False)
    assert silent["ok"] and silent["correction"] == 0.0
    measured = {"probes": silent, "late": verdict.late_rule(runs, runs), "faster_than_start": None}
    for target_loss, word in ((3.5, "confirmed"), (3.41, "not_confirmed")):
        measured["loss"] = verdict.loss_rule(runs, target_loss, 0.0)
        assert verdict.judge(runs, measured, 0.01)[0] == word


def test_only_the_cpu_clock_asks_for_one_thread(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    sweep_files.sweep(tmp_path, rounds=3)
    path = tmp_path / "sweep" / "plan.json"
    values = files.read_json(path) | {"track": schema.to_dict(UNPROBED)}
    files.write_json(path, values)
    bench = simulated_bench(tmp_path)
    given = ["--plan", path, "--task", "r01-r02", "--shards", bench.shards, "--lanes", "1"]
    given += ["--out", tmp_path / "a.json", "--store", tmp_path / "store"]
    assert cli.main(["audit", *map(str, given), "--spec", json.dumps(bench.spec)]) == 0
    assert len(files.read_json(tmp_path / "a.json")["rounds"]) == 3
    assert "round 3/3" in capsys.readouterr().err


def test_timings_on_other_cards_are_other_timings(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def digest(names: list[str]) -> str:
        cards = [gpu.Card("0", "GPU-0", name, "1", 0) for name in names]
        monkeypatch.setattr(gpu, "cards", lambda spec: cards)
        return simulated_bench(tmp_path).digest

    assert len({digest([]), digest(["A"]), digest(["B"]), digest(["A", "A"])}) == 4
