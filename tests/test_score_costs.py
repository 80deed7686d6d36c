"""score: what a trial spent in tokens, dollars and device seconds; unknown is not free."""

from __future__ import annotations

from pathlib import Path

import pytest

import sweep_files
from score_inputs import rows
from speedrun import files, schema, trials
from speedrun.schema import Outcome
from speedrun.stages.score import spent


def test_unknown_costs_make_the_sum_unknown(tmp_path: Path) -> None:
    found = rows(tmp_path)
    assert found["replay"]["tokens"] == 330
    assert found["replay"]["cost_usd"] is None
    assert found["replay"]["device_seconds"] == pytest.approx(16.0)
    assert (found["null"]["tokens"], found["null"]["cost_usd"]) == (0, 0)
    assert found["tuner"]["device_seconds"] == pytest.approx(15.0)  # the refusal cost nothing


def test_a_run_of_unknown_cost_is_not_free(tmp_path: Path) -> None:
    sweep_files.sweep(tmp_path)
    folder = tmp_path / "one" / "s0"
    unknown = sweep_files.analysis(Outcome.OOM, None, device_seconds=None)
    sweep_files.node(folder / "node_1", "x", unknown)
    node = trials.Node(1, folder / "node_1", unknown)
    assert spent.costs([node])["device_seconds"] is None


def test_broken_calls_name_file_and_line(tmp_path: Path) -> None:
    path = tmp_path / "calls.jsonl"
    path.write_text('{"turn": 0}\n')
    with pytest.raises(files.SpeedrunError, match=r"calls\.jsonl line 1"):
        spent.read_calls(path)
    assert spent.read_calls(tmp_path / "absent.jsonl") == []


def test_a_draft_and_a_summary_are_paid_for_too(tmp_path: Path) -> None:
    plan = sweep_files.sweep(tmp_path)
    node = trials.nodes(plan.trials[2])[0]
    before = spent.costs([node])
    summary = sweep_files.call(1000, 100, 2.0)
    line = files.canonical_json(schema.to_dict(summary)) + "\n"
    files.write_text(node.folder / "digest_model.calls.jsonl", line)
    files.write_json(node.folder / "draft/preflight.json", {"device_seconds": 4.5})
    after = spent.costs([node])
    assert after["tokens"] == before["tokens"] + 1100
    assert after["cost_usd"] == before["cost_usd"] + 2.0
    assert after["device_seconds"] == before["device_seconds"] + 4.5
    files.write_json(node.folder / "draft/preflight.json", {"device_seconds": None})
    assert spent.costs([node])["device_seconds"] is None
