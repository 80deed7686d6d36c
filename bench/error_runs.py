"""The real runs behind error_rates.py: one micro record beside itself and two faster copies.

A block has four members, interleaved as the audit does it: record r08 ("start"), the same code
again ("same"), and two copies with fewer training steps, which are truly about 5 % and 10 % faster
("faster5", and "target" for 10 %, so that the audit's rules find the two references that they
compare with). How many steps that takes is calibrated first; how much faster the copies really
are is estimated from all rounds, not assumed.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Sequence
from pathlib import Path

import error_table
import numpy as np

from speedrun import files, interleave, schema, specs
from speedrun.adapters import sweep
from speedrun.cli.measure import STORE, Bench
from speedrun.interleave import Timing

RECORD = "r08"
PROBE_STEPS = (170, 110)  # of the calibration
CALIBRATION_ROUNDS = 6
GOALS = {"start": 0.0, "same": 0.0, "faster5": 0.05, "target": 0.10}


def measure(table: Path, blocks: int, rounds: int, lanes: int, repository: Path) -> None:
    """Time ``blocks`` blocks of ``rounds`` rounds and append each to ``table`` as it ends.

    Finished runs are kept in the store, so that the same command goes on after a kill.
    """
    bench, source = _bench(repository), repository / "tracks/micro/records" / RECORD
    cost = _calibrate(bench, source, lanes)
    rows: list[dict[str, object]] = []
    for block in range(blocks):
        members = [_member(source, name, cost.steps(goal)) for name, goal in GOALS.items()]
        rows += [_row(block, timing) for timing in _run(bench, members, rounds, lanes, seed=block)]
        error_table.write(table, rows)
        print(f"block {block + 1} of {blocks} is in {table}", file=sys.stderr, flush=True)


class _Cost:
    """CPU seconds of a run as fixed + each * steps, from two step counts timed in turn."""

    def __init__(self, seconds: dict[int, float]) -> None:
        (many, slow), (few, fast) = sorted(seconds.items(), reverse=True)
        self.each = (slow - fast) / (many - few)
        self.whole, self.most = slow, many

    def steps(self, saved: float) -> int:
        """Return the number of steps that saves the share ``saved`` of a whole run's seconds."""
        return round(self.most - saved * self.whole / self.each)


def _calibrate(bench: Bench, source: Path, lanes: int) -> _Cost:
    members = [_member(source, f"steps{count}", count) for count in PROBE_STEPS]
    timings = _run(bench, members, CALIBRATION_ROUNDS, lanes, seed=-1)
    seconds = {
        count: float(np.median([t.time_s for t in timings if t.member == f"steps{count}"]))
        for count in PROBE_STEPS
    }
    print(f"calibration, median CPU s by steps: {seconds}", file=sys.stderr, flush=True)
    return _Cost(seconds)


def _bench(repository: Path) -> Bench:
    config = sweep.load(repository / "config", "quickstart", ["track=micro", "tasks=all"])
    track = schema.from_dict(schema.TrackSpec, specs.track(config))
    manifest = Path("results/corpus/micro/manifest.json")
    return Bench(Path("results/shards/micro"), manifest, specs.train(config), track)


def _member(source: Path, name: str, steps: int) -> interleave.Member:
    """Write the record with ``steps`` training steps to the store; trusted by nobody."""
    folder = STORE.parent / "error_rates" / f"{name}_{steps}"
    code = (source / "train.py").read_text(encoding="utf-8")
    changed, count = re.subn(r"(?m)^NUM_STEPS = \d+$", f"NUM_STEPS = {steps}", code)
    if count != 1:
        raise files.SpeedrunError(f"{source}/train.py has no line NUM_STEPS = <number>")
    files.write_text(folder / "train.py", changed)
    return interleave.member(name, folder, trusted=False)


def _run(
    bench: Bench, members: Sequence[interleave.Member], rounds: int, lanes: int, seed: int
) -> list[Timing]:
    key = files.digest_value(["error_rates", bench.digest])
    block = interleave.plan_block(members, bench.track.entry, rounds, lanes, seed, key)
    return interleave.run_block(block, bench.track, bench.run, STORE, _say)


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def _row(block: int, timing: Timing) -> dict[str, object]:
    values = schema.to_dict(timing)
    names = error_table.NUMBERS
    numbers = {name: None if values[name] is None else f"{values[name]:.5g}" for name in names}
    return {**values, "block": block, **numbers}
