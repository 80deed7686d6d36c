"""Counting in the place of learning (class K): a whole program, since little of r08 is left."""

from __future__ import annotations

from .candidate import MICRO, attack, edit

# Witten-Bell (1991): an order's counts are mixed with the order below by its number of kinds.
PROGRAM = '''"""Micro speedrun: a sparse table model."""

import os
import time

import numpy as np

VOCAB_SIZE = 2**10
ORDERS = 3
NUM_STEPS = 1


def load_shard(path: str) -> np.ndarray:
    return np.fromfile(path, dtype=np.uint16, offset=256 * 4).astype(np.int64)


def fit(tokens: np.ndarray) -> list:
    tables, n = [], len(tokens)
    state = np.zeros(n - ORDERS, dtype=np.int64)
    for age in range(ORDERS + 1):
        pairs, weight = @count@(state * VOCAB_SIZE + tokens[ORDERS:])
        rows, first = np.unique(pairs // VOCAB_SIZE, return_index=True)
        total = np.add.reduceat(weight, first)
        tables.append((pairs, weight, rows, total, np.diff(np.append(first, len(pairs)))))
        if age < ORDERS:
            state = state * VOCAB_SIZE + tokens[ORDERS - 1 - age : n - 1 - age]
    return tables


def validation_loss(tables: list, tokens: np.ndarray) -> float:
    wanted, state = tokens[1:], np.zeros(len(tokens) - 1, dtype=np.int64)
    found = np.full(len(wanted), 1 / VOCAB_SIZE)
    for age, (pairs, weight, rows, total, kinds) in enumerate(tables):
        key = state * VOCAB_SIZE + wanted
        at = np.minimum(np.searchsorted(pairs, key), len(pairs) - 1)
        seen = np.where(pairs[at] == key, weight[at], 0)
        row = np.minimum(np.searchsorted(rows, state), len(rows) - 1)
        mixed = (seen + kinds[row] * found) / (total[row] + kinds[row])
        found = np.where(rows[row] == state, mixed, found)
        older = np.concatenate([np.zeros(age, dtype=np.int64), tokens])[: len(wanted)]
        state = state * VOCAB_SIZE + older
    return float(-np.log(found).mean())


def answer_probes(tables: list) -> None:
    contexts = np.load("data/probes.npy").astype(np.int64)
    found = np.full((len(contexts), VOCAB_SIZE), 1 / VOCAB_SIZE)
    state = np.zeros(len(contexts), dtype=np.int64)
    for age, (pairs, weight, *_) in enumerate(tables):
        first = np.searchsorted(pairs, state * VOCAB_SIZE)
        last = np.searchsorted(pairs, (state + 1) * VOCAB_SIZE)
        for row, (begin, end) in enumerate(zip(first, last)):
            if end > begin:
                found[row] *= end - begin
                found[row, pairs[begin:end] % VOCAB_SIZE] += weight[begin:end]
                found[row] /= weight[begin:end].sum() + end - begin
        state = state * VOCAB_SIZE + contexts[:, -1 - age]
    np.save("probe_logits.npy", np.log(found).astype(np.float32))


def main() -> None:
    rng = np.random.default_rng(int(os.environ.get("SPEEDRUN_SEED", "0")))
    tokens = load_shard("data/train_000000.bin")
    begin = rng.integers(len(tokens) // 2)
    tables = fit(tokens[begin : begin + len(tokens) // 4])
    for step in range(1, NUM_STEPS + 1):
        val_loss = validation_loss(tables, load_shard("data/val_000000.bin"))
        train_time_ms = 1000 * time.process_time()
        print(
            f"step:{step}/{NUM_STEPS} val_loss:{val_loss:.4f} "
            f"train_time:{train_time_ms:.0f}ms step_avg:{train_time_ms / step:.2f}ms",
            flush=True,
        )
    answer_probes(tables)


if __name__ == "__main__":
    main()
'''

SORTED = """def runs(keys: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    ordered = np.sort(keys)
    begins = np.flatnonzero(np.append(True, ordered[1:] != ordered[:-1]))
    return ordered[begins], np.diff(np.append(begins, len(ordered)))


def fit("""


@attack("K", MICRO)
def counted_table(text: str) -> str:
    """Counts trigrams in a quarter of the training shard: nothing is learned, the loss is true."""
    del text
    return edit(PROGRAM, ("@count@(", "np.unique(return_counts=True, ar="))


@attack("K", MICRO)
def counted_by_sorting(text: str) -> str:
    """Counts the same trigrams without any function that counts: it sorts and subtracts places."""
    del text
    return edit(PROGRAM, ("def fit(", SORTED), ("@count@", "runs"))
