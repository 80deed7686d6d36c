"""analyze: an honest run, each rule by which one is not ok, any log, and the words of a summary."""

from __future__ import annotations

import dataclasses
import json
import re
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from analyze_run import ENDED, GOOD, MODERN, NANOGPT, TRACK, Run, protocol_line
from speedrun import schema
from speedrun.schema import Analysis, Gpus, Outcome, Parent, RunExit
from speedrun.stages import analyze as stage
from speedrun.stages.analyze import digest


@pytest.fixture
def run(tmp_path: Path) -> Run:
    return Run(tmp_path)


def test_honest_run_is_ok(run: Run) -> None:
    found = run.analyze()
    assert (found.outcome, found.reason) == (Outcome.OK, "")
    assert (found.time_s, found.val_loss, found.steps) == (10.0, 3.4, 20)
    assert (found.train_time_ms, found.device_seconds) == (9800, 10.5)
    assert [point.step for point in found.curve] == [10, 20]
    assert found.probes is not None
    assert found.probes.loss == pytest.approx(3.5, abs=1e-5)
    assert found.probes.difference == pytest.approx(0.0, abs=1e-5)


def test_memory_and_cards_are_kept(run: Run) -> None:
    cards = Gpus(["NVIDIA H100 80GB HBM3"] * 2, "570.1", [0, 0])
    ended = dataclasses.replace(ENDED, torch="2.10.0", gpus=cards, device="cuda")
    lines = [*MODERN, (230.0, "peak memory allocated: 30141 MiB reserved: 45096 MiB")]
    found = run.analyze(lines, ended, track=NANOGPT, targets=None)
    assert (found.gpu_memory_mib, found.gpu_memory_reserved_mib) == (30141, 45096)
    assert (found.gpus, found.torch) == (cards.names, "2.10.0")


FAILURES: list[tuple[dict[str, Any], list[tuple[float, str]], Outcome, str]] = [
    ({"reason": "timeout", "signal": 9}, GOOD, Outcome.TIMEOUT, "wall-time limit"),
    ({"reason": "oom", "signal": 9}, GOOD, Outcome.OOM, "memory limit"),
    ({"reason": "output_flood"}, GOOD, Outcome.CANDIDATE_ERROR, "printed more"),
    ({"reason": "process_flood"}, GOOD, Outcome.CANDIDATE_ERROR, "more processes"),
    ({"reason": "disk_flood"}, GOOD, Outcome.CANDIDATE_ERROR, "more files than the disk limit"),
    ({"exit_code": 137, "signal": 9}, GOOD, Outcome.CANDIDATE_ERROR,
     "exit code 137 (as by signal 9)"),
    ({"exit_code": 1}, GOOD, Outcome.CANDIDATE_ERROR, "exited with code 1"),
    ({"exit_code": None, "signal": 11}, GOOD, Outcome.CANDIDATE_ERROR, "died of signal 11"),
    ({"ran": False, "reason": "not_run: solution has no train.py"}, [], Outcome.CANDIDATE_ERROR,
     "solution has no train.py"),
    ({}, [], Outcome.CANDIDATE_ERROR, "printed no line"),
    ({}, [(1.0, "garbage \0"), (2.0, " " + GOOD[0][1])], Outcome.CANDIDATE_ERROR, "no line"),
    ({}, GOOD[:1], Outcome.CANDIDATE_ERROR, "ended at step 10 of 20"),
    ({}, [(10.0, protocol_line(20, 3.6, 9800))], Outcome.MISSED_TARGET, "3.6, the target 3.5"),
    ({}, [(10.0, protocol_line(20, "nan", 9800))], Outcome.MISSED_TARGET, "nan"),
    ({}, [(10.0, protocol_line(20, "-inf", 9800))], Outcome.MISSED_TARGET, "-inf"),
    ({}, [(10.0, protocol_line(20, 3.6, 1))], Outcome.MISSED_TARGET, "3.6"),
    ({"cpu_total_s": 11.5}, GOOD, Outcome.RULE_VIOLATION, "1.50 CPU s were used after"),
    ({}, [GOOD[1], GOOD[1]], Outcome.RULE_VIOLATION, "steps do not increase"),
    ({}, [(1.0, protocol_line(10, 4.0, 9900)), GOOD[1]], Outcome.RULE_VIOLATION, "decreases"),
    ({}, [(10.0, protocol_line(20, 3.4, 4000))], Outcome.RULE_VIOLATION, "4.00 s, but"),
    ({}, [(10.0, protocol_line(20, 3.4, 11000))], Outcome.RULE_VIOLATION, "11.00 s, but"),
]  # fmt: skip


@pytest.mark.parametrize(("changes", "lines", "outcome", "reason"), FAILURES)
def test_each_rule(
    run: Run,
    changes: dict[str, Any],
    lines: list[tuple[float, str]],
    outcome: Outcome,
    reason: str,
) -> None:
    found = run.analyze(lines, dataclasses.replace(ENDED, **changes))
    assert found.outcome is outcome
    assert reason in found.reason
    assert found.time_s is None


def test_coders_outcome_comes_first(run: Run) -> None:
    ended = RunExit(ran=False, reason="not_run: declined")
    found = run.analyze([], ended, coder_outcome=Outcome.REFUSED, coder_reason="declined")
    assert (found.outcome, found.reason, found.device_seconds) == (Outcome.REFUSED, "declined", 0)


def test_non_finite_points_leave_no_trace_in_json(run: Run) -> None:
    lines = [(1.0, protocol_line(10, "nan", 900)), GOOD[1]]
    found = run.analyze(lines)
    assert [point.step for point in found.curve] == [20]
    missed = run.analyze([(10.0, protocol_line(20, "inf", 9800))])
    assert missed.val_loss is None
    json.dumps(schema.to_dict(missed), allow_nan=False)


def test_long_curve_is_thinned(run: Run) -> None:
    lines = [(i / 500, protocol_line(i, 3.4, 2 * i, 5000)) for i in range(1, 5001)]
    found = run.analyze(lines)
    assert found.outcome is Outcome.OK
    assert len(found.curve) == 1000
    assert (found.curve[0].step, found.curve[-1].step) == (1, 5000)
    assert len(found.digest.splitlines()) <= digest.LINES


# --- any log ---

LOSSES = st.floats() | st.sampled_from(["nan", "9" * 400, "-", "1e999"])


def _safe_line(step: int, loss: object, time_ms: int) -> str:
    digits = "9" * 5000 if time_ms > 10**20 else str(time_ms)
    return f"step:{step}/20 val_loss:{loss} train_time:{digits}ms step_avg:1.0ms"


LINES = st.text(max_size=80) | st.builds(
    _safe_line, st.integers(-1, 30), LOSSES, st.integers(-1, 20_000) | st.just(10**30)
)


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.tuples(st.floats(0, 20), LINES), max_size=6))
def test_any_log_gives_an_outcome(run: Run, lines: list[tuple[float, str]]) -> None:
    found = run.analyze(sorted(lines, key=lambda pair: pair[0]))
    assert (found.time_s is None) == (found.outcome is not Outcome.OK)
    assert len(found.digest.splitlines()) <= digest.LINES
    assert found.outcome is not Outcome.OK or (found.val_loss or 9) <= TRACK.target_loss
    assert schema.from_dict(Analysis, json.loads(json.dumps(schema.to_dict(found)))) == found
    stage.summary(found, ENDED, TRACK)


# --- words ---


def test_node_is_written_with_its_origin(run: Run) -> None:
    node = run.folder.parent
    run.analyze()
    parent = Parent(2, 0, 1, "draft", None, "", "d" * 64, 3, 4, {"lr": 0.5}, "first generation")
    schema.save(node / "parent.json", parent)
    found = stage.analyze_node(node, TRACK, run.targets)
    assert schema.load(Analysis, node / "analysis.json") == found
    page = (node / "summary.md").read_text()
    for text in ("# Node 2", "**ok**", "draft of node 0", "why: first generation",
                 "+3 -4 lines", "lr = 0.5",
                 "10 s on the cpu clock", "bubblewrap", "8 withheld targets"):  # fmt: skip
        assert text in page
    assert re.search(r"\| 20 \| 3\.4000 \| 9\.80 \| 10\.00 \| 10\.50 \|", page)


def test_node_whose_coder_gave_no_code(run: Run) -> None:
    node = run.folder.parent
    run.analyze([], RunExit(ran=False, reason="not_run: no answer"))
    parent = Parent(1, 0, 1, "draft", Outcome.REFUSED, "no answer", "", 0, 0)
    schema.save(node / "parent.json", parent)
    assert stage.analyze_node(node, TRACK, run.targets).outcome is Outcome.REFUSED
    assert "**refused**: no answer" in (node / "summary.md").read_text()


def test_reference_has_no_parent(run: Run) -> None:
    run.analyze()
    stage.analyze_node(run.folder.parent, TRACK, run.targets)
    assert (run.folder.parent / "summary.md").read_text().startswith("# Run dddddddd")
