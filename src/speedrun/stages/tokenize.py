"""tokenize: text to shards in the speedrun's own .bin format, and the withheld probes.

Shard format (upstream's): 256 int32 header words (magic, version, token count), then the
tokens as uint16. Training sees ``public/`` only; the hold-out shard and the probe targets
stay in ``private/``.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

from speedrun import files
from speedrun.files import SpeedrunError

MAGIC = 20240520
VERSION = 1
HEADER_WORDS = 256
END_OF_TEXT = "<|endoftext|>"
SPLITS = ("train", "val", "holdout")

Tokens = npt.NDArray[np.uint16]


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
        write_probes(tokens["holdout"], spec, index, out / "private" / "probes")
    meta = _meta(tokenizer, tokens, shards)
    files.write_json(out / "meta.json", meta)
    return {f"{split}_tokens": float(len(tokens[split])) for split in SPLITS}


def train_tokenizer(texts: Iterable[str], vocab_size: int) -> Tokenizer:
    """Return a byte-level BPE: any bytes can be encoded, and id 0 is end-of-text."""
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


def write_shard(path: Path, tokens: Tokens) -> None:
    """Write tokens (n,) as one .bin shard."""
    header = np.zeros(HEADER_WORDS, dtype=np.int32)
    header[:3] = MAGIC, VERSION, len(tokens)
    files.write_bytes(path, header.tobytes() + tokens.astype("<u2").tobytes())


def read_shard(path: Path) -> Tokens:
    """Return the tokens (n,) of a .bin shard; a corrupt one is an error that names it."""
    content = path.read_bytes()
    header = np.frombuffer(content[: HEADER_WORDS * 4], dtype="<i4")
    if len(header) < HEADER_WORDS or header[0] != MAGIC or header[1] != VERSION:
        raise SpeedrunError(f"{path} is no token shard (wrong magic): delete it and run again")
    tokens = np.frombuffer(content[HEADER_WORDS * 4 :], dtype="<u2")
    if len(tokens) != header[2]:
        raise SpeedrunError(
            f"{path} is truncated ({len(tokens)} of {header[2]} tokens): delete it and run again"
        )
    return tokens


def write_probes(holdout: Tokens, spec: TokenizeSpec, index: int, folder: Path) -> None:
    """Write probe set ``index``: contexts (n, length) for the script, targets (n,) for us alone.

    The windows of a set lie on a grid, so that no context holds another context's target.
    """
    window = spec.probe_length + 1
    generator = np.random.default_rng([spec.seed, index])
    offset = int(generator.integers(window))  # each set has a grid of its own
    slots = (len(holdout) - offset) // window
    if slots < spec.probe_contexts:
        raise SpeedrunError(
            f"tokenize: {len(holdout)} hold-out tokens hold {slots} windows, {spec.probe_contexts} "
            "probes are asked for: raise holdout_share in config/corpus"
        )
    starts = offset + window * generator.choice(slots, spec.probe_contexts, replace=False)
    windows = holdout[starts[:, None] + np.arange(window)]
    _save_array(folder / f"set_{index:02d}" / "contexts.npy", windows[:, :-1])
    _save_array(folder / f"set_{index:02d}" / "targets.npy", windows[:, -1])


def _save_array(path: Path, array: Tokens) -> None:
    with files.atomic_path(path) as temporary, temporary.open("wb") as file:
        np.save(file, np.ascontiguousarray(array))


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
