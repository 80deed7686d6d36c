"""nano r01: a factored bigram language model, trained by plain SGD with NumPy."""

import os
import time

import numpy as np

# ---- hyperparameters -------------------------------------------------------------------------
VOCAB = 512
WIDTH = 32
STEPS = 1200
BATCH = 512  # tokens a step
LEARNING_RATE = 4.0
INIT_SCALE = 0.1
VAL_EVERY = 400  # steps

rng = np.random.default_rng(int(os.environ["SPEEDRUN_SEED"]))


def read_shard(path):
    """Tokens (n,) of a .bin shard: 256 int32 header words, then uint16."""
    return np.fromfile(path, dtype=np.uint16, offset=1024).astype(np.int64)


train = read_shard("data/train_000000.bin")
val = read_shard("data/val_000000.bin")

# ---- model: the logits of the next token are a product of two low-rank tables ----------------
embedding = rng.normal(0, INIT_SCALE, (VOCAB, WIDTH)).astype(np.float32)
head = rng.normal(0, INIT_SCALE, (WIDTH, VOCAB)).astype(np.float32)


def softmax(logits):
    logits -= logits.max(axis=1, keepdims=True)
    np.exp(logits, out=logits)
    logits /= logits.sum(axis=1, keepdims=True)
    return logits


def gradients(inputs, targets):
    """Gradients of the mean cross-entropy over a batch of (input, target) tokens."""
    hidden = embedding[inputs]
    error = softmax(hidden @ head)
    error[np.arange(len(targets)), targets] -= 1
    error /= len(targets)
    by_token = np.zeros_like(embedding)
    np.add.at(by_token, inputs, error @ head.T)
    return by_token, hidden.T @ error


def validate():
    """Mean loss in nats per token over the whole validation shard."""
    probabilities = softmax(embedding[val[:-1]] @ head)
    return float(-np.log(probabilities[np.arange(len(val) - 1), val[1:]]).mean())


# ---- training --------------------------------------------------------------------------------
for step in range(1, STEPS + 1):
    at = rng.integers(0, len(train) - 1, BATCH)
    for weights, gradient in zip((embedding, head), gradients(train[at], train[at + 1])):
        weights -= LEARNING_RATE * gradient
    if step % VAL_EVERY == 0 or step == STEPS:
        ms = int(time.process_time() * 1000)
        print(
            f"step:{step}/{STEPS} val_loss:{validate():.4f} "
            f"train_time:{ms}ms step_avg:{ms / step:.2f}ms",
            flush=True,
        )

# ---- the harness's probes: logits for the token after each context ---------------------------
probes = np.load("data/probes.npy").astype(np.int64)
np.save("probe_logits.npy", (embedding[probes[:, -1]] @ head).astype(np.float32))
