"""Spot checks: what they cut out is encoded as in the whole document, and faults are found."""

from __future__ import annotations

import functools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from speedrun.stages.tokenize import gpt2, spot_check

SPACES = [" ", "\n", "\r\n", "\t", "\x1c", "\u00a0", "\u2028"]
MARKS = ["'s", "'", "_", ".", ",", "。", "、", "!", "<|endoftext|>", "\u0301", "🙂"]
PIECES = [*SPACES, *MARKS, "l", "a", "Z", "é", "語", "1", "²", "\u2167"]
TEXTS = st.lists(st.sampled_from(PIECES), max_size=40).map("".join)
PROSE = "Some words, more words.\n\n" * 2000


@functools.cache
def encoder() -> gpt2.Encoder:
    return gpt2.Encoder()


def agrees(text: str, tokens: np.ndarray, seed: int = 0) -> bool:
    return spot_check.agrees(text, tokens, np.random.default_rng(seed))


def stretches(text: str, count: int) -> list[tuple[int, int]]:
    return [spot_check._stretch(text, np.random.default_rng(seed)) for seed in range(count)]


@settings(max_examples=500, deadline=None)
@given(st.one_of(TEXTS, st.text(st.characters(codec="utf-8"), max_size=60)))
def test_both_sides_of_a_cut_are_encoded_as_if_alone(text: str) -> None:
    whole = gpt2.reference_tokens(text)[1:]
    for found in spot_check.CUT.finditer(text):
        sides = text[: found.start()], text[found.start() :]
        assert [token for side in sides for token in gpt2.reference_tokens(side)[1:]] == whole


@settings(max_examples=100, deadline=None)
@given(TEXTS, st.integers(0, 2**32))
def test_right_tokens_pass_wherever_the_stretch_lies(text: str, seed: int) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(spot_check, "STRETCH_CHARACTERS", 5)
        assert agrees(text, encoder().encode([text])[0], seed)


def test_every_wrong_token_of_a_short_document_is_found() -> None:
    text = "Two roads diverged in a yellow wood, and sorry I could not travel both"
    tokens = encoder().encode([text])[0]
    assert agrees(text, tokens)
    for place in range(len(tokens)):
        wrong = tokens.copy()
        wrong[place] = 5
        assert not agrees(text, wrong), place


def test_the_same_bytes_cut_otherwise_are_found() -> None:
    ordinary = gpt2.oracle().encode_ordinary
    parts = [gpt2.END_OF_TEXT, *ordinary(" wor"), *ordinary("ds")]
    assert not agrees(" words", np.array(parts, dtype=np.uint16))


def test_stretches_lie_all_over_a_long_document_and_are_short() -> None:
    found = stretches(PROSE, 40)
    assert len({begin for begin, _ in found}) > 30
    assert all(8192 <= end - begin < 8300 for begin, end in found if end < len(PROSE))
    tokens = encoder().encode([PROSE])[0]
    assert all(agrees(PROSE, tokens, seed) for seed in range(5))
    assert not any(agrees(PROSE, np.where(tokens == 2456, 5, tokens), seed) for seed in range(5))


@pytest.mark.parametrize(
    ("text", "stretch"),
    [
        ("語" * 9000, (0, 9000)),
        ("語" * 9000 + "。" + "語" * 9000, (9000, 18001)),
        ("a" * 600_000, (0, 0)),  # more than is encoded again
        ("x" + " " * 3_000_000 + "y", (0, 0)),  # tiktoken panics at it
    ],
)
def test_what_cannot_be_cut_is_checked_whole_or_not_at_all(
    text: str, stretch: tuple[int, int]
) -> None:
    assert stretch in stretches(text, 9)
    tokens = encoder().encode([text])[0]
    assert agrees(text, tokens) and not agrees(text, tokens[:-1])
