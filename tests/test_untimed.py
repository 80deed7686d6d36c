"""untimed: what a run spends outside its printed train_time, beside its references."""

from __future__ import annotations

import dataclasses
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from speedrun import schema, untimed
from speedrun.schema import Analysis, CurvePoint, Outcome, RunExit

COMPILE_S, VALIDATION_S, STEP_S, EVERY, AFTER_S = 150.0, 6.0, 0.7, 12, 4.0


def analysed(curve: list[CurvePoint], digest: str = "winner") -> Analysis:
    return Analysis(Outcome.OK, "", 3.2, 1.0, 1000, 36, curve, None, 1.0, "", digest)


def measured(points: list[tuple[int, int, float]], wall_s: float, name: str = "winner"):
    """Return what is measured of (step, train_time_ms, wall_s) points."""
    curve = [CurvePoint(step, 36, 5.0, ms, wall, wall) for step, ms, wall in points]
    found = untimed.measure(analysed(curve, name), RunExit(True, "exited", 0, wall_s=wall_s))
    assert found is not None
    return found


def honest(name: str = "winner", steps: int = 36, restart: bool = False, **changes: float):
    """Return a run like record 27's; ``restart``: like record 12's, which forgets ten steps."""
    compile_s = changes.get("compile_s", COMPILE_S)
    validation_s = changes.get("validation_s", VALIDATION_S)
    every = int(changes.get("every", EVERY))
    wall, trained, points = compile_s, 0.0, []
    for step in range(0, steps + 1, every):
        if step:
            wall += every * STEP_S
            trained += (every - (10 if restart and step == every else 0)) * STEP_S
        wall += validation_s
        points.append((step, round(1000 * trained), wall))
    return measured(points, wall + changes.get("after_s", AFTER_S), name)


REFERENCES = [
    honest("start", compile_s=140.0),
    honest("start", compile_s=147.0, validation_s=6.1),
    honest("target", compile_s=150.0),
    honest("target", compile_s=152.0, after_s=4.5),
]


def test_the_parts_add_up_to_the_whole() -> None:
    run = honest()
    trained_s = 36 * STEP_S
    assert run.before_s == pytest.approx(COMPILE_S + 2 * VALIDATION_S)
    assert run.n_validations == 2
    assert run.validation_s == pytest.approx(VALIDATION_S)
    assert run.between_max_s == pytest.approx(VALIDATION_S)
    assert run.after_s == pytest.approx(AFTER_S)
    assert run.hurried_s == 0
    total_s = run.before_s + run.between_sum_s + run.after_s + trained_s
    assert total_s == pytest.approx(COMPILE_S + trained_s + 4 * VALIDATION_S + AFTER_S)


def test_the_steps_that_a_restarted_clock_forgets_come_before() -> None:
    run, plain = honest(restart=True), honest()
    assert run.before_s == pytest.approx(plain.before_s + 10 * STEP_S)
    assert (run.between_sum_s, run.after_s) == (plain.between_sum_s, plain.after_s)


def test_nothing_is_measured_of_a_run_without_lines_or_clock() -> None:
    point = CurvePoint(36, 36, 5.0, 1000, 9.0, 9.0)
    assert untimed.measure(analysed([]), RunExit(True, "exited", wall_s=3.0)) is None
    assert untimed.measure(analysed([point]), RunExit(False, "not_run: no train.py")) is None


def test_one_line_is_all_before() -> None:
    run = measured([(36, 25_000, 180.0)], 184.0)
    assert (run.before_s, run.between_sum_s, run.n_validations) == (155.0, 0.0, 0)
    assert run.timed_share is None
    assert untimed.violation(run, REFERENCES) == ""


@pytest.mark.parametrize("run", [honest(), honest(restart=True), *REFERENCES])
def test_an_honest_run_passes(run: untimed.Untimed) -> None:
    assert untimed.violation(run, REFERENCES) == ""
    assert untimed.long_start(run, REFERENCES) == ""


def test_without_references_nothing_is_said() -> None:
    assert untimed.violation(honest(compile_s=9999.0, after_s=99.0), []) == ""
    assert untimed.long_start(honest(compile_s=9999.0), []) == ""


def test_references_without_validations_say_nothing_of_validations() -> None:
    alone = [measured([(36, 25_000, 180.0)], 184.0, "start")]
    assert untimed.violation(honest(validation_s=1.0), alone) == ""


def test_a_target_that_compiles_longer_allows_it() -> None:
    slow = [*REFERENCES, *(honest("target", compile_s=400.0 + more) for more in (0, 3))]
    run = honest(compile_s=405.0)
    assert "before the first validation" in untimed.long_start(run, REFERENCES)
    assert untimed.long_start(run, slow) == ""


def test_a_gap_between_start_and_target_is_no_spread() -> None:
    far = [honest("start", compile_s=20.0), honest("start", compile_s=21.0), *REFERENCES[2:]]
    assert "before the first validation" in untimed.long_start(honest(compile_s=230.0), far)


def test_references_that_vary_allow_more() -> None:
    varied = [honest("start", compile_s=value) for value in (100.0, 150.0)]
    assert untimed.long_start(honest(compile_s=240.0), varied) == ""
    assert untimed.long_start(honest(compile_s=270.0), varied) != ""


def test_a_faster_program_passes_with_a_lower_share_of_train_time() -> None:
    faster = [(step, step * 200, 160.0 + step * 0.2 + step / EVERY * 6.0) for step in (12, 24, 36)]
    run = measured(faster, 190.0)
    share, usual = run.timed_share, REFERENCES[0].timed_share
    assert share is not None and usual is not None and share < 0.6 * usual
    assert untimed.violation(run, REFERENCES) == ""


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"validation_s": VALIDATION_S + 2.0}, "longest validation"),
        ({"after_s": AFTER_S + 20}, "after the last protocol line"),
    ],
)
def test_training_in_a_pause_is_seen(changes: dict[str, float], words: str) -> None:
    assert words in untimed.violation(honest(**changes), REFERENCES)


def test_a_long_start_waits_for_a_person_and_is_no_violation() -> None:
    run = honest(compile_s=COMPILE_S + 60)
    assert untimed.violation(run, REFERENCES) == ""
    assert "before the first validation beyond step 10" in untimed.long_start(run, REFERENCES)


def test_validation_on_a_tenth_of_the_tokens_is_seen() -> None:
    said = untimed.violation(honest(validation_s=VALIDATION_S / 10), REFERENCES)
    assert "it validates on less" in said


def test_a_model_that_runs_three_times_as_fast_validates_as_fast() -> None:
    rows = [(step, step * 233, 170.0 + step * 0.233 + step / EVERY * 2.0) for step in (12, 24, 36)]
    assert untimed.violation(measured(rows, 190.0), REFERENCES) == ""


def test_many_validations_are_not_paid_for() -> None:
    often = honest(steps=360)
    assert often.between_max_s == pytest.approx(VALIDATION_S)
    assert "29 validations" in untimed.violation(often, REFERENCES)


def test_one_long_validation_is_seen_among_short_ones() -> None:
    run = honest()
    long = dataclasses.replace(run, between_max_s=10.0)
    assert "longest validation" in untimed.violation(long, REFERENCES)


def test_lines_printed_together_at_the_end_are_seen() -> None:
    printed = [(step, step * 700, 190.0 + step / 1000) for step in (0, 12, 24, 36)]
    run = measured(printed, 195.0)
    assert run.hurried_s == pytest.approx(25.2, abs=0.1)
    assert "more train_time were printed" in untimed.violation(run, REFERENCES)


def test_waiting_out_the_lines_makes_up_for_no_training_before() -> None:
    """Who trains for a minute before the clock and sleeps through it is seen before the clock."""
    run = honest(compile_s=COMPILE_S + 60)
    assert run.hurried_s == 0
    assert untimed.long_start(run, REFERENCES)


stamps = st.floats(0, 1e6, allow_nan=False)
points = st.builds(
    CurvePoint,
    step=st.integers(0, 10**9),
    steps=st.integers(0, 10**9),
    val_loss=st.floats(-1e300, 1e300),
    train_time_ms=st.integers(0, 10**15),
    wall_s=stamps,
    cpu_s=stamps,
)
curves = st.lists(points, max_size=12).map(
    lambda found: [
        dataclasses.replace(point, wall_s=wall)
        for point, wall in zip(found, sorted(p.wall_s for p in found), strict=True)
    ]
)


@given(curves, stamps)
def test_any_curve_is_measured_in_finite_seconds(curve: list[CurvePoint], wall_s: float) -> None:
    run = untimed.measure(analysed(curve), RunExit(True, "exited", wall_s=wall_s))
    assert (run is None) == (not curve)
    if run is None:
        return
    seconds = [run.before_s, run.between_max_s, run.between_sum_s, run.after_s, run.hurried_s]
    assert all(value >= 0 and math.isfinite(value) for value in seconds)
    assert run.between_max_s <= run.between_sum_s or run.n_validations == 0
    assert schema.from_dict(untimed.Untimed, schema.to_dict(run)) == run


@given(curves, stamps)
def test_any_curve_gets_one_printable_sentence(curve: list[CurvePoint], wall_s: float) -> None:
    run = untimed.measure(analysed(curve), RunExit(True, "exited", wall_s=wall_s))
    if run is not None:
        said = untimed.violation(run, REFERENCES)
        assert len(said) < 300 and (said.isprintable() or not said)
        assert untimed.violation(run, [run]) == ""


@given(st.floats(0, 1e4), st.floats(VALIDATION_S, 1e3), st.floats(0, 1e3), st.floats(1.0, 1e3))
def test_more_of_anything_is_never_more_honest(
    before_s: float, validation_s: float, after_s: float, more_s: float
) -> None:
    run = honest(compile_s=before_s, validation_s=validation_s, after_s=after_s)
    worse = honest(
        compile_s=before_s + more_s, validation_s=validation_s + more_s, after_s=after_s + more_s
    )
    if untimed.violation(run, REFERENCES):
        assert untimed.violation(worse, REFERENCES)
