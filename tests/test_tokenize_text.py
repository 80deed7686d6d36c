"""tokenize of kind text: the user's files to GPT-2 shards, whole or not at all."""

from __future__ import annotations

import bz2
import gzip
import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from speedrun import specs
from speedrun.adapters import hydra_config
from speedrun.files import SpeedrunError, canonical_json, digest_tree, read_json
from speedrun.stages import corpus, tokenize
from speedrun.stages.corpus.own_text import listed
from speedrun.stages.tokenize import documents, gpt2, own_text, shards
from test_corpus_hub import small_disk  # noqa: F401

WORDS = ["the", "of", " speed", "run", "é", "語", "\n\n", "'s", "  ", "<|endoftext|>", "42", "🙂"]


def made_texts(count: int, seed: int = 1) -> list[str]:
    generator = np.random.default_rng(seed)
    return [" ".join(generator.choice(WORDS, generator.integers(0, 60))) for _ in range(count)]


def write_jsonl(path: Path, texts: list[str | None], column: str = "text") -> Path:
    lines = [json.dumps({column: text, "id": number}) for number, text in enumerate(texts)]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def config(*paths: Path, **changes: Any) -> dict[str, Any]:
    source = {
        "name": "own",
        "kind": "text",
        "paths": [str(path) for path in paths],
        "column": "text",
        "separator": "",
        "invalid_utf8": "error",
        "val_share": 0.1,
        "holdout_share": 0.1,
        "val_tokens": 200,
        "shard_tokens": 3000,
        "seed": 1,
    }
    return {"corpus": {**source, **changes}, "track": {"probe_sets": 0}, "tasks": []}


def build(values: dict[str, Any], out: Path) -> dict[str, float]:
    corpus.build(specs.corpus(values), out / "corpus")
    return tokenize.build(out / "corpus/manifest.json", specs.tokenize(values), out / "shards")


def tokens_of(out: Path, split: str) -> np.ndarray[Any, Any]:
    paths = sorted((out / "shards").glob(f"*/fineweb_{split}_*.bin"))
    return np.concatenate([tokenize.read_shard(path) for path in paths])


def expected(texts: list[str], values: dict[str, Any], split: str) -> list[int]:
    spec = own_text.TextSpec(**specs.tokenize(values))
    chosen = [text for text in texts if own_text.split_of(text, spec) == split]
    return [token for text in chosen for token in gpt2.reference_tokens(text)]


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


def test_every_format_gives_the_same_shards(tmp_path: Path) -> None:
    texts = [text for text in made_texts(300) if text]
    jsonl = write_jsonl(tmp_path / "a.jsonl", list(texts))
    content = jsonl.read_bytes()
    (tmp_path / "a.jsonl.gz").write_bytes(gzip.compress(content))
    (tmp_path / "a.jsonl.bz2").write_bytes(bz2.compress(content))
    with pa.output_stream(tmp_path / "a.jsonl.zst", compression="zstd") as packed:
        packed.write(content)
    table = pa.table({"id": range(len(texts)), "text": texts})
    pq.write_table(table, tmp_path / "a.parquet", row_group_size=70)
    (tmp_path / "a.txt").write_text("\x1e".join(texts), encoding="utf-8")
    digests = set()
    for name in ("jsonl", "jsonl.gz", "jsonl.bz2", "jsonl.zst", "parquet", "txt"):
        out = tmp_path / name.replace(".", "_")
        build(config(tmp_path / f"a.{name}", separator="\x1e"), out)
        digests.add(digest_tree(out / "shards"))
    assert len(digests) == 1


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


def test_a_folder_is_read_in_the_order_of_its_names(tmp_path: Path) -> None:
    texts = made_texts(200)
    (tmp_path / "in/deep").mkdir(parents=True)
    (tmp_path / "in/README.md").write_text("no data")
    write_jsonl(tmp_path / "in/b.jsonl", list(texts[100:]))
    write_jsonl(tmp_path / "in/a.jsonl", list(texts[:100]))
    values = config(tmp_path / "in")
    build(values, tmp_path)
    assert tokens_of(tmp_path, "train").tolist() == expected(texts, values, "train")


def test_equal_documents_are_never_on_both_sides(tmp_path: Path) -> None:
    values = config(val_share=0.3, holdout_share=0.3)
    spec = own_text.TextSpec(**specs.tokenize(values))
    splits = [own_text.split_of(text, spec) for text in made_texts(3000)]
    assert splits == [own_text.split_of(text, spec) for text in made_texts(3000)]
    shares = {split: splits.count(split) / 3000 for split in ("val", "holdout", "train")}
    assert all(abs(shares[split] - share) < 0.06 for split, share in
               (("val", 0.3), ("holdout", 0.3), ("train", 0.4)))  # fmt: skip


def test_rows_without_text_are_left_out_and_counted(tmp_path: Path) -> None:
    texts = made_texts(300)
    values = config(write_jsonl(tmp_path / "a.jsonl", [*texts, None, None]))
    build(values, tmp_path)
    meta = read_json(tmp_path / "shards/meta.json")
    assert (meta["documents"], meta["documents_without_text"]) == (300, 2)


def test_half_a_surrogate_pair_is_what_tiktoken_makes_of_it(tmp_path: Path) -> None:
    path = write_jsonl(tmp_path / "a.jsonl", list(made_texts(300)))
    with path.open("a") as file:
        file.write('{"text": "half \\ud83d here, whole \\ud83d\\ude42 there"}\n' * 50)
    build(config(path), tmp_path)
    replaced = gpt2.reference_tokens("half \ud83d here, whole \U0001f642 there")
    train = tokens_of(tmp_path, "train").tolist()
    held = tokens_of(tmp_path, "holdout").tolist() + tokens_of(tmp_path, "val").tolist()
    assert ",".join(map(str, replaced)) in ",".join(map(str, train + held))


def test_probes_come_from_the_holdout_where_a_track_asks_for_them(tmp_path: Path) -> None:
    values = config(write_jsonl(tmp_path / "a.jsonl", list(made_texts(400))))
    values["track"] = {"probe_sets": 2, "probe_contexts": 16, "probe_length": 8}
    build(values, tmp_path)
    holdout = tokens_of(tmp_path, "holdout")
    contexts = np.load(tmp_path / "shards/private/probes/set_01/contexts.npy")
    windows = {window.tobytes() for window in np.lib.stride_tricks.sliding_window_view(holdout, 8)}
    assert contexts.shape == (16, 8) and all(row.tobytes() in windows for row in contexts)


def write_parquet(path: Path, **columns: Any) -> Path:
    pq.write_table(pa.table(columns), path)
    return path


def garbage(path: Path, content: bytes = b"PAR1 no parquet at all") -> Path:
    path.write_bytes(content)
    return path


def dangling(path: Path) -> Path:
    path.parent.mkdir()
    path.symlink_to("nowhere")
    return path


def damaged_parquet(path: Path) -> Path:
    """A parquet file whose footer is whole and whose pages are not."""
    texts = [f"{number} {text}" for number, text in enumerate(made_texts(3000))]
    pq.write_table(pa.table({"text": texts}), path, compression="zstd")
    content = bytearray(path.read_bytes())
    content[200:4000] = bytes(3800)
    return garbage(path, bytes(content))


def parquet_of_bytes(path: Path, *contents: bytes) -> Path:
    """A parquet file whose strings were never checked, as Arrow writes and reads them."""
    raw = pa.array(contents, pa.binary())
    text = pa.Array.from_buffers(pa.string(), len(raw), raw.buffers())
    return write_parquet(path, text=text)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda at: garbage(at / "a.parquet"), r"a\.parquet is no readable parquet file"),
        (lambda at: write_parquet(at / "a.parquet", body=["x"]), "has no column 'text' but body"),
        (lambda at: write_parquet(at / "a.parquet", text=[1]), "is int64, not text"),
        (lambda at: damaged_parquet(at / "a.parquet"), r"a\.parquet cannot be read"),
        (lambda at: garbage(at / "a.jsonl", b'{"text": "x"}\n{"text": "y'), r"a\.jsonl, line 2 is"),
        (lambda at: garbage(at / "a.jsonl", b'\n{"text": 3}\n'), "line 2: 'text' is int, not text"),
        (lambda at: garbage(at / "a.jsonl", b'{"body": "x"}\n'), "line 1 has no key 'text'"),
        (lambda at: garbage(at / "a.jsonl", b"[1]\n"), "line 1 has no key 'text'"),
        (lambda at: garbage(at / "a.jsonl", b'{"text": "ab\xff"}\n'), r"no UTF-8 at byte 12"),
        (
            lambda at: parquet_of_bytes(at / "a.parquet", *[b"x"] * 99, b"ab\xff"),
            r"a\.parquet, row 100, is no UTF-8 at byte 2",
        ),
        (
            lambda at: garbage(at / "a.jsonl", b'{"text": "x", "n": ' + b"1" * 5000 + b"}\n"),
            r"a\.jsonl, line 1 is no JSON that can be read \(Exceeds the limit",
        ),
        (
            lambda at: garbage(at / "a.jsonl", b'{"text": "x", "n": ' + b"[" * 200_000),
            r"a\.jsonl, line 1 is no JSON that can be read \(maximum recursion",
        ),
        (lambda at: dangling(at / "in/a.jsonl").parent, r"a\.jsonl is a link to nothing"),
        (lambda at: garbage(at / "a.jsonl.gz", b"\x1f\x8bnothing"), r"a\.jsonl\.gz cannot be read"),
        (lambda at: garbage(at / "a.txt", b"x" * 2**20 + b"\xc3("), "no UTF-8 at byte 1048576"),
        (lambda at: garbage(at / "a.txt", b""), r"a\.txt is empty"),
        (lambda at: garbage(at / "a.jsonl", b"\n\n"), "the files hold no document"),
        (lambda at: garbage(at / "a.csv", b"x"), "of no known format"),
        (lambda at: at / "none.txt", "is missing"),
        (lambda at: at, "corpus.paths names no file"),
        (lambda at: write_jsonl(at / "a.jsonl", ["few words"]), "raise corpus.val_share"),
    ],
)
def test_bad_input_is_one_line_and_leaves_nothing(tmp_path: Path, make: Any, message: str) -> None:
    (tmp_path / "in").mkdir()
    with pytest.raises(SpeedrunError, match=message) as caught:
        build(config(make(tmp_path / "in")), tmp_path / "out")
    assert "\n" not in str(caught.value)
    assert not list(tmp_path.glob("out/shards/**/*.*"))


def test_bytes_that_are_no_utf8_can_be_replaced(tmp_path: Path) -> None:
    path = write_jsonl(tmp_path / "a.jsonl", list(made_texts(300)))
    with path.open("ab") as file:
        file.write(b'{"text": "ab\xff"}\n')
    build(config(path, invalid_utf8="replace"), tmp_path)
    assert read_json(tmp_path / "shards/meta.json")["documents"] == 301


def test_strings_of_a_parquet_file_can_be_replaced_too(tmp_path: Path) -> None:
    path = parquet_of_bytes(tmp_path / "a.parquet", b"ab\xff", "gänzlich".encode())
    found = documents.read(path, documents.Format("text", "", "replace"))
    assert [document.text for document in found] == ["ab\ufffd", "gänzlich"]


def test_a_folder_that_is_named_like_a_file_is_searched(tmp_path: Path) -> None:
    (tmp_path / "in/table.parquet").mkdir(parents=True)
    part = write_parquet(tmp_path / "in/table.parquet/part-0.parquet", text=["x"])
    assert listed([str(tmp_path / "in")]) == [part]


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


def test_a_disk_that_fills_leaves_nothing(tmp_path: Path, small_disk: Path) -> None:  # noqa: F811
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


PIECES = st.text(st.characters(codec="utf-8", exclude_characters="\x1e"), min_size=1)


@settings(max_examples=100, deadline=None)
@given(st.lists(PIECES, min_size=1), st.integers(1, 9))
def test_a_separator_is_found_wherever_the_chunks_end(
    tmp_path_factory: pytest.TempPathFactory, texts: list[str], chunk: int
) -> None:
    path = tmp_path_factory.mktemp("plain") / "a.txt"
    path.write_bytes("\x1e\x1e".join(texts).encode())
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(documents, "CHUNK_BYTES", chunk)
        found = documents.read(path, documents.Format("text", "\x1e\x1e", "error"))
        assert [document.text for document in found] == texts


def test_a_document_that_is_too_large_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(documents, "MAX_DOCUMENT_BYTES", 2**20)
    path = garbage(tmp_path / "a.txt", b"x" * 3 * 2**20)
    with pytest.raises(SpeedrunError, match=r"larger than 1 MiB: set corpus\.separator"):
        build(config(path), tmp_path)


def test_the_template_asks_for_files(repository: Path, tmp_path: Path) -> None:
    option = hydra_config.option(repository / "config", "corpus", "text")
    values = {"corpus": option, "track": {"probe_sets": 0}, "tasks": []}
    assert specs.shard_names(values) == ["fineweb_val_000000.bin", "fineweb_train_000001.bin"]
    with pytest.raises(SpeedrunError, match=r"corpus\.paths names no file"):
        build(values, tmp_path)
