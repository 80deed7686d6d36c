"""GPT-2's encoding: ours is tiktoken's token for token, whatever the text."""

from __future__ import annotations

import functools
import importlib.util
import itertools
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from speedrun.files import SpeedrunError
from speedrun.stages.tokenize import gpt2

# Every character that UTF-8 can hold, and more of those that the pattern's classes turn on.
CHARACTERS = st.characters(exclude_categories=("Cs",))
SPACES = [" ", "  ", "\n", "\r\n", "\t", "\u00a0", "\u2028", "\u0085", "\u200d", "\x00"]
ENDINGS = ["'s", "'S", "'ll", "'", "don't", "<|endoftext|>", "<|endoftext|", "|>", "12", "\u2167"]
LETTERS = [
    "é",
    "e\u0301",
    "語",
    "한국어",
    "🙂",
    "👩\u200d👩",
    "\U0010ffff",
    "\ufb01",
    "\u017f",
    "a" * 99,
]
AWKWARD = st.sampled_from([*SPACES, *ENDINGS, *LETTERS])
TEXTS = st.lists(st.one_of(AWKWARD, st.text(CHARACTERS, max_size=8)), max_size=30).map("".join)


@pytest.fixture()
def encoder() -> gpt2.Encoder:
    return shared()


@pytest.fixture(scope="module")
def bench(repository: Path) -> ModuleType:
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(repository / "bench")
        return load(repository / "bench/prove_tokens.py")


def load(path: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(f"bench_{path.stem}", path)
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


@settings(max_examples=300, deadline=None)
@given(st.lists(TEXTS, max_size=5))
def test_every_document_is_tiktokens(texts: list[str]) -> None:
    tokens, starts = shared().encode(texts)
    assert tokens.dtype == np.uint16 and len(starts) == len(texts) + 1
    parts = [tokens[begin:end].tolist() for begin, end in itertools.pairwise(starts)]
    assert parts == [gpt2.reference_tokens(text) for text in texts]


@functools.cache
def shared() -> gpt2.Encoder:
    return gpt2.Encoder()


def test_the_oracle_is_gpt2() -> None:
    # Known from GPT-2's own release; the digests of its files are pinned in gpt2.py.
    assert gpt2.oracle().encode_ordinary("Hello world") == [15496, 995]
    assert gpt2.oracle().n_vocab == 50257 and len(gpt2.ranks()) == 50256


def test_tiktoken_reads_the_same_ranks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from tiktoken.load import data_gym_to_mergeable_bpe_ranks

    monkeypatch.setenv("TIKTOKEN_CACHE_DIR", "")
    for name in gpt2.PINNED:
        (tmp_path / name).write_bytes(gpt2._vocabulary_file(name))
    read = data_gym_to_mergeable_bpe_ranks(
        str(tmp_path / "vocab.bpe"), str(tmp_path / "encoder.json")
    )
    assert read == gpt2.ranks()


def test_the_pins_are_tiktokens(monkeypatch: pytest.MonkeyPatch) -> None:
    from tiktoken_ext import openai_public

    asked: dict[str, str] = {}
    monkeypatch.setattr(
        openai_public, "data_gym_to_mergeable_bpe_ranks", lambda **given: asked.update(given)
    )
    assert openai_public.gpt2()["explicit_n_vocab"] == gpt2.VOCAB_SIZE
    assert asked["vocab_bpe_hash"] == gpt2.PINNED["vocab.bpe"]
    assert asked["encoder_json_hash"] == gpt2.PINNED["encoder.json"]


def test_text_that_looks_special_is_ordinary(encoder: gpt2.Encoder) -> None:
    tokens, _ = encoder.encode(["<|endoftext|>"])
    assert tokens[0] == gpt2.END_OF_TEXT and gpt2.END_OF_TEXT not in tokens[1:]
    assert gpt2.oracle().decode(tokens[1:].tolist()) == "<|endoftext|>"


def test_nothing_and_empty_documents(encoder: gpt2.Encoder) -> None:
    assert len(encoder.encode([])[0]) == 0
    assert encoder.encode(["", ""])[0].tolist() == [gpt2.END_OF_TEXT] * 2


@pytest.mark.parametrize("piece", [" ", "a", "\n", "語", "ab", "\u0301", "0", "<|endoftext|>"])
def test_long_runs_of_one_thing(encoder: gpt2.Encoder, piece: str) -> None:
    text = piece * (20_000 // len(piece))
    assert encoder.encode([text])[0].tolist() == gpt2.reference_tokens(text)


def test_a_missing_or_altered_vocabulary_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gpt2, "PINNED", {"encoder.json": "0" * 64})
    with pytest.raises(SpeedrunError, match="is not the pinned one"):
        gpt2._vocabulary_file("encoder.json")
    monkeypatch.setattr(gpt2, "PACKAGE", "no-such-package")
    with pytest.raises(SpeedrunError, match=r"encoder\.json is missing .*make setup"):
        gpt2._vocabulary_file("encoder.json")


@pytest.mark.slow
def test_a_sample_of_the_proof(bench: ModuleType) -> None:
    """bench/prove_tokens.py compares 120 MB; docs/data.md has its result."""
    text = bench.bench_text
    for texts in (text.installed(12_000_000), text.hostile(8_000_000, seed=7)):
        documents, tokens, seen = bench.compare(texts)
        assert documents > 100 and tokens > seen / 8


def test_the_proof_finds_a_difference(bench: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gpt2, "reference_tokens", lambda text: [gpt2.END_OF_TEXT, 1])
    with pytest.raises(SystemExit, match="differs from tiktoken"):
        bench.compare(["Hello world"])
