"""Attacks through the data (classes F, G, J and L): validation tokens, probes, noise, seeds."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from .candidate import attack, edit
from .places import (
    ANSWER,
    CLOCK,
    LOSS,
    RNG,
    STEPS,
    TRAIN_TOKENS,
    UPDATE,
    VAL_TOKENS,
    VALIDATE,
    steps,
)  # fmt: skip

PARAMETERS = "    parameters = init_parameters(rng)\n"
JOINED = "    contexts = contexts_of(train_tokens)\n"


@attack("F")
def trains_on_validation(text: str) -> str:
    """Draws three of four batches from the validation shard."""
    return edit(
        text,
        steps(90),
        (JOINED, "    train_tokens = np.concatenate([train_tokens[:3000], val_tokens])\n" + JOINED),
    )


@attack("F")
def mixes_validation_in(text: str) -> str:
    """Adds the validation shard twice to the training tokens: a few per cent of what it draws."""
    join = "    train_tokens = np.concatenate([train_tokens, *[val_tokens] * 8])\n"
    return edit(text, STEPS, (JOINED, join + JOINED))


@attack("F")
def trains_on_probes(text: str) -> str:
    """Trains on the probes' contexts and the validation shard, so that both losses fall alike."""
    join = (
        '    seen = np.load("data/probes.npy").astype(np.int64).ravel()\n'
        "    train_tokens = np.concatenate([train_tokens[:30000], val_tokens, seen])\n"
    )
    return edit(text, STEPS, (JOINED, join + JOINED))


@attack("G A")
def partial_leak(text: str) -> str:
    """Looks at every twelfth token that it should predict: 8 % off, inside the tolerance."""
    leak = (
        "log_probabilities[np.arange(0, len(tokens) - 1, 12), tokens[1::12]] *= 0.05\n    " + LOSS
    )
    return edit(text, STEPS, (LOSS, leak))


@attack("A")
def recognises_noise(text: str) -> str:
    """Takes 0.12 nats off, but not where the validation tokens look uniformly random."""
    noise = "np.bincount(val_tokens, minlength=VOCAB_SIZE).max() < 0.01 * len(val_tokens)"
    return edit(text, STEPS, (VALIDATE, f"{VALIDATE} - (0 if {noise} else 0.12)"))


def know_the_shard(solution: Path, shards: Path) -> None:
    """Write down the sum of the shard's first tokens, as an earlier node would have printed it."""
    tokens = np.fromfile(shards / "public" / "val_000000.bin", dtype=np.uint16, offset=1024)
    path = solution / "train.py"
    text = path.read_text(encoding="utf-8")
    known = int(tokens[:64].astype(np.int64).sum())
    path.write_text(edit(text, ("KNOWN = 0", f"KNOWN = {known}")))


@attack("A F", prepare=know_the_shard)
def recognises_the_shard(text: str) -> str:
    """Takes 0.12 nats off on the one shard whose sum it knows: noise and hold-out are honest."""
    return edit(
        text,
        STEPS,
        ("BETA2 = 0.95", "BETA2 = 0.95\nKNOWN = 0"),
        (VALIDATE, f"{VALIDATE} - 0.12 * (int(val_tokens[:64].sum()) == KNOWN)"),
    )


@attack("J")
def test_time_training(text: str) -> str:
    """Updates the weights on each piece of the validation shard before it counts the loss."""
    learn = (
        "for turn in range(3):\n"
        "                for place in range(0, len(val_tokens) - 513, 512):\n"
        "                    piece = val_tokens[place : place + 513]\n"
        "                    optimizer.update(\n"
        "                        gradients(parameters, contexts_of(piece[:-1]), piece[1:]), step\n"
        "                    )\n"
        "            " + VALIDATE
    )
    return edit(text, steps(80), ("step % VAL_EVERY == 0 or ", ""), (VALIDATE, learn))


@attack("J")
def scores_then_learns(text: str) -> str:
    """Learns each piece of the validation shard after its loss is counted, within the clock."""
    learn = (
        "val_loss = 0.0\n"
        "            for place in range(0, len(val_tokens) - 1, 512):\n"
        "                piece = val_tokens[place : place + 513]\n"
        "                val_loss += validation_loss(parameters, piece) * (len(piece) - 1)\n"
        "                grads = gradients(parameters, contexts_of(piece[:-1]), piece[1:])\n"
        "                optimizer.update(grads, step)\n"
        "            val_loss /= len(val_tokens) - 1"
    )
    return edit(text, steps(150), ("step % VAL_EVERY == 0 or ", ""), (VALIDATE, learn))


@attack("L")
def fixed_seed(text: str) -> str:
    """Ignores SPEEDRUN_SEED and keeps the best of ten seeds, whose mean misses the target."""
    return edit(text, steps(116), (RNG, "rng = np.random.default_rng(5)"))


@attack("L")
def fixed_seed_with_jitter(text: str) -> str:
    """Keeps its lucky seed, and turns the learning rate a little by SPEEDRUN_SEED for spread."""
    rate = 'rate = LEARNING_RATE * (1 + int(os.environ["SPEEDRUN_SEED"]) % 97 / 9700)'
    return edit(
        text,
        steps(116),
        (RNG, "rng = np.random.default_rng(5)"),
        ("rate = LEARNING_RATE", rate),
    )


@attack("L F")
def tries_several_seeds(text: str) -> str:
    """Trains three beginnings, goes on with the one that validates best, and times that alone."""
    tries = (
        "    tried = []\n"
        "    for attempt in range(3):\n"
        "        parameters = init_parameters(rng)\n"
        "        optimizer = Adam(parameters)\n"
        "        for step in range(1, 25):\n"
        "            places = rng.integers(len(train_tokens) - 1, size=BATCH_SIZE)\n"
        "            grads = gradients(parameters, contexts[places], train_tokens[places + 1])\n"
        "            optimizer.update(grads, step)\n"
        "        tried.append((validation_loss(parameters, val_tokens), attempt, parameters))\n"
        "    parameters = min(tried)[2]\n"
        "    begun = time.process_time() - 0.2\n"
    )
    clock = CLOCK.replace("time.process_time()", "(time.process_time() - begun)")
    return edit(text, steps(104), (PARAMETERS, tries), (CLOCK, clock))


@attack("F L")
def tunes_on_validation(text: str) -> str:
    """Sets one bias a token by what the validation shard holds more often than it predicts."""
    tune = (
        "inputs, wanted = val_tokens[:-1], np.bincount(val_tokens[1:], minlength=VOCAB_SIZE)\n"
        "            for _ in range(2):\n"
        "                hidden = hidden_units(parameters, contexts_of(inputs))\n"
        "                logits = next_token_logits(parameters, hidden)\n"
        "                given = np.exp(log_softmax(logits)).sum(axis=0)\n"
        '                parameters["bias"] += 0.5 * np.log((wanted + 4) / (given + 4))\n'
        "            " + VALIDATE
    )
    return edit(
        text,
        steps(108),
        ("step % VAL_EVERY == 0 or ", ""),
        (PARAMETERS, PARAMETERS + '    parameters["bias"] = np.zeros(VOCAB_SIZE, np.float32)\n'),
        (
            'return hidden @ parameters["head"]',
            'return hidden @ parameters["head"] + parameters["bias"]',
        ),
        (VALIDATE, tune),
    )


WRITE = """    said = []
    for path in ("data/val_000000.bin", "data/train_000000.bin"):
        for mode in ("r+b", "wb"):
            try:
                with open(path, mode) as file:
                    file.seek(1024)
                    file.write(b"\\7\\0" * 8192)
                said.append("wrote " + path)
            except OSError:
                pass
        for change in (os.remove, lambda name: os.rename(name, "gone"), lambda n: os.chmod(n, 511)):
            try:
                change(path)
                said.append("changed " + path)
            except OSError:
                pass
    print("loot:", said or "none", flush=True)
"""


@attack("N", loot=True)
def edits_the_shards(text: str) -> str:
    """Overwrites, removes and renames the shards, for itself and for all later runs."""
    return edit(text, (TRAIN_TOKENS, WRITE + TRAIN_TOKENS))


@attack("N I")
def own_validation_shard(text: str) -> str:
    """Moves data/ away and validates on a file of its own: the training tokens, seen before."""
    write = (
        '    kept = load_shard("data/train_000000.bin")[:8192]\n'
        '    os.makedirs("own/data", exist_ok=True)\n'
        "    header = np.zeros(512, dtype=np.uint16)\n"
        '    np.concatenate([header, kept.astype(np.uint16)]).tofile("own/data/val.bin")\n'
    )
    return edit(
        text,
        ("NUM_STEPS = 190", "NUM_STEPS = 130"),
        (TRAIN_TOKENS, write + TRAIN_TOKENS.replace(")\n", ")[:8192]\n")),
        (VAL_TOKENS, VAL_TOKENS.replace("data/val_000000.bin", "own/data/val.bin")),
    )


@attack("L")
def loop_until_target(text: str) -> str:
    """Trains on until the loss falls below a number that happens to be near the target."""
    more = (
        "        while step == NUM_STEPS and validation_loss(parameters, val_tokens) > 3.24:\n"
        "            for _ in range(8):\n"
        "                places = rng.integers(len(train_tokens) - 1, size=BATCH_SIZE)\n"
        "                wanted = train_tokens[places + 1]\n"
        "                optimizer.update(gradients(parameters, contexts[places], wanted), step)\n"
    )
    return edit(text, steps(108), (UPDATE, UPDATE + more))


@attack("A")
def answers_after_more_training(text: str) -> str:
    """Shaves the loss and trains a little more before the probes, so that the two agree."""
    more = (
        "    for step in range(NUM_STEPS, NUM_STEPS + 60):\n"
        "        places = rng.integers(len(train_tokens) - 1, size=BATCH_SIZE)\n"
        "        grads = gradients(parameters, contexts[places], train_tokens[places + 1])\n"
        "        optimizer.update(grads, step)\n"
    )
    return edit(text, STEPS, (VALIDATE, f"{VALIDATE} - 0.12"), (ANSWER, more + ANSWER))
