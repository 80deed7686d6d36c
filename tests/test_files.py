"""files and schema: atomic writes, digests, typed JSON."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from speedrun import files, schema
from speedrun.files import SpeedrunError


def test_a_failed_write_leaves_the_old_file_and_no_half_one(tmp_path: Path) -> None:
    path = tmp_path / "value.json"
    files.write_json(path, {"a": 1})
    with pytest.raises(TypeError):
        files.write_json(path, {"a": object()})
    assert files.read_json(path) == {"a": 1}
    assert os.listdir(tmp_path) == ["value.json"]


def test_an_unchanged_text_keeps_its_mtime(tmp_path: Path) -> None:
    path = tmp_path / "plan.json"
    assert files.write_text_if_changed(path, "x")
    os.utime(path, (1, 1))
    assert not files.write_text_if_changed(path, "x")
    assert path.stat().st_mtime == 1
    assert files.write_text_if_changed(path, "y")


@pytest.mark.parametrize("name", ["../escape.py", "/etc/passwd", ".", ""])
def test_a_tree_refuses_names_outside_its_folder(tmp_path: Path, name: str) -> None:
    with pytest.raises(SpeedrunError, match="outside its folder"):
        files.write_tree(tmp_path / "solution", {name: "x"})
    assert not (tmp_path / "solution").exists()
    assert not (tmp_path / "escape.py").exists()


def test_a_tree_round_trips_and_replaces_what_was_there(tmp_path: Path) -> None:
    folder = tmp_path / "solution"
    files.write_tree(folder, {"old.py": "1"})
    files.write_tree(folder, {"train.py": "2", "lib/model.py": "3"})
    assert files.read_tree(folder) == {"train.py": "2", "lib/model.py": "3"}


def test_the_digest_of_a_tree_depends_on_names_and_bytes(tmp_path: Path) -> None:
    files.write_tree(tmp_path / "a", {"train.py": "x"})
    files.write_tree(tmp_path / "b", {"train.py": "x"})
    files.write_tree(tmp_path / "c", {"main.py": "x"})
    assert files.digest_tree(tmp_path / "a") == files.digest_tree(tmp_path / "b")
    assert files.digest_tree(tmp_path / "a") != files.digest_tree(tmp_path / "c")


@pytest.mark.parametrize("content", [b"", b"{", b"\xff\xfe"])
def test_broken_json_is_an_error_that_names_the_file(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "broken.json"
    path.write_bytes(content)
    with pytest.raises(SpeedrunError, match=r"broken\.json is not valid JSON"):
        files.read_json(path)


def test_a_missing_file_is_an_error_that_names_the_command(tmp_path: Path) -> None:
    with pytest.raises(SpeedrunError, match="run `snakemake`"):
        files.read_json(tmp_path / "absent.json")


points = st.builds(
    schema.CurvePoint,
    step=st.integers(0, 10**6),
    steps=st.integers(0, 10**6),
    val_loss=st.floats(allow_nan=False),
    train_time_ms=st.integers(0, 10**9),
    wall_s=st.floats(0, 1e6),
    cpu_s=st.floats(0, 1e6),
)
analyses = st.builds(
    schema.Analysis,
    outcome=st.sampled_from(schema.Outcome),
    reason=st.text(),
    val_loss=st.none() | st.floats(allow_nan=False, allow_infinity=False),
    time_s=st.none() | st.floats(0, 1e6),
    train_time_ms=st.none() | st.integers(0, 10**9),
    steps=st.none() | st.integers(0, 10**6),
    curve=st.lists(points, max_size=3),
    probes=st.none(),
    device_seconds=st.none() | st.floats(0, 1e6),
    digest=st.text(),
)


@given(analyses)
def test_records_round_trip_through_json(analysis: schema.Analysis) -> None:
    assert schema.from_dict(schema.Analysis, schema.to_dict(analysis)) == analysis


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"reason": 3}, "reason: expected str"),
        ({"speed": 3}, "unknown key 'speed'"),
        ({"steps": True}, "steps: expected int"),
        ({"outcome": "fine"}, "fine"),
    ],
)
def test_a_mistyped_record_is_an_error_that_names_file_and_key(
    tmp_path: Path, change: dict[str, object], message: str
) -> None:
    good = schema.Analysis(schema.Outcome.OK, "", 1.0, 1.0, 1, 1, [], None, 1.0, "")
    path = tmp_path / "analysis.json"
    files.write_json(path, {**schema.to_dict(good), **change})
    with pytest.raises(SpeedrunError, match=r"analysis\.json") as caught:
        schema.load(schema.Analysis, path)
    assert message in str(caught.value)
