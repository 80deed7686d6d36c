"""records: a record's sources and card, and what is said when something is missing."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from speedrun.files import SpeedrunError, read_json, read_tree
from speedrun.stages import records

CARD = """\
id: {name}
title: Muon
idea: >-
  Muon instead of AdamW  # no comment, but text
kind: optimizer
source: public speedrun, record 3
depth: deep  # kept, though nothing reads it
date: 2026-11-22
did_not_help: [a larger momentum]
"""
ROW = {
    "record": "r01",
    "n": 10,
    "loss_mean": 3.48,
    "loss_sd": 0.004,
    "time_mean_s": 31.5,
    "time_sd_s": 0.6,
    "n_missed": 0,
    "margin_sd": 5.0,
    "ratio": None,
}


@pytest.fixture
def chain(tmp_path: Path) -> Path:
    folder = tmp_path / "records"
    for name in ("r01", "r02", "r03"):
        (folder / name / "layers").mkdir(parents=True)
        (folder / name / "train.py").write_text(f"NAME = '{name}'\n")
        (folder / name / "layers" / "norm.py").write_text("EPS = 1e-6\n")
        (folder / name / "record.yaml").write_text(CARD.format(name=name))
    return folder


def test_sources_are_copied_without_the_card(chain: Path, tmp_path: Path) -> None:
    (chain / "r02" / "__pycache__").mkdir()
    (chain / "r02" / "__pycache__" / "train.pyc").write_bytes(b"\xff\x00")
    (chain / "r02" / ".notes").write_text("hidden")
    records.records(chain, "r02", "train.py", tmp_path / "out")
    copied = read_tree(tmp_path / "out" / "files")
    assert copied == {"train.py": "NAME = 'r02'\n", "layers/norm.py": "EPS = 1e-6\n"}
    card = read_json(tmp_path / "out" / "record.json")
    assert card["id"] == "r02" and card["idea"].startswith("Muon instead of AdamW")
    assert card["measured"] is None


def test_card_is_typed_and_keeps_other_keys(chain: Path) -> None:
    card = records.read_card(chain / "r01" / "record.yaml")
    assert (card.kind, card.did_not_help) == ("optimizer", ["a larger momentum"])
    assert json.loads(json.dumps(card.extra)) == {"date": "2026-11-22", "depth": "deep"}


def test_a_measurement_replaces_the_one_before_and_nothing_else(chain: Path) -> None:
    path = chain / "r01" / "record.yaml"
    written = path.read_text()
    records.write_measured(path, ROW | {"n": 3, "ratio": 0.8}, "some processor, 2 cores")
    records.write_measured(path, ROW, "ein Prozessör, 2 cores")
    assert path.read_text().startswith(written) and path.read_text().count("measured:") == 1
    measured = records.read_card(path).measured
    assert measured == records.Measured(
        10, 3.48, 0.004, 31.5, 0.6, margin_sd=5.0, machine="ein Prozessör, 2 cores"
    )
    with pytest.raises(SpeedrunError, match="unknown key 'speed'"):
        records.write_measured(path, ROW | {"speed": 1}, "")


def test_a_measurement_in_the_middle_is_taken_out_alone(chain: Path) -> None:
    path = chain / "r01" / "record.yaml"
    path.write_text("measured:\n  n: 1\n\n  loss_mean: 1.0\n" + CARD.format(name="r01"))
    records.write_measured(path, ROW, "")
    assert path.read_text().startswith(CARD.format(name="r01") + "measured:\n  n: 10\n")


@pytest.mark.parametrize("track", ["micro", "nano"])
def test_shipped_records_are_readable(repository: Path, track: str, tmp_path: Path) -> None:
    chain = repository / "tracks" / track / "records"
    for folder in sorted(chain.iterdir()):
        records.records(chain, folder.name, "train.py", tmp_path / folder.name)
        assert (tmp_path / folder.name / "files" / "train.py").is_file()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("id: r01\ntitle: t\nkind: optimizer\nsource: x\n", "idea"),
        (CARD.replace("title: Muon", "title: 3"), "title: expected str, got 3"),
        (CARD + "measured: {n: many}\n", "n: expected int, got 'many'"),
        ("- a list\n", "expected keys and values"),
        ("idea: [", "not valid YAML"),
    ],
)
def test_a_bad_card_names_file_and_key(chain: Path, text: str, message: str) -> None:
    path = chain / "r01" / "record.yaml"
    path.write_text(text.replace("{name}", "r01"))
    with pytest.raises(SpeedrunError, match=r"record\.yaml") as error:
        records.read_card(path)
    assert message in str(error.value)


def test_an_unknown_record_names_the_nearest(chain: Path, tmp_path: Path) -> None:
    with pytest.raises(SpeedrunError, match=r"no record 'r2' .* did you mean 'r02'"):
        records.records(chain, "r2", "train.py", tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_record_without_its_entry_or_card_is_refused(chain: Path, tmp_path: Path) -> None:
    (chain / "r01" / "train.py").unlink()
    with pytest.raises(SpeedrunError, match=r"r01 has no train\.py"):
        records.records(chain, "r01", "train.py", tmp_path / "out")
    (chain / "r02" / "record.yaml").unlink()
    with pytest.raises(SpeedrunError, match=r"record.yaml is missing: write it"):
        records.records(chain, "r02", "train.py", tmp_path / "out")
    with pytest.raises(SpeedrunError, match="keeps its records there"):
        records.records(tmp_path / "nowhere", "r01", "train.py", tmp_path / "out")


def test_a_card_of_another_record_is_refused(chain: Path, tmp_path: Path) -> None:
    (chain / "r01" / "record.yaml").write_text(CARD.format(name="r02"))
    with pytest.raises(SpeedrunError, match="id is 'r02' in the folder 'r01'"):
        records.records(chain, "r01", "train.py", tmp_path / "out")


def test_binary_sources_are_refused(chain: Path, tmp_path: Path) -> None:
    (chain / "r01" / "weights.bin").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(SpeedrunError, match="not UTF-8"):
        records.records(chain, "r01", "train.py", tmp_path / "out")
