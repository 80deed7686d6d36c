"""The audit's error rates: how often it blames honest code, and how often it misses or is misled.

Two kinds of evidence, each printed with its n. Simulated audits (error_sim.py) are judged by the
audit's own functions; their noise has the size of real runs. Real runs (error_table.py) are
resampled as audits: among them one program timed against itself and against copies that are truly
faster, which `--measure` makes anew (error_runs.py; some 15 minutes on two cores).
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import error_audits
import error_curves
import error_runs
import error_table
import numpy as np

REPOSITORY = Path(__file__).resolve().parents[1]
DATA = REPOSITORY / "bench/data"
SECTIONS = (*error_audits.SECTIONS, *error_curves.SECTIONS)


def main() -> None:
    """Print every table; the real runs are made first where --measure asks for it."""
    given = _arguments()
    if given.measure:
        error_runs.measure(DATA / "copies.csv", given.blocks, given.rounds, given.lanes, REPOSITORY)
    data = error_table.load(DATA)
    began = time.perf_counter()
    for section in SECTIONS:
        if not given.only or section.__name__ in given.only:
            generator = np.random.default_rng([given.seed, SECTIONS.index(section)])
            show(section(data, generator, given.repeats), section.__doc__ or "")
    print(f"{time.perf_counter() - began:.0f} s")


def show(rows: Sequence[dict[str, Any]], title: str) -> None:
    """Print rows as aligned text below their title."""
    import pandas as pd

    frame = pd.DataFrame(rows)
    print(f"\n{title.strip()}\n{frame.to_string(index=False, float_format='{:.4g}'.format)}")


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--measure", action="store_true", help="make the real runs anew")
    parser.add_argument("--blocks", type=int, default=6)
    parser.add_argument("--rounds", type=int, default=10, help="of each block")
    parser.add_argument("--lanes", type=int, default=2)
    parser.add_argument("--repeats", type=int, default=500, help="simulated audits a figure")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", nargs="*", help="names of sections")
    return parser.parse_args()


if __name__ == "__main__":
    main()
