"""report: the curves and figures: trees, colours, ranges, and on which clock."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

import sweep_files
from report_runs import rows, scored
from speedrun import schema
from speedrun.schema import Outcome
from speedrun.stages import report
from speedrun.stages.report import figures, tables


@given(st.lists(st.integers(0, 10), min_size=1, max_size=12))
def test_no_two_nodes_of_a_tree_overlap(choices: list[int]) -> None:
    nodes = [{"node": i, "parent": choice % i} for i, choice in enumerate(choices, start=1)]
    places = figures.layout(nodes)
    assert set(places) == set(range(len(nodes) + 1))
    for i, one in places.items():
        for j, other in places.items():
            assert i == j or one[1] != other[1] or abs(one[0] - other[0]) >= 0.999


def test_every_outcome_has_a_colour() -> None:
    assert set(figures.OUTCOME_COLOURS) == {"start", *map(str, Outcome)}


def test_what_does_not_count_never_shrinks_the_picture() -> None:
    nothing = {"fsr": None, "fsr_audited": None, "fsr_low": None, "fsr_high": None}
    kept = {**nothing, "fsr_audited": 0.5, "fsr_high": 1.4, "measurable": "true"}
    noise = {**nothing, "fsr_audited": -80.0, "fsr": 300.0, "measurable": "false"}
    assert figures._fsr_range([kept, noise]) == pytest.approx((-0.07, 1.47))
    low, high = figures._fsr_range([{**nothing, "measurable": None}, noise])
    assert low < -80 and high > 300
    assert figures._fsr_range([{**kept, "fsr_low": -3.0}])[0] < -3


def test_a_record_that_ran_in_two_settings_is_kept_apart(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = scored(tmp_path)
    other = tmp_path / "references/nano/cpu/r02/other/run_0"
    schema.save(other / "analysis.json", sweep_files.analysis(Outcome.OK, 77.0))
    both = {**plan.references, "r02": [*plan.references["r02"], str(other)]}
    results = tables.read(dataclasses.replace(plan, references=both), tmp_path / "sweep")
    rows_of = [row for row in tables.curves(results) if row["kind"] == "reference"]
    assert {row["name"] for row in rows_of} == {"r01", "r02/r02", "r02/other"}
    drawn: list[list[schema.CurvePoint]] = []
    monkeypatch.setattr(
        figures, "_draw_curve", lambda _axes, _results, curve, *_: drawn.append(curve)
    )
    figures.draw_curves(results, "r01-r02", tmp_path / "curves.png")
    ends = {curve[-1].cpu_s for curve in drawn if curve}
    assert {5.0, 5.2, 10.0, 10.4} <= ends and 77.0 not in ends


def test_curves_and_page_are_on_the_tracks_clock(tmp_path: Path) -> None:
    plan = scored(tmp_path)
    track = dataclasses.replace(plan.track, clock="train_time", probe_contexts=0)
    report.build(dataclasses.replace(plan, track=track), tmp_path / "sweep", tmp_path / "out")
    last = next(row for row in rows(tmp_path / "out" / "curves.csv") if row["step"] == "100")
    assert float(last["time_s"]) == pytest.approx(int(last["train_time_ms"]) / 1000)
    assert "scored on the train time." in (tmp_path / "out" / "index.html").read_text()
