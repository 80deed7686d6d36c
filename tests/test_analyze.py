"""analyze: the rules on hand-made runs, the probe check on real logits, and a real run."""

from __future__ import annotations

import dataclasses
import json
import math
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from speedrun import cli, schema
from speedrun.files import SpeedrunError
from speedrun.runner.log import encode
from speedrun.schema import Analysis, Gpus, Outcome, Parent, RunExit, TrackSpec
from speedrun.stages import analyze as stage
from speedrun.stages.analyze import digest, probes

TRACK = TrackSpec(
    name="micro", corpus="c", records=["r01"], entry="train.py", target_loss=3.5, clock="cpu",
    probe_contexts=8, probe_length=4, probe_offset=0.1, probe_tolerance=0.2,
    after_clock_s_max=1.0, train_time_ratio_min=0.5,
)  # fmt: skip
ENDED = RunExit(
    ran=True, reason="exited", exit_code=0, wall_s=11.0, cpu_s=10.0, cpu_total_s=10.5,
    peak_rss_mb=99.0, seed=1, solution_digest="d" * 64, device="cpu", sandbox="bubblewrap",
    host="h",
)  # fmt: skip
CONTEXTS, VOCAB = 8, 16


def protocol_line(step: int, loss: object, time_ms: int, steps: int = 20) -> str:
    return f"step:{step}/{steps} val_loss:{loss} train_time:{time_ms}ms step_avg:1.0ms"


GOOD = [(4.0, protocol_line(10, 4.0, 3900)), (10.0, protocol_line(20, 3.4, 9800))]


class Run:
    """A run folder made by hand, honest unless told otherwise."""

    def __init__(self, folder: Path) -> None:
        """Write logits with a loss of 3.5 on the targets."""
        self.folder, self.targets = folder / "run", folder / "probe_targets.npy"
        self.folder.mkdir(exist_ok=True)
        rows = np.random.default_rng(0).normal(size=(CONTEXTS, VOCAB))
        rows[:, -1] = 3.0
        self.wanted = np.arange(CONTEXTS, dtype=np.uint16)
        np.save(self.targets, self.wanted)
        self.answer(self.scaled(rows, 3.5))

    def scaled(self, rows: Any, loss: float) -> Any:
        """Return logits whose loss on the targets is ``loss``: the targets' columns moved."""
        rows, picked = rows.copy(), np.arange(CONTEXTS)
        rows[picked, self.wanted] = -np.inf
        others = np.log(np.exp(rows).sum(axis=1))
        rows[picked, self.wanted] = others - math.log(math.exp(loss) - 1)
        return rows.astype(np.float32)

    def answer(self, rows: Any) -> None:
        """Write the probe logits."""
        np.save(self.folder / probes.PROBE_ANSWER, rows)

    def analyze(
        self,
        lines: list[tuple[float, str]] | None = None,
        ended: RunExit = ENDED,
        **options: Any,
    ) -> Analysis:
        """Write log and exit, and run the stage."""
        stamped = GOOD if lines is None else lines
        log = [{"wall_s": at + 0.5, "cpu_s": at, "line": line} for at, line in stamped]
        (self.folder / "log.jsonl").write_bytes(b"".join(map(encode, log)))
        schema.save(self.folder / "exit.json", ended)
        track = dataclasses.replace(TRACK, **options.pop("track", {}))
        return stage.analyze(self.folder, track, options.pop("targets", self.targets), **options)


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


def test_time_is_that_of_the_tracks_clock(run: Run) -> None:
    assert run.analyze(track={"clock": "wall"}).time_s == 10.5
    with pytest.raises(SpeedrunError, match="clock 'moon': choose cpu, wall or train_time"):
        run.analyze(track={"clock": "moon"})


# --- the clock "train_time": printed by the script, held against wall stamps (cpu_s + 0.5) ---

NANOGPT = {"clock": "train_time", "train_time_ratio_min": 0.5, "probe_contexts": 0}
MODERN = [(100.0, protocol_line(0, 10.8, 0)), (160.0, protocol_line(10, 4.0, 50_000)),
          (220.0, protocol_line(20, 3.4, 100_000))]  # fmt: skip


def nanogpt(run: Run, lines: list[tuple[float, str]]) -> Analysis:
    return run.analyze(lines, track=NANOGPT, targets=None)


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


# --- probes ---


def test_faked_print_does_not_survive_the_probes(run: Run) -> None:
    found = run.analyze([(10.0, protocol_line(20, 2.9, 9800))])
    assert found.outcome is Outcome.RULE_VIOLATION
    assert "not that of the written logits: 3.5000" in found.reason
    assert found.probes is not None


def test_unnormalised_logits_gain_nothing(run: Run) -> None:
    rows = np.load(run.folder / probes.PROBE_ANSWER)
    run.answer((rows + 100).astype(np.float32))
    assert run.analyze().outcome is Outcome.OK


@pytest.mark.parametrize(
    ("rows", "reason"),
    [
        (np.zeros((CONTEXTS, VOCAB)), "float64 (8, 16), wanted float32 (8, 16)"),
        (np.zeros((CONTEXTS - 1, VOCAB), np.float32), "float32 (7, 16)"),
        (np.zeros((CONTEXTS, 3), np.float32), "wanted float32 (8, 8)"),
        (np.zeros(CONTEXTS, np.float32), "float32 (8,)"),
        (np.full((CONTEXTS, VOCAB), np.nan, np.float32), "not finite"),
        (np.full((CONTEXTS, VOCAB), np.inf, np.float32), "not finite"),
        (np.array(["x"]), "wanted float32"),
    ],
)
def test_logits_of_another_shape_or_kind(run: Run, rows: Any, reason: str) -> None:
    run.answer(rows)
    found = run.analyze()
    assert found.outcome is Outcome.RULE_VIOLATION
    assert reason in found.reason


def test_columns_must_be_the_vocabulary_where_it_is_known(run: Run) -> None:
    assert run.analyze(vocab_size=VOCAB).outcome is Outcome.OK
    found = run.analyze(vocab_size=VOCAB + 1)
    assert "wanted float32 (8, 17)" in found.reason


HEADER = b"\x93NUMPY\x01\x00"


@settings(max_examples=50, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.binary(max_size=300) | st.binary(max_size=300).map(lambda tail: HEADER + tail))
def test_any_bytes_as_logits_are_a_violation(run: Run, content: bytes) -> None:
    (run.folder / probes.PROBE_ANSWER).write_bytes(content)
    found = run.analyze()
    assert found.outcome is Outcome.RULE_VIOLATION
    assert found.reason.startswith("probe_logits.npy: ")


def test_giant_header_costs_no_memory(run: Run) -> None:
    path = run.folder / probes.PROBE_ANSWER
    np.lib.format.open_memmap(path, mode="w+", dtype=np.float32, shape=(CONTEXTS, VOCAB)).flush()
    content = path.read_bytes().replace(b"(8, 16), }     ", b"(8, 9999999), }")
    path.write_bytes(content)
    assert b"9999999" in content
    assert "not a numpy array" in run.analyze().reason


def test_missing_logits(run: Run) -> None:
    (run.folder / probes.PROBE_ANSWER).unlink()
    assert "probe_logits.npy: missing" in run.analyze().reason
    assert run.analyze(targets=None).outcome is Outcome.OK
    simulated = dataclasses.replace(ENDED, trainer="simulated")
    assert run.analyze(ended=simulated).outcome is Outcome.OK


def test_missing_targets_are_our_failure(run: Run) -> None:
    with pytest.raises(SpeedrunError, match=r"gone\.npy cannot be read"):
        run.analyze(targets=run.folder / "gone.npy")


def test_probe_loss_is_the_softmax_over_all_columns(tmp_path: Path) -> None:
    rows = np.array([[0.0, 0.0], [1e30, 0.0], [0.0, math.log(3)]], dtype=np.float32)
    np.save(tmp_path / "a.npy", rows)
    found = probes.probe_losses(tmp_path / "a.npy", np.array([0, 0, 1], dtype=np.uint16))
    assert found == pytest.approx([math.log(2), 0.0, math.log(4 / 3)], rel=1e-6)


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


def test_probes_cannot_be_left_out_on_the_command_line(
    run: Run, capsys: pytest.CaptureFixture[str]
) -> None:
    run.analyze()
    (run.folder.parent / "meta.json").write_text('{"vocab_size": null}')
    track = json.dumps(schema.to_dict(TRACK))
    node = str(run.folder.parent)
    assert cli.main(["analyze", "--track", track, "--shards", node, "--folder", node]) == 1
    assert "track micro has probes: say where --targets are" in capsys.readouterr().err


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
