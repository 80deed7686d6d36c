"""Nano fixture, record r03: start from bigram counts and learn only what they miss."""

import os
import time

import numpy as np

# Hyperparameters. The plain numbers may be tuned; the powers of two are fixed by the track.
VOCAB_SIZE = 2**9
CONTEXT = 2
HIDDEN_DIM = 64
EMBED_STD = 0.5
BATCH_SIZE = 512
NUM_STEPS = 90
VAL_EVERY = 100
LEARNING_RATE = 0.01
COUNT_PRIOR = 2.0
BETA1 = 0.9
BETA2 = 0.95

Parameters = dict[str, np.ndarray]


def load_shard(path: str) -> np.ndarray:
    """Return the tokens of a .bin shard: a header of 256 int32, then uint16 tokens."""
    return np.fromfile(path, dtype=np.uint16, offset=256 * 4).astype(np.int64)


def contexts_of(tokens: np.ndarray) -> np.ndarray:
    """Return (len(tokens), CONTEXT): each token and those before it, end-of-text before all."""
    padded = np.concatenate([np.zeros(CONTEXT - 1, dtype=np.int64), tokens])
    return np.stack([padded[CONTEXT - 1 - age :][: len(tokens)] for age in range(CONTEXT)], axis=1)


def bigram_log_probabilities(tokens: np.ndarray) -> np.ndarray:
    """Return log p(next | token), (vocab, vocab), counted and smoothed towards the unigrams."""
    pairs = np.bincount(tokens[:-1] * VOCAB_SIZE + tokens[1:], minlength=VOCAB_SIZE**2)
    counts = pairs.reshape(VOCAB_SIZE, VOCAB_SIZE).astype(np.float32)
    unigrams = (counts.sum(axis=0) + 1) / (counts.sum() + VOCAB_SIZE)
    smoothed = counts + COUNT_PRIOR * unigrams
    return np.log(smoothed / smoothed.sum(axis=1, keepdims=True))


def init_parameters(rng: np.random.Generator, tokens: np.ndarray) -> Parameters:
    embed = rng.normal(0, EMBED_STD, (CONTEXT, VOCAB_SIZE, HIDDEN_DIM))
    head = np.zeros((HIDDEN_DIM, VOCAB_SIZE))
    bigrams = bigram_log_probabilities(tokens)
    return {"embed": embed.astype(np.float32), "head": head.astype(np.float32), "bigrams": bigrams}


def hidden_units(parameters: Parameters, contexts: np.ndarray) -> np.ndarray:
    embedded = [parameters["embed"][age][contexts[:, age]] for age in range(CONTEXT)]
    return np.maximum(np.sum(embedded, axis=0), 0)


def next_token_logits(
    parameters: Parameters, hidden: np.ndarray, contexts: np.ndarray
) -> np.ndarray:
    return hidden @ parameters["head"] + parameters["bigrams"][contexts[:, 0]]


def log_softmax(logits: np.ndarray) -> np.ndarray:
    shifted = logits - logits.max(axis=1, keepdims=True)
    return shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))


def gradients(parameters: Parameters, contexts: np.ndarray, targets: np.ndarray) -> Parameters:
    """Return the gradient of the mean loss of a batch, by hand."""
    hidden = hidden_units(parameters, contexts)
    d_logits = np.exp(log_softmax(next_token_logits(parameters, hidden, contexts)))
    rows = np.arange(len(targets))
    d_logits[rows, targets] -= 1
    d_logits /= len(targets)
    d_hidden = (d_logits @ parameters["head"].T) * (hidden > 0)
    d_embed = np.empty_like(parameters["embed"])
    for age in range(CONTEXT):  # a matrix product is faster than numpy.add.at
        one_hot = np.zeros((len(targets), VOCAB_SIZE), dtype=np.float32)
        one_hot[rows, contexts[:, age]] = 1
        d_embed[age] = one_hot.T @ d_hidden
    return {"embed": d_embed, "head": hidden.T @ d_logits}


class Adam:
    def __init__(self, parameters: Parameters) -> None:
        self.parameters = parameters
        self.means = {name: np.zeros_like(value) for name, value in parameters.items()}
        self.squares = {name: np.zeros_like(value) for name, value in parameters.items()}

    def update(self, grads: Parameters, step: int) -> None:
        for name, grad in grads.items():
            mean, square = self.means[name], self.squares[name]
            mean += (1 - BETA1) * (grad - mean)
            square += (1 - BETA2) * (grad * grad - square)
            rate = LEARNING_RATE / (1 - BETA1**step)
            self.parameters[name] -= rate * mean / (np.sqrt(square / (1 - BETA2**step)) + 1e-8)


def validation_loss(parameters: Parameters, tokens: np.ndarray) -> float:
    """Return the mean loss, in nats a token, over the whole shard."""
    contexts = contexts_of(tokens[:-1])
    hidden = hidden_units(parameters, contexts)
    log_probabilities = log_softmax(next_token_logits(parameters, hidden, contexts))
    return float(-log_probabilities[np.arange(len(tokens) - 1), tokens[1:]].mean())


def answer_probes(parameters: Parameters) -> None:
    """Write the logits of the token after each context, float32 (contexts, vocab)."""
    contexts = np.load("data/probes.npy").astype(np.int64)[:, : -CONTEXT - 1 : -1]
    hidden = hidden_units(parameters, contexts)
    logits = next_token_logits(parameters, hidden, contexts)
    np.save("probe_logits.npy", logits.astype(np.float32))


def main() -> None:
    rng = np.random.default_rng(int(os.environ.get("SPEEDRUN_SEED", "0")))
    train_tokens = load_shard("data/train_000000.bin")
    val_tokens = load_shard("data/val_000000.bin")
    contexts = contexts_of(train_tokens)
    parameters = init_parameters(rng, train_tokens)
    optimizer = Adam(parameters)
    for step in range(1, NUM_STEPS + 1):
        places = rng.integers(len(train_tokens) - 1, size=BATCH_SIZE)
        grads = gradients(parameters, contexts[places], train_tokens[places + 1])
        optimizer.update(grads, step)
        if step % VAL_EVERY == 0 or step == NUM_STEPS:
            val_loss = validation_loss(parameters, val_tokens)
            train_time_ms = 1000 * time.process_time()
            print(
                f"step:{step}/{NUM_STEPS} val_loss:{val_loss:.4f} "
                f"train_time:{train_time_ms:.0f}ms step_avg:{train_time_ms / step:.2f}ms",
                flush=True,
            )
    answer_probes(parameters)


if __name__ == "__main__":
    main()
