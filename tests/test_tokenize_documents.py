"""tokenize of kind text: documents out of files of every format, and files that are bad."""

from __future__ import annotations

import bz2
import gzip
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from own_texts import build, config, expected, made_texts, tokens_of, write_jsonl
from speedrun.files import SpeedrunError, digest_tree, read_json
from speedrun.stages.corpus.own_text import listed
from speedrun.stages.tokenize import documents, gpt2


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


def test_a_folder_is_read_in_the_order_of_its_names(tmp_path: Path) -> None:
    texts = made_texts(200)
    (tmp_path / "in/deep").mkdir(parents=True)
    (tmp_path / "in/README.md").write_text("no data")
    write_jsonl(tmp_path / "in/b.jsonl", list(texts[100:]))
    write_jsonl(tmp_path / "in/a.jsonl", list(texts[:100]))
    values = config(tmp_path / "in")
    build(values, tmp_path)
    assert tokens_of(tmp_path, "train").tolist() == expected(texts, values, "train")


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
