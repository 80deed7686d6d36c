"""Spot checks: tiktoken encodes a document again, or a stretch of a long one.

A stretch keeps the cost of a check the same for every document, and lies anywhere in it, because
a fast encoder that cuts long documents up would err at its cuts. tiktoken itself needs gigabytes
for a document of 100 MB and panics at a run of two million spaces.
"""

from __future__ import annotations

import functools
import re
from typing import Any

import numpy as np

from speedrun.stages.tokenize import gpt2
from speedrun.stages.tokenize.shards import Tokens

STRETCH_CHARACTERS = 8192
LONGEST_CHARACTERS = 500_000  # of a stretch: what cannot be cut for that long is not checked
# A place where GPT-2's pattern ends one piece and starts the next, whatever stands around: before
# the first of a run of white space, and between a letter or digit and a full stop or comma. So
# both sides are encoded as if they stood alone.
CUT = re.compile(r"(?<=\S)[ \n]|(?<=[^\W_])[.,。、]")


def agrees(text: str, tokens: Tokens, generator: np.random.Generator) -> bool:
    """Tell whether a document's tokens, end-of-text first, are tiktoken's where they are checked.

    The bytes of all its tokens are counted as well.
    """
    ends = np.cumsum(_lengths()[tokens], dtype=np.uint32)
    if tokens[0] != gpt2.END_OF_TEXT or ends[-1] != len(text.encode()):
        return False
    begin, end = _stretch(text, generator)
    first_byte = len(text[:begin].encode())
    piece = text[begin:end]
    bounds = np.searchsorted(ends, [first_byte, first_byte + len(piece.encode())], side="right")
    return np.array_equal(tokens[bounds[0] : bounds[1]], gpt2.reference_tokens(piece)[1:])


def _stretch(text: str, generator: np.random.Generator) -> tuple[int, int]:
    """Return where a stretch begins and ends; it is empty where none can be cut out."""
    if len(text) <= STRETCH_CHARACTERS:
        return 0, len(text)
    wish = int(generator.integers(len(text) - STRETCH_CHARACTERS))
    begin = _cut(text, wish) % len(text)  # at the end: from the beginning
    end = _cut(text, begin + STRETCH_CHARACTERS)
    return begin, end if end - begin <= LONGEST_CHARACTERS + STRETCH_CHARACTERS else begin


def _cut(text: str, after: int) -> int:
    """Return the next place to cut, or the end."""
    found = CUT.search(text, after)
    return found.start() if found else len(text)


@functools.cache
def _lengths() -> Any:
    """Return the bytes of every token, none for end-of-text."""
    lengths = np.zeros(gpt2.VOCAB_SIZE, dtype=np.uint16)
    for token, index in gpt2.ranks().items():
        lengths[index] = len(token)
    return lengths
