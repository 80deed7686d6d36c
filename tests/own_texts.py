"""Texts of known words, and the shards that corpus and tokenize make of them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

from speedrun import specs
from speedrun.stages import corpus, tokenize
from speedrun.stages.tokenize import gpt2, own_text

WORDS = ["the", "of", " speed", "run", "é", "語", "\n\n", "'s", "  ", "<|endoftext|>", "42", "🙂"]


def made_texts(count: int, seed: int = 1) -> list[str]:
    """Return texts of known words, the same for the same seed."""
    generator = np.random.default_rng(seed)
    return [" ".join(generator.choice(WORDS, generator.integers(0, 60))) for _ in range(count)]


def write_jsonl(path: Path, texts: list[str | None], column: str = "text") -> Path:
    """Write one JSON line a text."""
    lines = [json.dumps({column: text, "id": number}) for number, text in enumerate(texts)]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def config(*paths: Path, **changes: Any) -> dict[str, Any]:
    """Return the configuration of a corpus of these files."""
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
    """Make corpus and shards below ``out``, as the verbs do; return the sizes."""
    corpus.build(specs.corpus(values), out / "corpus")
    return tokenize.build(out / "corpus/manifest.json", specs.tokenize(values), out / "shards")


def tokens_of(out: Path, split: str) -> np.ndarray[Any, Any]:
    """Return a split's tokens, of all its shards in order."""
    paths = sorted((out / "shards").glob(f"*/fineweb_{split}_*.bin"))
    return np.concatenate([tokenize.read_shard(path) for path in paths])


def expected(texts: list[str], values: dict[str, Any], split: str) -> list[int]:
    """Return what tiktoken makes of the documents of a split."""
    spec = own_text.TextSpec(**specs.tokenize(values))
    chosen = [text for text in texts if own_text.split_of(text, spec) == split]
    return [token for text in chosen for token in gpt2.reference_tokens(text)]
