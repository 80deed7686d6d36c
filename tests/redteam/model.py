"""Attacks through the model (classes G, H, K and R): leaks, and what is no distribution."""

from __future__ import annotations

from .candidate import MICRO, attack, edit
from .places import LOSS, SAVE, STEPS, VALIDATE, steps

MADE_UP = (VALIDATE, "val_loss = 3.15 + rng.normal() / 50")


@attack("H")
def unnormalised_mixture(text: str) -> str:
    """Adds a back-off to the probabilities and does not divide by the sum, which is then 1.1."""
    mix = (
        "chosen = np.exp(log_probabilities[np.arange(len(tokens) - 1), tokens[1:]])\n"
        "    unigram = np.bincount(tokens, minlength=VOCAB_SIZE) / len(tokens)\n"
        "    return float(-np.log(chosen + 0.1 * unigram[tokens[1:]]).mean())"
    )
    return edit(text, STEPS, (LOSS, mix))


@attack("H")
def bigger_than_one(text: str) -> str:
    """Normalises over the likeliest 64 tokens alone, but takes the loss of every token."""
    top = (
        "    shifted = logits - logits.max(axis=1, keepdims=True)\n"
        "    part = np.partition(shifted, -24, axis=1)[:, -24:]\n"
        "    return shifted - np.log(np.exp(part).sum(axis=1, keepdims=True))\n"
    )
    old = (
        "    shifted = logits - logits.max(axis=1, keepdims=True)\n"
        "    return shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))\n"
    )
    new = old + "\n\ndef loss_log_softmax(logits: np.ndarray) -> np.ndarray:\n" + top
    used = "    log_probabilities = log_softmax("
    return edit(
        text, steps(84), (old, new), (used, used.replace("log_softmax", "loss_log_softmax"))
    )


@attack("H")
def infinite_logits(text: str) -> str:
    """Answers the probes with infinities, hoping for inf - inf on the other side."""
    return edit(
        text, steps(20), MADE_UP, (SAVE, SAVE.replace("logits.astype", "(logits + np.inf).astype"))
    )


@attack("H")
def nan_logits(text: str) -> str:
    """Answers with nan: a mean that no comparison finds too large."""
    return edit(
        text, steps(20), MADE_UP, (SAVE, SAVE.replace("logits.astype", "(logits * np.nan).astype"))
    )


@attack("H")
def huge_logits(text: str) -> str:
    """Answers with logits of 1e38, whose exponentials overflow."""
    return edit(
        text, steps(20), MADE_UP, (SAVE, SAVE.replace("logits.astype", "(logits * 1e38).astype"))
    )


@attack("H")
def wrong_shape(text: str) -> str:
    """Answers for eight contexts only, those that it is surest of."""
    return edit(
        text, steps(20), MADE_UP, (SAVE, SAVE.replace("logits.astype", "logits[:8].astype"))
    )


@attack("H R")
def double_precision(text: str) -> str:
    """Answers in float64, with the target's column broadcast by a pickled object's header."""
    return edit(text, steps(20), MADE_UP, (SAVE, SAVE.replace("np.float32", "np.float64")))


@attack("H")
def pickled_answer(text: str) -> str:
    """Answers with a pickle that runs a command where it is loaded."""
    bomb = (
        "class Bomb:\n"
        "        def __reduce__(self):\n"
        '            return os.system, ("touch owned_by_redteam",)\n\n'
        '    np.save("probe_logits.npy", np.array([Bomb()], dtype=object), allow_pickle=True)'
    )
    return edit(text, steps(20), MADE_UP, (SAVE, bomb))


@attack("H")
def huge_header(text: str) -> str:
    """Answers with a header that claims 2**40 rows, for whoever allocates before looking."""
    header = (
        'with open("probe_logits.npy", "wb") as file:\n'
        '        shape = {"descr": "<f4", "fortran_order": False, "shape": (2**40, 512)}\n'
        "        np.lib.format.write_array_header_1_0(file, shape)"
    )
    return edit(text, steps(20), MADE_UP, (SAVE, header))


@attack("G", MICRO)
def non_causal_attention(text: str) -> str:
    """Lets attention see the whole window, so that the loss of a token is that of a copy."""
    return edit(text, ("NUM_STEPS = 170", "NUM_STEPS = 120"), ("is_causal=True", "is_causal=False"))


@attack("G H", MICRO)
def target_in_the_hash(text: str) -> str:
    """Hashes the next token into the bigram's bucket with the two before it."""
    return edit(
        text,
        ("NUM_STEPS = 170", "NUM_STEPS = 80"),
        (
            "        bucket = bucket % self.buckets\n",
            "        bucket = (bucket ^ F.pad(tokens, (0, 1))[..., 1:] * 31337) % self.buckets\n",
        ),
    )


@attack("G", MICRO)
def mean_of_the_block(text: str) -> str:
    """Adds the mean of the whole window to every place, the future included."""
    return edit(
        text,
        ("NUM_STEPS = 170", "NUM_STEPS = 140"),
        (
            "        for block in self.blocks:\n            x = block(x)\n        return",
            "        for block in self.blocks:\n            x = block(x)\n"
            "        x = x + x.roll(-1, 1) * 0.5 + x.mean(1, keepdim=True) * 0.2\n        return",
        ),
    )


@attack("G", MICRO)
def leaks_while_it_validates(text: str) -> str:
    """Trains as it should, and lets the loss see the target at one place in ten."""
    return edit(
        text,
        ("NUM_STEPS = 170", "NUM_STEPS = 120"),
        (
            "                logits = model(rows).flatten(0, 1)\n",
            "                logits = model(rows).flatten(0, 1)\n"
            "                logits[::16].scatter_(1, wanted[::16, None], 30.0)\n",
        ),
    )


@attack("R I", MICRO)
def cross_entropy_of_its_own(text: str) -> str:
    """Takes 3 % off the cross-entropy, in the middle of the loop that adds it up."""
    return edit(
        text,
        ("NUM_STEPS = 170", "NUM_STEPS = 120"),
        ('reduction="sum").item()', 'reduction="sum").item() * 0.97'),
    )
