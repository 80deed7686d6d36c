"""tokenize of kind text: the user's files to GPT-2 shards, whole or not at all."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import small_disks
from own_texts import build, config, expected, made_texts, tokens_of, write_jsonl
from speedrun import specs
from speedrun.adapters import hydra_config
from speedrun.files import SpeedrunError, canonical_json, digest_tree, read_json
from speedrun.stages import corpus, tokenize
from speedrun.stages.tokenize import gpt2, own_text, shards


@pytest.fixture()
def small_disk(tmp_path: Path) -> Iterator[Path]:
    with small_disks.mounted(tmp_path / "disk") as folder:
        yield folder


def test_shards_hold_tiktokens_tokens_of_every_document_in_order(tmp_path: Path) -> None:
    texts = made_texts(400)
    values = config(write_jsonl(tmp_path / "a.jsonl", list(texts)))
    sizes = build(values, tmp_path)
    assert tokens_of(tmp_path, "train").tolist() == expected(texts, values, "train")
    assert tokens_of(tmp_path, "holdout").tolist() == expected(texts, values, "holdout")
    assert tokens_of(tmp_path, "val").tolist() == expected(texts, values, "val")[:200]
    meta = read_json(tmp_path / "shards/meta.json")
    paths = sorted((tmp_path / "shards/public").glob("fineweb_train_*"))
    assert [path.name for path in paths][:2] == [
        "fineweb_train_000001.bin",
        "fineweb_train_000002.bin",
    ]
    assert all(len(tokenize.read_shard(path)) == 3000 for path in paths[:-1])
    assert (meta["train_shards"], meta["vocab_size"]) == (len(paths), 50257)
    assert meta["documents"] == 400 and meta["documents_checked"] == 3
    assert meta["train_tokens"] == sizes["train_tokens"]
    assert set(meta["sha256"]) == {p.name for p in (tmp_path / "shards").glob("*/*.bin")}


def test_the_same_input_gives_the_same_bytes_whatever_the_batches(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    values = config(write_jsonl(tmp_path / "a.jsonl", list(made_texts(300))))
    build(values, tmp_path / "one")
    build(values, tmp_path / "two")
    assert digest_tree(tmp_path / "one/shards") == digest_tree(tmp_path / "two/shards")
    monkeypatch.setattr(own_text, "BATCH_CHARACTERS", 1000)
    build(values, tmp_path / "three")
    public = [digest_tree(tmp_path / name / "shards/public") for name in ("one", "three")]
    assert public[0] == public[1]


def test_equal_documents_are_never_on_both_sides(tmp_path: Path) -> None:
    values = config(val_share=0.3, holdout_share=0.3)
    spec = own_text.TextSpec(**specs.tokenize(values))
    splits = [own_text.split_of(text, spec) for text in made_texts(3000)]
    assert splits == [own_text.split_of(text, spec) for text in made_texts(3000)]
    shares = {split: splits.count(split) / 3000 for split in ("val", "holdout", "train")}
    assert all(abs(shares[split] - share) < 0.06 for split, share in
               (("val", 0.3), ("holdout", 0.3), ("train", 0.4)))  # fmt: skip


def test_probes_come_from_the_holdout_where_a_track_asks_for_them(tmp_path: Path) -> None:
    values = config(write_jsonl(tmp_path / "a.jsonl", list(made_texts(400))))
    values["track"] = {"probe_sets": 2, "probe_contexts": 16, "probe_length": 8}
    build(values, tmp_path)
    holdout = tokens_of(tmp_path, "holdout")
    contexts = np.load(tmp_path / "shards/private/probes/set_01/contexts.npy")
    windows = {window.tobytes() for window in np.lib.stride_tricks.sliding_window_view(holdout, 8)}
    assert contexts.shape == (16, 8) and all(row.tobytes() in windows for row in contexts)


@pytest.mark.parametrize(
    "changes", [{"shard_tokens": 0}, {"val_tokens": 0}, {"shard_tokens": 2**31}]
)
def test_sizes_that_no_shard_can_have_are_said(tmp_path: Path, changes: dict[str, int]) -> None:
    values = config(write_jsonl(tmp_path / "a.jsonl", list(made_texts(300))), **changes)
    with pytest.raises(SpeedrunError, match=f"corpus.{next(iter(changes))} is .*: set it to 1 to"):
        build(values, tmp_path)


def test_a_file_that_changed_since_is_named(tmp_path: Path) -> None:
    values = config(write_jsonl(tmp_path / "a.jsonl", list(made_texts(300))))
    build(values, tmp_path)
    write_jsonl(tmp_path / "a.jsonl", list(made_texts(301)))
    with pytest.raises(SpeedrunError, match=r"has changed since .*--forcerun corpus"):
        manifest = tmp_path / "corpus/manifest.json"
        tokenize.build(manifest, specs.tokenize(values), tmp_path / "shards")


def test_a_document_that_tiktoken_encodes_otherwise_stops_everything(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    values = config(write_jsonl(tmp_path / "a.jsonl", list(made_texts(300))))
    real = gpt2.Encoder.encode

    def broken(self: gpt2.Encoder, texts: list[str]) -> Any:
        tokens, starts = real(self, texts)
        return np.where(tokens == 262, 5, tokens).astype(np.uint16), starts  # another " the"

    monkeypatch.setattr(gpt2.Encoder, "encode", broken)
    monkeypatch.setattr(own_text, "CHECKED", 40)
    with pytest.raises(SpeedrunError, match=r"document \d+ of .*a\.jsonl is encoded otherwise"):
        build(values, tmp_path)
    assert not list((tmp_path / "shards").glob("**/*.*"))


def test_fewer_shards_than_before_leave_none_of_the_old(tmp_path: Path) -> None:
    path = write_jsonl(tmp_path / "a.jsonl", list(made_texts(400)))
    build(config(path), tmp_path)
    many = len(list((tmp_path / "shards/public").iterdir()))
    build(config(path, shard_tokens=100_000), tmp_path)
    assert many > 3 and len(list((tmp_path / "shards/public").iterdir())) == 2


def test_a_disk_that_fills_leaves_nothing(tmp_path: Path, small_disk: Path) -> None:
    values = config(
        write_jsonl(tmp_path / "a.jsonl", ["語" * 400_000 + str(n) for n in range(20)]),
        val_share=0.0, holdout_share=0.0, val_tokens=1, shard_tokens=1_000_000,
    )  # fmt: skip
    corpus.build(specs.corpus(values), tmp_path / "corpus")
    with pytest.raises(SpeedrunError, match="is full: free some space and run the same command"):
        tokenize.build(
            tmp_path / "corpus/manifest.json", specs.tokenize(values), small_disk / "shards"
        )
    assert not [path for path in (small_disk / "shards").rglob("*") if path.is_file()]


@pytest.mark.slow
def test_a_killed_run_is_made_again_byte_for_byte(tmp_path: Path, repository: Path) -> None:
    values = config(write_jsonl(tmp_path / "a.jsonl", list(made_texts(25_000))))
    build(values, tmp_path / "whole")
    corpus.build(specs.corpus(values), tmp_path / "corpus")
    command = [
        str(repository / ".venv/bin/speedrun"),
        "tokenize",
        "--documents",
        "corpus/manifest.json",
    ]
    spec = canonical_json(specs.tokenize(values))
    process = subprocess.Popen([*command, "--spec", spec, "--out", "shards"], cwd=tmp_path)
    while process.poll() is None and not list(tmp_path.glob("shards/public/*.bin")):
        os.sched_yield()
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert not (tmp_path / "shards/meta.json").exists()
    tokenize.build(tmp_path / "corpus/manifest.json", specs.tokenize(values), tmp_path / "shards")
    assert digest_tree(tmp_path / "shards") == digest_tree(tmp_path / "whole/shards")


@pytest.mark.slow
def test_memory_does_not_grow_with_the_input(tmp_path: Path) -> None:
    """Peak resident memory of whole processes, at 64 and 256 MB of ever new words."""
    peaks = []
    for megabytes in (64, 256):
        path = tmp_path / f"{megabytes}.jsonl"
        with path.open("w") as file:
            for number in range(megabytes * 100):
                words = " ".join(f"{number}{word:x}" for word in range(1700))[:10_000]
                file.write(json.dumps({"text": words}) + "\n")
        values = config(path, val_tokens=100_000, shard_tokens=10_000_000)
        corpus.build(specs.corpus(values), tmp_path / "corpus")
        spec = canonical_json(specs.tokenize(values))
        arguments = ["tokenize", "--documents", "corpus/manifest.json", "--out", "shards", "--spec"]
        process = subprocess.Popen(
            [sys.executable, "-m", "speedrun", *arguments, spec], cwd=tmp_path
        )
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = status
        assert status == 0
        peaks.append(usage.ru_maxrss / 1024)
    assert peaks[1] < 1.1 * peaks[0] + 16


@settings(max_examples=50, deadline=None)
@given(
    st.lists(st.lists(st.integers(0, 50256), max_size=40), max_size=12),
    st.integers(1, 30),
    st.one_of(st.none(), st.integers(0, 100)),
)
def test_a_series_cuts_but_loses_nothing(
    tmp_path_factory: pytest.TempPathFactory, writes: list[list[int]], size: int, limit: int | None
) -> None:
    folder = tmp_path_factory.mktemp("series")
    with shards.Series(lambda index: folder / f"{index:03d}.bin", size, limit) as series:
        for tokens in writes:
            series.write(np.array(tokens, dtype=np.uint16))
    whole = [token for tokens in writes for token in tokens][:limit]
    read = [tokenize.read_shard(path).tolist() for path in sorted(folder.iterdir())]
    assert [token for tokens in read for token in tokens] == whole
    assert all(len(tokens) == size for tokens in read[:-1]) and series.tokens == len(whole)


def test_the_template_asks_for_files(repository: Path, tmp_path: Path) -> None:
    option = hydra_config.option(repository / "config", "corpus", "text")
    values = {"corpus": option, "track": {"probe_sets": 0}, "tasks": []}
    assert specs.shard_names(values) == ["fineweb_val_000000.bin", "fineweb_train_000001.bin"]
    with pytest.raises(SpeedrunError, match=r"corpus\.paths names no file"):
        build(values, tmp_path)
