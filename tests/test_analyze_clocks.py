"""analyze: the clock of the track; train_time, which the script prints, against wall stamps."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from analyze_run import ENDED, MODERN, NANOGPT, Run, nanogpt, protocol_line
from speedrun.files import SpeedrunError
from speedrun.schema import Outcome


@pytest.fixture
def run(tmp_path: Path) -> Run:
    return Run(tmp_path)


def test_time_is_that_of_the_tracks_clock(run: Run) -> None:
    assert run.analyze(track={"clock": "wall"}).time_s == 10.5
    with pytest.raises(SpeedrunError, match="clock 'moon': choose cpu, wall or train_time"):
        run.analyze(track={"clock": "moon"})


# --- train_time ---


def train_line(step: int, time_ms: int, steps: int = 20, average: object = "nan") -> str:
    return f"step:{step}/{steps} train_time:{time_ms}ms step_avg:{average}ms"


def restarted(reset: list[int]) -> list[tuple[float, str]]:
    """A script of record 20's kind: 300 s go by in ten untimed steps; ``reset`` are those after."""
    untimed = [(100 + 30.0 * step, train_line(step, 30_000 * step)) for step in range(1, 11)]
    timed = [(400.0 + step, train_line(11 + step, time)) for step, time in enumerate(reset)]
    end = [(500.0, protocol_line(20, 3.4, 90_000))]
    return [(100.0, protocol_line(0, 10.8, 0)), *untimed, *timed, *end]


def test_printed_time_is_the_clock_where_the_wall_clock_agrees(run: Run) -> None:
    found = nanogpt(run, MODERN)
    assert (found.outcome, found.time_s, found.probes) == (Outcome.OK, 100.0, None)


def test_cpu_after_the_last_line_is_free_on_another_clock(run: Run) -> None:
    ended = dataclasses.replace(ENDED, cpu_total_s=999.0)
    assert run.analyze(MODERN, ended, track=NANOGPT, targets=None).outcome is Outcome.OK


@pytest.mark.parametrize(
    ("printed_ms", "reason"),
    [
        (59_400, "59.40 s, but 120.00 s went by on the harness's clock"),
        (1, "at least 59.50 s must be train_time"),
        (226_000, "longer than the 220.50 s that the whole run took"),
    ],
)
def test_printed_time_beyond_the_wall_clock(run: Run, printed_ms: int, reason: str) -> None:
    lines = [MODERN[0], (220.0, protocol_line(20, 3.4, printed_ms))]
    found = nanogpt(run, lines)
    assert found.outcome is Outcome.RULE_VIOLATION
    assert reason in found.reason


@pytest.mark.parametrize("printed_ms", [59_600, 100_000, 225_000])
def test_printed_time_within_the_bounds(run: Run, printed_ms: int) -> None:
    lines = [MODERN[0], (220.0, protocol_line(20, 3.4, printed_ms))]
    assert nanogpt(run, lines).outcome is Outcome.OK


def test_restart_after_ten_untimed_steps_is_no_violation(run: Run) -> None:
    found = nanogpt(run, restarted([130, 260]))
    assert (found.outcome, found.time_s) == (Outcome.OK, 90.0)


def test_validation_at_the_restart_may_print_less(run: Run) -> None:
    lines = restarted([130, 260])
    lines[0] = (100.0, protocol_line(0, 10.8, 91))
    lines.insert(11, (400.0, protocol_line(10, 9.0, 0)))  # as record 4 printed on a card
    assert nanogpt(run, lines).outcome is Outcome.OK


def test_time_that_decreases_later_is_a_violation(run: Run) -> None:
    lines = [(150.0, protocol_line(11, 9.0, 49_000)), (200.0, protocol_line(12, 5.0, 48_000))]
    found = nanogpt(run, [MODERN[0], *lines, MODERN[2]])
    assert (found.outcome, found.reason) == (
        Outcome.RULE_VIOLATION,
        "the printed train_time decreases",
    )


@pytest.mark.parametrize(
    "lines",
    [
        restarted([]),  # nothing shows the restart
        restarted([300_130]),  # there is none
        [*restarted([])[:-6], *restarted([130])[-2:]],  # only four steps before it
        [(100.0, protocol_line(0, 10.8, 0)), (390.0, protocol_line(12, 5.0, 0)),
         (400.0, train_line(10, 300_000)), (400.5, train_line(11, 130)), restarted([])[-1]],
    ],
)  # fmt: skip
def test_time_that_is_lost_elsewhere_is_a_violation(
    run: Run, lines: list[tuple[float, str]]
) -> None:
    found = nanogpt(run, lines)
    assert found.outcome is Outcome.RULE_VIOLATION
    assert "went by on the harness's clock" in found.reason


def test_no_time_at_all_is_none(run: Run) -> None:
    """Every ratio of times would be undefined."""
    found = nanogpt(run, [(100.0, protocol_line(20, 3.4, 0))])
    assert found.outcome is Outcome.RULE_VIOLATION and "no time went by" in found.reason


def test_what_precedes_the_first_line_is_free(run: Run) -> None:
    """The bounds' known gap: whoever closes it changes what clocks.py says of it."""
    found = nanogpt(run, [(219.8, protocol_line(0, 10.8, 0)), (220.0, protocol_line(20, 3.4, 1))])
    assert (found.outcome, found.time_s) == (Outcome.OK, 0.001)


# --- scripts of the first records, which print two kinds of lines ---

TWO_LINES = [
    (60.0, "val loss 10.98"),
    (100.0, "step    1/2 | train loss 9.1 | norm 0.2 | lr 1e-03 | (100000.00 ms | 99 tok/s)"),
    (101.0, "step    2/2 | train loss 9.0 | norm 0.2 | lr 1e-03 | (500.25 ms | 99 tok/s)"),
    (102.0, "val loss 3.2766"),
    (102.0, "peak memory consumption: 31563 MiB"),
]


def test_scripts_of_the_first_records_are_read_on_this_clock_alone(run: Run) -> None:
    found = nanogpt(run, TWO_LINES)
    assert (found.outcome, found.time_s, found.steps) == (Outcome.OK, 100.5, 2)
    assert [(point.step, point.steps) for point in found.curve] == [(0, 2), (2, 2)]
    assert (found.gpu_memory_mib, found.gpu_memory_reserved_mib) == (31563, None)
    assert "printed no line" in run.analyze(TWO_LINES).reason


def test_own_dialect_ends_the_other(run: Run) -> None:
    lines = [(1.0, "val loss 2.0"), *MODERN, (221.0, "val loss 2.0")]
    found = nanogpt(run, lines)
    assert [point.val_loss for point in found.curve] == [10.8, 4.0, 3.4]


def test_unfinished_run_of_the_first_records_scripts(run: Run) -> None:
    assert nanogpt(run, TWO_LINES[:1]).outcome is Outcome.CANDIDATE_ERROR
    assert "ended at step 1 of 2" in nanogpt(run, [*TWO_LINES[:2], TWO_LINES[3]]).reason
