"""analyze: the check of the written logits against the withheld targets and the printed loss."""

from __future__ import annotations

import dataclasses
import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from analyze_run import CONTEXTS, ENDED, TRACK, VOCAB, Run, protocol_line
from speedrun import cli, schema
from speedrun.files import SpeedrunError
from speedrun.schema import Outcome
from speedrun.stages.analyze import probes


@pytest.fixture
def run(tmp_path: Path) -> Run:
    return Run(tmp_path)


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


def test_probes_cannot_be_left_out_on_the_command_line(
    run: Run, capsys: pytest.CaptureFixture[str]
) -> None:
    run.analyze()
    (run.folder.parent / "meta.json").write_text('{"vocab_size": null}')
    track = json.dumps(schema.to_dict(TRACK))
    node = str(run.folder.parent)
    assert cli.main(["analyze", "--track", track, "--shards", node, "--folder", node]) == 1
    assert "track micro has probes: say where --targets are" in capsys.readouterr().err
