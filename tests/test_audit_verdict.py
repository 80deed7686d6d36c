"""audit: the verdict's rules, and cheats that they find."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Sequence
from pathlib import Path

import pytest

import running
import sweep_files
import train_bench
from audit_runs import drifting, result, timed_run, timing
from speedrun import files, interleave, trials, verdict
from speedrun.schema import Outcome
from speedrun.stages import audit


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

    assert late(0.6, 0.03) and not late(0.031, 0.03)
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
        line = f"print('{running.PROTOCOL}', flush=True)"
        code = f"{running.BURN}\nburn(0.1)\n{line}\nburn({extra_s})  # {name}\n"
        files.write_tree(tmp_path / name, {"train.py": code})

    def run(solution: Path, entry: str, out: Path, seed: int, cpu: int):
        inputs = (bench.data, bench.probes, out, train_bench.SPEC, seed)
        ended = train.train(solution, entry, *inputs, cpu=cpu)
        return ended, analyze.analyze(out, track, None)

    programs = [interleave.member(name, tmp_path / name, trusted=False) for name in WORKS_ON]
    cpus = [max(os.sched_getaffinity(0))]
    block = interleave.plan_block(programs, "train.py", 2, 1, 0, "s", cpus)
    timings = interleave.run_block(block, track, run, tmp_path / "store")
    assert {(one.outcome, one.reason) for one in timings} == {(Outcome.OK, "")}
    late, fair = (
        verdict.late_rule([one for one in timings if one.member == name], timings)
        for name in ("agent", "start")
    )
    assert not late["ok"] and fair["ok"]
    assert late["excess_s"] == pytest.approx(0.75, abs=0.2)


def test_without_probes_the_loss_rule_alone_decides() -> None:
    runs = [timing(i, "agent", loss, None, None) for i, loss in enumerate(GOOD)]
    silent = verdict.probe_rule(runs, runs, probed=False)
    assert silent["ok"] and silent["correction"] == 0.0
    measured = {"probes": silent, "late": verdict.late_rule(runs, runs), "faster_than_start": None}
    for target_loss, word in ((3.5, "confirmed"), (3.41, "not_confirmed")):
        measured["loss"] = verdict.loss_rule(runs, target_loss, 0.0)
        assert verdict.judge(runs, measured, 0.01)[0] == word


def checked(**checks: dict) -> tuple[str, list[str]]:
    """Return the verdict on good rounds with further checks, each with its sentences."""
    runs = [timing(i, "agent", loss, None, None) for i, loss in enumerate(GOOD)]
    base = {"failures": [], "held": [], "evidence": []}
    measured = {
        "loss": verdict.loss_rule(runs, 3.5, 0.0),
        "probes": verdict.probe_rule(runs, runs, probed=False),
        "late": verdict.late_rule(runs, runs),
        "faster_than_start": None,
        **{name: base | found for name, found in checks.items()},
    }
    return verdict.judge(runs, measured, 0.01)


def test_the_words_come_in_their_order() -> None:
    broken, held = {"failures": ["rule network: x (train.py:3)"]}, {"held": ["a flag"]}
    drifted = {"ratio": 1.1, "n": 1, "n_references": 3, "limit": 0.02, "ok": False}
    assert checked(review={"evidence": ["no flag"]})[0] == "confirmed"
    word, evidence = checked(review=held)
    assert (word, evidence[0]) == ("review", "a flag")
    assert "losses were checked on noise alone" in str(checked(noise={"n": 1})[1])
    assert checked(review=held, drift=drifted)[0] == "not_confirmed"
    assert checked(review=held | broken, drift=drifted) == ("failed", broken["failures"])


@pytest.mark.parametrize("name", verdict.CHECKS)
def test_every_check_speaks(name: str) -> None:
    assert checked(**{name: {"failures": ["broken"]}}) == ("failed", ["broken"])
    assert checked(**{name: {"held": ["open"]}})[0] == "review"
    assert checked(**{name: {"evidence": ["fine"]}})[1][-1] == "fine"


def test_the_time_comes_with_its_interval() -> None:
    ratio = {"ratio": 0.9, "low": 0.85, "high": 0.95, "p": 0.01, "n": 6, "confidence": 0.9}
    said = "time is 0.900 of the start's over 6 rounds (90% interval 0.850 to 0.950, p = 0.01)"
    assert said in checked(faster_than_start=ratio)[1]


def test_the_review_decides_and_holds(tmp_path: Path) -> None:
    plan = sweep_files.sweep(tmp_path, rounds=6)
    rows = [
        {"trial": "oracle-aa/s0", "winner": 1, "violations": ["rule paths: y"], "held": []},
        {"trial": "replay-cc/s0", "winner": 2, "violations": [], "held": ["rule stream: z"]},
        {"trial": "null-bb/s0", "winner": 1, "violations": [], "held": [], "same_as": "start"},
        {"trial": "tuner-dd/s0", "winner": None, "violations": [], "held": []},
    ]
    files.write_json(tmp_path / "review.json", {"trials": rows})
    data = reviewed(tmp_path, plan)
    found = {one["arm"]: one for one in data["trials"]}
    words = {arm: one["verdict"] for arm, one in found.items()}
    expected = {"oracle": "failed", "replay": "review", "null": "confirmed", "tuner": None}
    assert words == expected
    assert found["oracle"]["evidence"] == ["rule paths: y"]
    assert found["replay"]["evidence"][0] == "rule stream: z"
    said = "the code is the start record's, byte for byte: the rules were not applied to it"
    assert said in found["null"]["evidence"]
    files.write_json(tmp_path / "review.json", {"trials": [rows[2] | {"same_as": ""}]})
    null = reviewed(tmp_path, plan)["trials"][1]
    assert "the code shows no open flag of the track's rules" in null["evidence"]
    files.write_json(tmp_path / "review.json", {"trials": [rows[1] | {"winner": 1}]})
    with pytest.raises(files.SpeedrunError, match="reviewed node 1 of replay-cc/s0 as it was"):
        reviewed(tmp_path, plan)
    files.write_json(tmp_path / "review.json", {"trials": [{"trial": "x"}]})
    with pytest.raises(files.SpeedrunError, match="is no review"):
        reviewed(tmp_path, plan)


def reviewed(root: Path, plan: trials.Plan) -> dict:
    run = timed_run([], drifting)
    places = (root / "store", root / "a.json", "spec")
    return audit.audit_task(plan, "r01-r02", run, *places, review=root / "review.json")
