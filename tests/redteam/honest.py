"""Honest variants of nano's r02 that train otherwise: no check may fail any."""

from __future__ import annotations

from .candidate import edit, honest
from .places import LOSS, RNG, UPDATE, steps

PLACES = "        places = rng.integers(len(train_tokens) - 1, size=BATCH_SIZE)\n"
GRADS = "        grads = gradients(parameters, contexts[places], train_tokens[places + 1])\n"


@honest()
def unchanged(text: str) -> str:
    """The record itself."""
    return text


@honest()
def other_seed_use(text: str) -> str:
    """Two generators from the seed: one for the weights, one for the batches."""
    two = (
        RNG + "\n    draws = np.random.default_rng([int(os.environ.get('SPEEDRUN_SEED', '0')), 1])"
    )
    return edit(text, (RNG, two), ("places = rng.integers", "places = draws.integers"))


@honest()
def seed_plus_one(text: str) -> str:
    """Another seed: SPEEDRUN_SEED plus 1000."""
    return edit(text, (RNG, RNG.replace('"0")))', '"0")) + 1000)')))


@honest()
def smaller_batches(text: str) -> str:
    """Batches of 256 and more steps."""
    return edit(text, ("BATCH_SIZE = 512", "BATCH_SIZE = 256"), steps(300))


@honest()
def larger_batches(text: str) -> str:
    """Batches of 1024 and fewer steps."""
    return edit(text, ("BATCH_SIZE = 512", "BATCH_SIZE = 1024"), steps(160))


@honest()
def other_rates(text: str) -> str:
    """A learning rate of 0.03 and beta2 of 0.99."""
    return edit(
        text, ("LEARNING_RATE = 0.02", "LEARNING_RATE = 0.03"), ("BETA2 = 0.95", "BETA2 = 0.99")
    )


@honest()
def warm_up_and_decay(text: str) -> str:
    """A warm-up of ten steps and linear decay over the last third."""
    rate = "rate = LEARNING_RATE * min(1.0, step / 10, 3 * (NUM_STEPS - step + 1) / NUM_STEPS)"
    return edit(text, ("rate = LEARNING_RATE", rate), steps(150))


@honest()
def validates_in_batches(text: str) -> str:
    """Another validation batch size: the same tokens, in pieces of 1000."""
    pieces = (
        "total, contexts = 0.0, contexts_of(tokens[:-1])\n"
        "    for start in range(0, len(contexts), 1000):\n"
        "        hidden = hidden_units(parameters, contexts[start : start + 1000])\n"
        "        wanted = tokens[start + 1 : start + 1 + len(hidden)]\n"
        "        found = log_softmax(next_token_logits(parameters, hidden))\n"
        "        total -= float(found[np.arange(len(wanted)), wanted].sum())\n"
        "    return total / (len(tokens) - 1)"
    )
    body = text[
        text.index("    hidden = hidden_units(parameters, contexts_of(tokens[:-1]))") : text.index(
            LOSS
        )
    ]
    return edit(text, (body + LOSS, "    " + pieces))


@honest()
def validates_more_often(text: str) -> str:
    """Prints a protocol line every 50 steps instead of every 100."""
    return edit(text, ("VAL_EVERY = 100", "VAL_EVERY = 50"))


@honest()
def validates_once(text: str) -> str:
    """Validates at the end only."""
    return edit(text, ("VAL_EVERY = 100", "VAL_EVERY = 1000"))


@honest()
def sums_in_double(text: str) -> str:
    """Adds up the losses in float64."""
    return edit(text, (LOSS, LOSS.replace(".mean()", ".astype(np.float64).mean()")))


@honest()
def other_order(text: str) -> str:
    """Goes through a shuffled shard instead of drawing places."""
    order = (
        "    shuffled = rng.permutation(len(train_tokens) - 1)\n    optimizer = Adam(parameters)\n"
    )
    places = "        places = shuffled[(step - 1) * BATCH_SIZE : step * BATCH_SIZE]\n"
    return edit(text, ("    optimizer = Adam(parameters)\n", order), (PLACES, places))


@honest()
def accumulates(text: str) -> str:
    """Adds the gradients of two half batches."""
    two = (
        "        halves = [\n"
        "            gradients(parameters, contexts[part], train_tokens[part + 1])\n"
        "            for part in np.split(places, 2)\n"
        "        ]\n"
        "        grads = {name: (halves[0][name] + halves[1][name]) / 2 for name in halves[0]}\n"
    )
    return edit(text, (GRADS, two))


@honest()
def another_optimiser(text: str) -> str:
    """RMSProp of its own instead of Adam."""
    old = "self.parameters[name] -= rate * mean / (np.sqrt(square / (1 - BETA2**step)) + 1e-8)"
    new = old.replace("rate * mean", "LEARNING_RATE * grad")
    return edit(text, (old, new))


@honest()
def clipped_and_averaged(text: str) -> str:
    """Clips the gradients and answers with an average of the last weights, validated alike."""
    clip = "        grads = {name: np.clip(grad, -1, 1) for name, grad in grads.items()}\n"
    average = (
        UPDATE
        + "        if step > NUM_STEPS - 10:\n"
        + "            for name, value in parameters.items():\n"
        + "                mean[name] = mean.get(name, 0) + value / 10\n"
        + "        if step == NUM_STEPS:\n"
        + "            parameters.update({k: v.astype(np.float32) for k, v in mean.items()})\n"
    )
    made = "    optimizer = Adam(parameters)\n"
    return edit(text, (UPDATE, clip + average), (made, made + "    mean: Parameters = {}\n"))
