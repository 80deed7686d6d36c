"""Weights of r02 after 300 steps, in half precision: what the author of an earlier node has."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from .candidate import NANO, RECORD, RECORDS

SCRIPT = RECORDS / NANO / "records" / RECORD[NANO] / "train.py"
WEIGHTS = "weights.npz"
# On one thread: beside other work NumPy's threads wait for each other.
CODE = """
import runpy, sys
import numpy as np
script, tokens, path = sys.argv[1:]
names = runpy.run_path(script)
tokens = names["load_shard"](tokens)
rng, contexts = np.random.default_rng(0), names["contexts_of"](tokens)
parameters = names["init_parameters"](rng)
optimizer = names["Adam"](parameters)
for step in range(1, 301):
    places = rng.integers(len(tokens) - 1, size=512)
    grads = names["gradients"](parameters, contexts[places], tokens[places + 1])
    optimizer.update(grads, step)
np.savez_compressed(path, **{name: value.astype(np.float16) for name, value in parameters.items()})
"""


def make(shards: Path) -> Path:
    """Train the weights, where that has not been done, and return their file beside the shards."""
    path = shards / WEIGHTS
    if not path.is_file():
        environment = {**os.environ, "OMP_NUM_THREADS": "1"}
        tokens = shards / "public" / "train_000000.bin"
        command = [sys.executable, "-c", CODE, str(SCRIPT), str(tokens), str(path)]
        subprocess.run(command, env=environment, check=True, timeout=300)
    return path
