"""audit: interleaving, clocks, the record chain."""

from __future__ import annotations

import dataclasses
import json
import os
from pathlib import Path

import pytest

import sweep_files
from audit_runs import (
    CLOCKS,
    UNPROBED,
    drifting,
    members,
    result,
    simulated_bench,
    stopped,
    timed_run,
)
from speedrun import cli, files, interleave, schema, trials
from speedrun.runner import gpu
from speedrun.schema import Outcome
from speedrun.stages import audit


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


def test_a_run_that_diverged_has_no_time(tmp_path: Path) -> None:
    block = interleave.plan_block(members(tmp_path, "a"), "train.py", 1, 1, 0, "s", cpus=[0])

    def run(solution: Path, entry: str, out: Path, seed: int, cpu: int):
        ended, missed = result(Outcome.MISSED_TARGET, 4.0, 3.9)
        return ended, dataclasses.replace(missed, val_loss=None)

    (one,) = interleave.run_block(block, sweep_files.TRACK, run, tmp_path / "store")
    assert (one.time_s, one.val_loss, one.failed) == (None, None, False)


@pytest.mark.parametrize("clock", ["cpu", "train_time"])
def test_a_miss_that_printed_no_time_has_none(tmp_path: Path, clock: str) -> None:
    """The rules on clocks are not applied to what missed the target."""
    track = dataclasses.replace(sweep_files.TRACK, clock=clock)
    block = interleave.plan_block(members(tmp_path, "a"), "train.py", 1, 1, 0, "s", cpus=[0])

    def run(solution: Path, entry: str, out: Path, seed: int, cpu: int):
        ended, missed = result(Outcome.MISSED_TARGET, 0.0, 3.9)
        return ended, dataclasses.replace(missed, train_time_ms=0)

    (one,) = interleave.run_block(block, track, run, tmp_path / "store")
    assert (one.time_s, one.failed) == (None, False)


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
