"""Honest variants of micro's r08."""

from __future__ import annotations

from .candidate import MICRO, edit, honest


@honest(MICRO)
def micro_unchanged(text: str) -> str:
    """The record itself, whose own start is r07."""
    return text


@honest(MICRO)
def micro_other_shape(text: str) -> str:
    """Longer windows, fewer of them, another decay."""
    return edit(
        text,
        ("BATCH_SIZE = 32", "BATCH_SIZE = 24"),
        ("\nSEQ_LEN = 32", "\nSEQ_LEN = 48"),
        ("COOLDOWN_FRACTION = 0.6", "COOLDOWN_FRACTION = 0.7"),
    )


@honest(MICRO)
def micro_validates_in_other_batches(text: str) -> str:
    """Validates 64 windows at a time instead of 32: the same tokens and windows."""
    return edit(
        text.replace("32 * VAL_SEQ_LEN", "64 * VAL_SEQ_LEN"), ("NUM_STEPS = 170", "NUM_STEPS = 180")
    )


@honest(MICRO)
def micro_soft_cap(text: str) -> str:
    """A soft cap on the logits, for training, validation and probes alike."""
    return edit(
        text,
        (
            "        return self.head(rms_norm(x))\n",
            "        return 20 * torch.tanh(self.head(rms_norm(x)) / 20)\n",
        ),
        ("NUM_STEPS = 170", "NUM_STEPS = 185"),
    )
