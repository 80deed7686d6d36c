"""tokenize: the .bin format, its corruption, and probes whose targets stay private."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from speedrun import schema, specs
from speedrun.files import SpeedrunError, digest_tree, read_json
from speedrun.stages import tokenize


@given(hnp.arrays(np.uint16, st.integers(0, 300)))
def test_shards_round_trip(tmp_path_factory: pytest.TempPathFactory, tokens: object) -> None:
    path = tmp_path_factory.mktemp("shard") / "val_000000.bin"
    assert isinstance(tokens, np.ndarray)
    tokenize.write_shard(path, tokens)
    assert np.array_equal(tokenize.read_shard(path), tokens)
    assert path.stat().st_size == 1024 + 2 * len(tokens)


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda content: b"\0" * 4 + content[4:], "wrong magic"),
        (lambda content: content[:100], "wrong magic"),
        (lambda content: content[:-10], "truncated"),
        (lambda content: content + b"\0\0", "truncated"),
    ],
)
def test_a_corrupt_shard_is_named(tmp_path: Path, damage: object, message: str) -> None:
    path = tmp_path / "train_000000.bin"
    tokenize.write_shard(path, np.arange(100, dtype=np.uint16))
    assert callable(damage)
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(SpeedrunError, match=message) as caught:
        tokenize.read_shard(path)
    assert str(path) in str(caught.value)


def test_shards_are_the_same_bytes_twice(
    nano_shards: Path, nano_config: dict[str, object], tmp_path: Path
) -> None:
    spec = schema.from_dict(tokenize.TokenizeSpec, specs.tokenize(nano_config))
    tokenize.tokenize(nano_shards / "corpus/nano/documents.jsonl", spec, tmp_path)
    assert digest_tree(tmp_path) == digest_tree(nano_shards / "shards/nano")


def test_meta_tells_the_shards(nano_shards: Path) -> None:
    folder = nano_shards / "shards/nano"
    meta = read_json(folder / "meta.json")
    assert meta["vocab_size"] == 512
    assert meta["val_tokens"] == 8192 == len(tokenize.read_shard(folder / "public/val_000000.bin"))
    assert meta["train_tokens"] == len(tokenize.read_shard(folder / "public/train_000000.bin"))


def test_only_training_and_validation_are_public(nano_shards: Path) -> None:
    names = {path.name for path in (nano_shards / "shards/nano/public").iterdir()}
    assert names == {"train_000000.bin", "val_000000.bin"}


def test_probes_are_windows_of_the_holdout_and_differ_between_sets(nano_shards: Path) -> None:
    folder = nano_shards / "shards/nano/private"
    holdout = tokenize.read_shard(folder / "holdout_000000.bin")
    windows = np.lib.stride_tricks.sliding_window_view(holdout, 17)
    known = {window.tobytes() for window in windows}
    first, second = (np.load(folder / f"probes/set_0{i}/contexts.npy") for i in (0, 1))
    targets = np.load(folder / "probes/set_00/targets.npy")
    assert first.shape == (1024, 16) and targets.shape == (1024,)
    assert all(np.append(row, t).tobytes() in known for row, t in zip(first, targets, strict=True))
    assert not np.array_equal(first, second)


def test_no_context_holds_the_target_of_another(nano_shards: Path) -> None:
    folder = nano_shards / "shards/nano/private"
    holdout = tokenize.read_shard(folder / "holdout_000000.bin")
    for index in range(3):
        contexts = np.load(folder / f"probes/set_{index:02d}/contexts.npy")
        targets = np.load(folder / f"probes/set_{index:02d}/targets.npy")
        windows = np.lib.stride_tricks.sliding_window_view(holdout, 17)
        places: dict[bytes, list[int]] = {}
        for at, window in enumerate(windows):
            places.setdefault(window.tobytes(), []).append(at)
        rows = zip(contexts, targets, strict=True)
        starts = [places[np.append(row, target).tobytes()] for row, target in rows]
        # A window may stand in the text more than once; one grid must explain all of them.
        grids = set.intersection(*({at % 17 for at in found} for found in starts))
        assert grids


def test_too_small_a_corpus_is_an_error(tmp_path: Path) -> None:
    documents = tmp_path / "documents.jsonl"
    documents.write_text('{"id": "a", "split": "train", "text": "x"}\n')
    spec = tokenize.TokenizeSpec(300, 8, 1, 4, 4, 1)
    with pytest.raises(SpeedrunError, match="raise val_share"):
        tokenize.tokenize(documents, spec, tmp_path / "out")
