"""Real timings behind error_rates.py: read, their noise estimated, their rounds resampled.

bench/data/copies.csv is error_runs.py's: r08 beside itself and two faster copies of it.
chain.csv is `make records` (the figures on the records' cards), quickstart.csv the audits of the
quickstart, 16 and 10 rounds of six programs: two of them, null and oracle, are the start and the
target again. All on two cores shared with other work.
"""

from __future__ import annotations

import csv
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import numpy as np
from error_sim import Noise, Part, timing

from speedrun import stats
from speedrun.interleave import Timing

Rounds = list[list[Timing]]
NUMBERS = ("time_s", "val_loss", "probe_difference", "after_clock_s")
COLUMNS = ("block", "round", "member", "outcome", *NUMBERS)


@dataclass(frozen=True)
class Data:
    """All real timings, by round."""

    copies: Rounds
    quickstart: Rounds
    chain: Rounds

    @cached_property
    def noise(self) -> Noise:
        """The noise of the micro track.

        Of the clock that of the copies, which are nearly one program; of the probes that of the
        chain, eight programs that differ as candidates do; of the late seconds the quickstart's.
        """
        late = np.log(_values(self.quickstart, members(self.quickstart), "after_clock_s"))
        own = _values(self.quickstart, ("start", "target"), "after_clock_s")
        return Noise(
            time=part(np.log(_values(self.copies, members(self.copies), "time_s"))),
            probe=part(_values(self.chain, members(self.chain), "probe_difference")),
            late=part(late),
            late_s=float(own.mean()),
        )


def load(folder: Path) -> Data:
    """Return the three tables of a folder."""
    return Data(*(_rounds(folder / f"{name}.csv") for name in ("copies", "quickstart", "chain")))


def _rounds(path: Path) -> Rounds:
    """Return the rounds of one table, numbered through all its blocks."""
    with path.open(encoding="utf-8") as source:
        rows = list(csv.DictReader(source))
    keys = sorted({(int(row["block"]), int(row["round"])) for row in rows})
    number = {key: i for i, key in enumerate(keys)}
    rounds: Rounds = [[] for _ in keys]
    for row in rows:
        index = number[int(row["block"]), int(row["round"])]
        rounds[index].append(_timing(row, index))
    return rounds


def _timing(row: dict[str, str], index: int) -> Timing:
    numbers = {name: float(row[name]) if row[name] else None for name in NUMBERS}
    return timing(index, row["member"], row["outcome"], **numbers)


def write(path: Path, rows: Sequence[dict[str, object]]) -> None:
    """Write a table; ``rows`` have COLUMNS."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", encoding="utf-8", newline="") as out:
        writer = csv.DictWriter(out, COLUMNS, lineterminator="\n", extrasaction="ignore")
        writer.writeheader()
        writer.writerows(rows)


def members(rounds: Sequence[Sequence[Timing]]) -> list[str]:
    """Return the names of a table's programs."""
    return sorted({run.member for run in rounds[0]})


def column(rounds: Sequence[Sequence[Timing]], member: str, name: str) -> list[float]:
    """Return one measured value of one member over the rounds."""
    return [getattr(run, name) for one in rounds for run in one if run.member == member]


def _values(rounds: Rounds, names: Sequence[str], what: str) -> np.ndarray:
    return np.array([column(rounds, name, what) for name in names])


def part(values: np.ndarray) -> Part:
    """Return shared and own standard deviation of an array (members, rounds), and residuals."""
    count, rounds = values.shape
    residuals = values - values.mean(1, keepdims=True) - values.mean(0) + values.mean()
    own = math.sqrt((residuals**2).sum() / ((count - 1) * (rounds - 1)))
    shared = max(0.0, values.mean(0).var(ddof=1) - own**2 / count)
    standard = tuple((residuals / residuals.std()).ravel().tolist())
    return Part(math.sqrt(shared), own, standard)


def as_tasks(chain: Rounds) -> Rounds:
    """Return the chain's rounds with r07 and r08 as start and target beside the eight records."""
    names = {"r07": "start", "r08": "target"}
    return [
        [*one, *(replace(run, member=names[run.member]) for run in one if run.member in names)]
        for one in chain
    ]


def audits(rounds: Rounds, size: int, repeats: int, seed: int) -> Iterator[Rounds]:
    """Yield random sets of ``size`` rounds, as many audits that could have been.

    Rounds of one set are distinct; the sets overlap, so that only len(rounds) // size of them are
    independent evidence.
    """
    generator = np.random.default_rng(seed)
    for _ in range(repeats):
        chosen = generator.choice(len(rounds), size, replace=False)
        yield [rounds[i] for i in sorted(chosen)]


def faster(
    rounds: Rounds, pair: tuple[str, str], size: int, p_max: float, repeats: int, swap: bool = False
) -> float:
    """Return how often the second of ``pair`` is called faster than the first.

    ``swap``, for two runs of one program: within a round it is arbitrary which run is which, so
    that every labelling by lot is an audit of no difference that could have been.
    """
    generator, hits = np.random.default_rng(1000 + size), 0
    for chosen in audits(rounds, size, repeats, seed=size):
        times = np.array([column(chosen, name, "time_s") for name in pair])
        start, winner = generator.permuted(times, axis=0) if swap else times
        p = stats.ratio_below(winner.tolist(), start.tolist()).p
        hits += p is not None and p < p_max
    return hits / repeats
