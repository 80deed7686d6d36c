"""A small corpus with a tokeniser of its own: a byte-level BPE trained on its training split."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from speedrun import files
from speedrun.files import SpeedrunError
from speedrun.stages.tokenize.probes import write_probes
from speedrun.stages.tokenize.shards import Tokens, write_shard

if TYPE_CHECKING:
    from tokenizers import Tokenizer

END_OF_TEXT = "<|endoftext|>"
SPLITS = ("train", "val", "holdout")


@dataclass(frozen=True)
class TokenizeSpec:
    """The tokeniser and the shards of a corpus; counts are in tokens."""

    vocab_size: int
    val_tokens: int
    probe_sets: int  # distinct draws of contexts, so that a re-run can be probed afresh
    probe_contexts: int
    probe_length: int
    seed: int


def tokenize(documents: Path, spec: TokenizeSpec, out: Path) -> dict[str, float]:
    """Train a byte-level BPE on the training split and write shards, probes and meta.json."""
    texts = _read(documents)
    tokenizer = train_tokenizer(texts["train"], spec.vocab_size)
    files.write_text(out / "private" / "tokenizer.json", tokenizer.to_str())
    tokens = {split: _encode(tokenizer, texts[split], spec.seed) for split in SPLITS}
    tokens["val"] = _exactly(tokens["val"], spec.val_tokens, documents)
    shards = {split: _shard_path(out, split) for split in SPLITS}
    for split, path in shards.items():
        write_shard(path, tokens[split])
    for index in range(spec.probe_sets):
        write_probes(
            tokens["holdout"],
            spec.probe_contexts,
            spec.probe_length,
            spec.seed,
            index,
            out / "private" / "probes",
        )
    meta = _meta(tokenizer, tokens, shards)
    files.write_json(out / "meta.json", meta)
    return {f"{split}_tokens": float(len(tokens[split])) for split in SPLITS}


def train_tokenizer(texts: Iterable[str], vocab_size: int) -> Tokenizer:
    """Return a byte-level BPE: any bytes can be encoded, and id 0 is end-of-text."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size,
        special_tokens=[END_OF_TEXT],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    return tokenizer


def _read(documents: Path) -> dict[str, list[str]]:
    texts: dict[str, list[str]] = {split: [] for split in SPLITS}
    with documents.open(encoding="utf-8") as lines:
        for line in lines:
            document = json.loads(line)
            texts[document["split"]].append(document["text"])
    return texts


def _encode(tokenizer: Tokenizer, texts: list[str], seed: int) -> Tokens:
    """Return all documents in a seeded order, each after an end-of-text token."""
    order = np.random.default_rng(seed).permutation(len(texts))
    encodings = tokenizer.encode_batch([texts[index] for index in order], add_special_tokens=False)
    parts = [np.array([0, *encoding.ids], dtype=np.uint16) for encoding in encodings]
    return np.concatenate(parts) if parts else np.zeros(0, dtype=np.uint16)


def _exactly(tokens: Tokens, count: int, documents: Path) -> Tokens:
    if len(tokens) < count:
        raise SpeedrunError(
            f"tokenize: {documents} holds {len(tokens)} validation tokens, {count} are asked for: "
            "raise val_share in config/corpus"
        )
    return tokens[:count]


def _shard_path(out: Path, split: str) -> Path:
    folder = "private" if split == "holdout" else "public"
    return out / folder / f"{split}_000000.bin"


def _meta(
    tokenizer: Tokenizer, tokens: dict[str, Tokens], shards: dict[str, Path]
) -> dict[str, object]:
    counts = {f"{split}_tokens": len(tokens[split]) for split in SPLITS}
    digests = {path.name: files.digest_file(path) for path in shards.values()}
    return {
        "vocab_size": tokenizer.get_vocab_size(),
        "end_of_text": 0,
        "sha256": digests,
        **counts,
    }
