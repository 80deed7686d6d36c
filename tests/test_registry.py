"""The registry: what loads, every refusal of the loader, records by name and transitions."""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from speedrun import registry
from speedrun.files import SpeedrunError

REPOSITORY = Path(__file__).resolve().parents[1]
REAL = registry.load(REPOSITORY / "tracks/nanogpt/registry.yaml")

Value = dict[str, Any]
SMALL: Value = {
    "track": "tiny",
    "entry": "train.py",
    "upstream": {
        "url": "https://example.org/tiny",
        "commit": "0" * 40,
        "date": "2025-01-01",
        "licence": "MIT",
        "attribution": "nobody",
        "readme": "README.md",
        "table": "Records",
    },
    "eras": [{"id": "old", "title": "the old days", "torch": "2.4", "requirements": "old.txt"}],
    "excluded": {},
    "records": [],
}


def _row(number: int, suffix: str = "", **more: Any) -> Value:
    source = {"kind": "git_final", "commit": "1" * 40, "paths": ["train.py"]}
    row = {"id": f"r{number:02}{suffix}", "number": number, "time_minutes": 100.0 - number}
    more = {"date": "2025-01-01", "title": f"change {number}{suffix}", "era": "old"} | more
    return {**row, "source": source, "sha256": {}, **more}


def _small() -> Value:
    data = copy.deepcopy(SMALL)
    data["records"] = [_row(1), _row(2), _row(2, "b"), _row(3)]
    return data


def _load(folder: Path, data: Any) -> registry.Registry:
    path = folder / "registry.yaml"
    path.write_text(yaml.safe_dump(data, sort_keys=False), encoding="utf-8")
    return registry.load(path)


# ---- reading and refusing


def test_a_small_registry_loads_and_a_bare_date_stays_text(tmp_path: Path) -> None:
    path = tmp_path / "registry.yaml"
    text = yaml.safe_dump(_small(), sort_keys=False).replace("'2025-01-01'", "2025-01-01")
    path.write_text(text, encoding="utf-8")
    loaded = registry.load(path)
    assert "date: 2025-01-01\n" in text and loaded.records[0].date == "2025-01-01"
    assert [pair.task for pair in loaded.transitions] == ["r01-r02", "r02b-r03"]


def test_a_missing_file_says_that_the_track_needs_it(tmp_path: Path) -> None:
    with pytest.raises(SpeedrunError, match=r"registry\.yaml is missing: .* needs its registry"):
        registry.load(tmp_path / "registry.yaml")


@pytest.mark.parametrize("content", [b"records: [", b"a: 'x\n", b"\xff\xfe\x00"])
def test_what_is_no_yaml_is_named(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "registry.yaml"
    path.write_bytes(content)
    with pytest.raises(SpeedrunError, match=r"registry\.yaml is not valid YAML") as caught:
        registry.load(path)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("data", [None, [1], "text", 3])
def test_a_registry_is_keys_and_values(tmp_path: Path, data: Any) -> None:
    with pytest.raises(SpeedrunError, match="expected keys and values"):
        _load(tmp_path, data)


def _unknown_key(data: Value) -> None:
    data["records"][0]["titel"] = "x"


def _no_source(data: Value) -> None:
    del data["records"][0]["source"]


def _text_for_a_number(data: Value) -> None:
    data["records"][0]["time_minutes"] = "fast"


def _double(data: Value) -> None:
    data["records"].append(_row(3))


def _era(data: Value) -> None:
    data["records"][1]["era"] = "new"


def _excluded(data: Value) -> None:
    data["excluded"]["r01-r03"] = "no such pair"


def _flag(data: Value) -> None:
    data["records"][0]["flags"] = ["no_log", "fast"]


def _need(data: Value) -> None:
    data["records"][0]["needs"] = ["tpu"]


def _world_size(data: Value) -> None:
    data["records"][0]["world_sizes"] = [8, 3]


def _kind(data: Value) -> None:
    data["records"][0]["source"] = {"kind": "svn"}


def _no_commit(data: Value) -> None:
    data["records"][0]["source"] = {"kind": "git_early", "paths": ["train.py"]}


def _no_log(data: Value) -> None:
    data["records"][0]["source"] = {"kind": "log"}


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (_unknown_key, "Record: unknown key 'titel'; correct that key"),
        (_no_source, "Record: .*'source'; correct that key"),
        (_text_for_a_number, "time_minutes: expected float, got 'fast'; correct that key"),
        (_double, "record r03 stands twice; correct it"),
        (_era, "record r02 is of era 'new', which is none; correct it"),
        (_excluded, "excluded task r01-r03 is none; correct it"),
        (_flag, r"record r01: unknown flag 'fast' \(known: reconstructed_source, .*; correct it"),
        (_need, r"record r01: unknown need 'tpu' \(known: cuda, .*; correct it"),
        (_world_size, r"record r01: unknown world size 3 \(known: 1, 2, 4, 8\); correct it"),
        (_kind, "record r01: source kind 'svn' is none of git_early, git_final, log; correct it"),
        (_no_commit, "record r01: a source of kind git_early needs commit and paths; correct it"),
        (_no_log, "record r01: a source of kind log needs log; correct it"),
    ],
)
def test_a_spoilt_registry_names_file_and_fault(
    tmp_path: Path, spoil: Callable[[Value], None], message: str
) -> None:
    data = _small()
    spoil(data)
    with pytest.raises(SpeedrunError, match=rf"registry\.yaml: {message}") as caught:
        _load(tmp_path, data)
    assert "\n" not in str(caught.value)


# ---- records by name, transitions


@pytest.mark.parametrize(
    ("name", "nearest"), [("r9", "r09"), ("21b", "r21b"), ("r21d", "r21"), ("record 66", "r66")]
)
def test_an_unknown_record_is_answered_with_the_nearest(name: str, nearest: str) -> None:
    with pytest.raises(SpeedrunError, match=f"no record '{name}' .* nearest is '{nearest}'"):
        REAL.record(name)


@given(st.text())
def test_any_name_gives_a_record_or_names_one(name: str) -> None:
    try:
        assert REAL.record(name).id == name
    except SpeedrunError as error:
        assert str(error).rpartition("nearest is ")[2].strip("'") in REAL.by_id


def _record(number: int, letter: int) -> registry.Record:
    suffix = "" if letter == 0 else "abcdef"[letter]
    source = registry.Source("log", log="x.txt")
    time = 200.0 - number - letter / 10
    return registry.Record(f"r{number:02}{suffix}", number, time, "", "", "", source, {})


@given(st.lists(st.integers(1, 5), min_size=1, max_size=12))
def test_a_transition_joins_the_last_timing_to_the_next_first(timings: list[int]) -> None:
    rows = [_record(i, letter) for i, count in enumerate(timings, 1) for letter in range(count)]
    upstream = registry.Upstream("", "", "", "", "", "", "")
    found = registry.Registry("t", "train.py", upstream, [], {}, rows).transitions
    assert [pair.target.number - pair.start.number for pair in found] == [1] * (len(timings) - 1)
    assert all(pair.target.id == f"r{pair.target.number:02}" for pair in found)
    last = {row.number: row.id for row in rows}
    assert all(pair.start.id == last[pair.start.number] for pair in found)
    assert all(pair.gain_percent > 0 for pair in found)
