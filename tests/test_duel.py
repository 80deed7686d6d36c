"""duel: what is concluded from timings and flags, without a run."""

from __future__ import annotations

import dataclasses
import json
import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import ttest_1samp as t_test

import sweep_files
from speedrun import schema, untimed
from speedrun.interleave import Timing
from speedrun.schema import Outcome
from speedrun.stages import duel
from speedrun.stages.duel import power
from speedrun.stages.duel.conclusion import EXIT_CODES, Settings, conclude

TRACK = sweep_files.TRACK  # target 3.5, probes
FACTS = {
    "hardware": "cpu",
    "sandbox": "bubblewrap",
    "decisions": "reviews/x.yaml",
    "rules": ["network", "stream", "output"],
}
LOSSES = (3.40, 3.41, 3.42, 3.40, 3.43, 3.41)


def timing(round_: int, member: str, time_s: float | None, **changes: Any) -> Timing:
    outcome = Outcome.OK if time_s else Outcome.CANDIDATE_ERROR
    usual = Timing(
        round=round_,
        member=member,
        cpu=0,
        seed=round_,
        outcome=outcome,
        reason="" if time_s else "it crashed",
        time_s=time_s,
        val_loss=LOSSES[round_ % 6] if time_s else None,
        probe_difference=0.01 * (1 + round_ % 2) if time_s else None,
        device_seconds=time_s,
        after_clock_s=1.0 if time_s else None,
    )
    return dataclasses.replace(usual, **changes)


def block(ratio: float, rounds: int = 6, wobble: float = 0.02, **changes: Any) -> list[Timing]:
    """Return rounds in which B takes ``ratio`` of A's time; ``changes`` are B's."""
    found = []
    for i in range(rounds):
        noise = 1 + wobble * math.sin(3 * i + 1)
        found.append(timing(i, duel.A, 10.0 + i))
        found.append(timing(i, duel.B, (10.0 + i) * ratio * noise, **changes))
    return found


def flag(rule: str = "stream", severity: str = "review", **changes: Any) -> dict[str, Any]:
    found = {"rule": rule, "severity": severity, "file": "train.py", "line": 7}
    return {
        **found,
        "what": "something new",
        "key": "k",
        "state": "open",
        "by": "",
        "why": "",
        **changes,
    }


def verdict(
    timings: list[Timing],
    findings: list[dict[str, Any]] | None = None,
    track: schema.TrackSpec = TRACK,
    **settings: Any,
) -> tuple[str, str]:
    chosen = Settings(**settings)
    measured = duel.measure(track, timings, chosen, findings or [])
    word, sentence, _ = duel.conclude(measured, chosen)
    return word, sentence


def test_faster_slower_and_neither() -> None:
    assert verdict(block(0.8))[0] == "faster"
    assert verdict(block(1.2))[0] == "slower"
    assert verdict(block(1.0, wobble=0.05))[0] == "not shown"


def test_a_stricter_p_is_obeyed() -> None:
    noisy = block(0.93, wobble=0.08)
    assert verdict(noisy)[0] == "faster"
    assert verdict(noisy, time_p_max=0.001)[0] == "not shown"


def test_no_worse_is_shown_for_an_equal_and_not_for_a_slower() -> None:
    assert verdict(block(1.0), no_worse_percent=5.0)[0] == "no worse"
    assert verdict(block(0.8), no_worse_percent=5.0)[0] == "no worse"
    assert verdict(block(1.2), no_worse_percent=5.0)[0] == "slower"
    # surely slower, by 2 %, and surely not by 10 %: that is what was asked for
    assert verdict(block(1.02, wobble=0.005), no_worse_percent=10.0)[0] == "no worse"
    # too noisy to say
    assert verdict(block(1.0, wobble=0.2), no_worse_percent=2.0)[0] == "not shown"


def test_a_failed_run_of_either_side_is_invalid_and_says_whose() -> None:
    broken = [*block(0.8, 5), timing(5, duel.A, 10.0), timing(5, duel.B, None)]
    assert verdict(broken) == (
        "invalid",
        "invalid: B failed in round 6: candidate_error: it crashed",
    )
    broken = [*block(0.8, 5), timing(5, duel.A, None), timing(5, duel.B, 8.0)]
    assert verdict(broken)[1].startswith("invalid: A failed in round 6: ")


def test_the_mean_loss_rule_decides_and_not_a_single_miss() -> None:
    missed = block(0.8)
    missed[1] = dataclasses.replace(missed[1], val_loss=3.51, outcome=Outcome.MISSED_TARGET)
    rest = [dataclasses.replace(one, val_loss=3.3 + one.round / 100) for one in missed[2:]]
    assert verdict([*missed[:2], *rest])[0] == "faster"
    above = [dataclasses.replace(one, val_loss=3.48 + one.round / 100) for one in missed]
    word, sentence = verdict(above)
    assert word == "invalid" and "not shown to reach the target" in sentence
    same = [dataclasses.replace(one, val_loss=3.4) for one in missed]
    assert verdict(same)[0] == "invalid"  # equal losses under different seeds are no evidence


def test_a_print_that_the_probes_disprove_is_invalid() -> None:
    lying = block(0.8, probe_difference=0.3)
    word, sentence = verdict(lying)
    assert word == "invalid" and "too low" in sentence
    unprobed = dataclasses.replace(TRACK, probe_contexts=0)
    silent = [dataclasses.replace(one, probe_difference=None) for one in lying]
    assert verdict(silent, track=unprobed)[0] == "faster"


def test_work_after_the_clock_is_invalid() -> None:
    word, sentence = verdict(block(0.8, after_clock_s=9.0))
    assert word == "invalid" and "works after the clock" in sentence


def test_a_violation_is_invalid_and_a_flag_waits_for_a_person() -> None:
    word, sentence = verdict(block(0.8), [flag("network", "violation")])
    assert word == "invalid" and "train.py:7: network: something new" in sentence
    assert verdict(block(0.8), [flag()])[0] == "review"
    assert verdict(block(1.2), [flag()])[0] == "slower"  # a person could change nothing
    assert verdict(block(0.8), [flag(state="accepted")])[0] == "faster"
    assert verdict(block(0.8), [flag(state="rejected")])[0] == "invalid"


def test_a_flag_that_the_probes_check_holds_nothing_up() -> None:
    assert verdict(block(0.8), [flag("output", state="covered")])[0] == "faster"


def test_longer_off_the_printed_clock_is_invalid() -> None:
    spent = untimed.Untimed("a", 10.0, 1.0, 5.0, 1.0, 5, 0.0, 0.9)
    track = dataclasses.replace(TRACK, clock="train_time", probe_contexts=0)
    plain = [
        dataclasses.replace(one, untimed=spent, probe_difference=None, after_clock_s=None)
        for one in block(0.8)
    ]
    assert verdict(plain, track=track)[0] == "faster"
    late = dataclasses.replace(spent, after_s=100.0)
    word, sentence = verdict(_off_clock(plain, late), track=track)
    assert word == "invalid" and "B in round 1: 100.00 s outside the printed" in sentence


def _off_clock(timings: list[Timing], spent: untimed.Untimed) -> list[Timing]:
    """Return the timings with what B spends off the clock."""
    return [
        dataclasses.replace(one, untimed=spent) if one.member == duel.B else one for one in timings
    ]


@pytest.mark.parametrize(
    ("decision", "word"), [("", "review"), ("accepted", "faster"), ("rejected", "invalid")]
)
def test_a_long_start_of_b_waits_for_a_person(decision: str, word: str) -> None:
    spent = untimed.Untimed("a", 10.0, 1.0, 5.0, 1.0, 5, 0.0, 0.9)
    track = dataclasses.replace(TRACK, clock="train_time", probe_contexts=0)
    both = [
        dataclasses.replace(one, untimed=spent, probe_difference=None, after_clock_s=None)
        for one in block(0.8)
    ]
    long = _off_clock(both, dataclasses.replace(spent, before_s=100.0))
    made = {"rule": "audit", "key": "untimed_before", "decision": decision, "by": "me", "why": "r"}
    measured = duel.measure(track, long, Settings(), (), [made] if decision else [])
    found, _, evidence = conclude(measured, Settings())
    assert found == word
    said = "its runs: audit: round 1: 100.00 s outside the printed train_time before"
    assert (said in " ".join(evidence)) == (word != "faster")


CLOCKS = st.one_of(st.none(), st.floats(0.1, 1e4))
LOSS = st.one_of(st.none(), st.floats(0.0, 20.0))


@st.composite
def timings(draw: st.DrawFn) -> list[Timing]:
    """Whatever two programs can do: fail, diverge, end late, print anything."""
    found = []
    for i in range(draw(st.integers(1, 5))):
        for member in (duel.A, duel.B):
            clock = draw(CLOCKS)
            more = {"probe_difference": draw(LOSS), "after_clock_s": draw(CLOCKS)}
            found.append(
                timing(i, member, clock, **({"val_loss": draw(LOSS), **more} if clock else {}))
            )
    return found


@given(timings(), st.sampled_from([None, 5.0]), st.booleans())
def test_whatever_was_measured_there_is_a_verdict_and_a_table(
    found: list[Timing], margin: float | None, probed: bool
) -> None:
    track = TRACK if probed else dataclasses.replace(TRACK, probe_contexts=0)
    settings = Settings(no_worse_percent=margin)
    measured = duel.measure(track, found, settings, [flag(), flag("network", "violation")])
    word, sentence, evidence = duel.conclude(measured, settings)
    assert word == "invalid" and EXIT_CODES[word] == 3
    sides = {side: {"label": side * 50} for side in "ab"}
    whole = {**FACTS, **sides, **measured, "settings": schema.to_dict(settings)}
    whole |= {"verdict": word, "sentence": sentence, "evidence": evidence, "target_loss": 3.5}
    assert f"verdict: {sentence}" in duel.text(json.loads(json.dumps(whole)))
    assert "3 checked, 1 finding in B" in duel.text({**whole, "findings": [flag()]})


@given(timings())
def test_nothing_hoped_for_comes_from_a_failed_run(found: list[Timing]) -> None:
    word, _ = verdict(found)
    if any(one.failed for one in found):
        assert word == "invalid"
    if word == "faster":
        assert all(one.time_s for one in found)


@given(st.floats(0.3, 3.0), st.floats(0.01, 0.3), st.integers(3, 8))
def test_faster_one_way_is_slower_the_other(ratio: float, wobble: float, rounds: int) -> None:
    there = block(ratio, rounds, wobble)
    names = {duel.A: duel.B, duel.B: duel.A}
    back = [dataclasses.replace(one, member=names[one.member]) for one in there]
    mirror = {"faster": "slower", "slower": "faster", "not shown": "not shown"}
    assert verdict(back)[0] == mirror[verdict(there)[0]]


def test_power_is_that_of_the_t_test() -> None:
    draws = np.random.default_rng(0).normal(-0.05, 0.07, (20_000, 8))
    simulated = np.mean(t_test(draws, 0.0, axis=1, alternative="less").pvalue < 0.05)
    assert power.power(8, 0.07, 0.05, 0.05) == pytest.approx(simulated, abs=0.01)
    assert power.power(1, 0.07, 0.05, 0.05) == 0.0
    time = {"n": 6, "low": math.exp(-0.0576), "high": math.exp(0.0576), "confidence": 0.9}
    assert power.spread(time) == pytest.approx(0.07, abs=1e-3)
    needed = power.rounds_needed(time, 0.05)
    assert power.power(needed, 0.07, power.EFFECT, 0.05) >= 0.79
    assert power.power(needed - 2, 0.07, power.EFFECT, 0.05) < 0.8
