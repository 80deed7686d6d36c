"""corpus: pinned, checked, and split without looking at the text."""

from __future__ import annotations

import json
from importlib import metadata
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from speedrun import schema, specs
from speedrun.adapters import hydra_config
from speedrun.files import SpeedrunError, read_json, write_json
from speedrun.stages import corpus

PINNED = corpus.Distribution(
    "optuna", "5.0.0", "5d21b312acf91bc62b7e75759da87a454735d6ffd7fc7e1de1d4547a668bfcdf"
)


def test_every_configured_source_is_installed_as_pinned(repository: Path) -> None:
    for name in hydra_config.options(repository / "config", "corpus"):
        option = hydra_config.option(repository / "config", "corpus", name)
        if option["kind"] != "distributions":
            continue
        spec = schema.from_dict(corpus.CorpusSpec, specs.corpus({"corpus": option}))
        for pinned in spec.distributions:
            assert corpus.read_distribution(pinned)


def test_the_corpus_is_the_same_bytes_twice(nano_shards: Path, tmp_path: Path) -> None:
    manifest = read_json(nano_shards / "corpus/nano/manifest.json")
    assert [source["name"] for source in manifest["sources"]] == ["optuna"]
    spec = corpus.CorpusSpec("nano", [PINNED], 0.06, 0.06)
    sizes = corpus.corpus(spec, tmp_path)
    again = (tmp_path / "documents.jsonl").read_bytes()
    assert again == (nano_shards / "corpus/nano/documents.jsonl").read_bytes()
    assert sizes["documents"] == len(again.splitlines())
    assert {json.loads(line)["split"] for line in again.splitlines()} == {
        "train",
        "val",
        "holdout",
    }


@pytest.mark.parametrize(
    ("pinned", "message"),
    [
        (corpus.Distribution("optuna", "4.0.0", PINNED.sha256), "5.0.0 is installed, 4.0.0"),
        (corpus.Distribution("optuna", "5.0.0", "0" * 64), "pinned is 0000"),
        (corpus.Distribution("no-such-package", "1", ""), "is not installed: run `make setup`"),
    ],
)
def test_a_mismatch_says_what_differs(pinned: corpus.Distribution, message: str) -> None:
    with pytest.raises(SpeedrunError, match=message):
        corpus.read_distribution(pinned)


def test_an_edited_source_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package = tmp_path / "pinned-1.0.dist-info"
    package.mkdir()
    (package / "METADATA").write_text("Metadata-Version: 2.1\nName: pinned\nVersion: 1.0\n")
    (package / "RECORD").write_text("pinned.py,sha256=AAAA,1\n")
    (tmp_path / "pinned.py").write_text("x")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(SpeedrunError, match=r"pinned\.py was edited"):
        corpus.read_distribution(corpus.Distribution("pinned", "1.0", ""))


@given(st.text(), st.floats(0, 0.5), st.floats(0, 0.5))
def test_a_split_depends_on_the_name_alone(name: str, val: float, holdout: float) -> None:
    split = corpus.split_of(name, val, holdout)
    assert split in {"train", "val", "holdout"}
    assert split == corpus.split_of(name, val, holdout)
    assert corpus.split_of(name, 0.0, 0.0) == "train"


def test_the_sources_can_be_hidden(nano_shards: Path) -> None:
    hidden = corpus.hidden_paths(nano_shards / "corpus/nano/manifest.json")
    assert hidden == [str(metadata.distribution("optuna").locate_file("optuna"))]
    assert Path(hidden[0]).is_dir()


def test_a_distribution_that_is_not_installed_has_nothing_to_hide(tmp_path: Path) -> None:
    manifest = tmp_path / "manifest.json"
    write_json(manifest, {"sources": [{"name": "no-such-package"}, {"name": "optuna"}]})
    hidden = corpus.hidden_paths(manifest)
    assert hidden == [str(metadata.distribution("optuna").locate_file("optuna"))]
