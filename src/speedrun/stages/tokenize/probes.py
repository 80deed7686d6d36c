"""Withheld probes: windows of the hold-out shard, whose last tokens the harness alone knows."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from speedrun import files
from speedrun.files import SpeedrunError
from speedrun.stages.tokenize.shards import Tokens


def write_probes(
    holdout: Tokens, contexts: int, length: int, seed: int, index: int, folder: Path
) -> None:
    """Write probe set ``index``: contexts (n, length) for the script, targets (n,) for us alone.

    The windows of a set lie on a grid, so that no context holds another context's target.
    """
    window = length + 1
    generator = np.random.default_rng([seed, index])
    offset = int(generator.integers(window))  # each set has a grid of its own
    slots = (len(holdout) - offset) // window
    if slots < contexts:
        raise SpeedrunError(
            f"tokenize: {len(holdout)} hold-out tokens hold {slots} windows, {contexts} "
            "probes are asked for: raise holdout_share in config/corpus"
        )
    starts = offset + window * generator.choice(slots, contexts, replace=False)
    windows = holdout[starts[:, None] + np.arange(window)]
    _save_array(folder / f"set_{index:02d}" / "contexts.npy", windows[:, :-1])
    _save_array(folder / f"set_{index:02d}" / "targets.npy", windows[:, -1])


def _save_array(path: Path, array: Tokens) -> None:
    with files.atomic_path(path) as temporary, temporary.open("wb") as file:
        np.save(file, np.ascontiguousarray(array))
