"""Sections of error_rates.py about time: size and power of the test, intervals, winner's curse."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any

import error_sim as sim
import error_table as table
import numpy as np

Rows = list[dict[str, Any]]
Data = table.Data
ROUNDS = (3, 6, 10, 16, 20)
P_MAX = 0.05  # the audit's two-sided 90 % interval is this one-sided test
GAINS = (0.0, 0.02, 0.05, 0.10)
CHAIN = 0.58  # r08's time over r07's, the quickstart's task; 0.9 stands for a small step
MOST = 100  # rounds looked at for a wanted power
MACHINE = sim.Part(0.0, 0.002)  # 0.2 %: the human runs of one 8xH100 machine show 0.02 to 0.6 %


def noise_of_real_runs(data: Data, generator: np.random.Generator, n: int) -> Rows:
    """Noise of real runs, standard deviations: % of times, nats of probes; of a round, of a run."""
    rows = []
    for name in ("copies", "quickstart", "chain"):
        rounds = getattr(data, name)
        times = [table.column(rounds, member, "time_s") for member in table.members(rounds)]
        part = table.part(np.log(times))
        ratio = 100 * part.own_sd * 2**0.5
        runs = f"{len(rounds)} x {len(times)}"
        figures = {
            "own %": 100 * part.own_sd,
            "log-ratio %": ratio,
            "shared %": 100 * part.shared_sd,
        }
        rows.append({"runs": name, "rounds x programs": runs, "of": "time", **figures})
    probe = {"own": data.noise.probe.own_sd, "shared": data.noise.probe.shared_sd}
    late = {"own %": 100 * data.noise.late.own_sd, "shared %": 100 * data.noise.late.shared_sd}
    rows.append({"runs": "chain", "of": "probes", **probe})
    rows.append({"runs": "quickstart", "of": "after the clock", **late})
    return rows


def real_programs(data: Data, generator: np.random.Generator, n: int) -> Rows:
    """Real runs, all rounds pooled: how much time the second truly saves, 95 % interval."""
    rows = []
    for source, first, second in _pairs():
        rounds = getattr(data, source)
        times = [table.column(rounds, name, "time_s") for name in (first, second)]
        logs = np.diff(np.log(times), axis=0)[0]
        error = 1.96 * logs.std(ddof=1) / len(logs) ** 0.5
        saved = 100 * (1 - np.exp(logs.mean() + np.array([0.0, error, -error])))
        figures = dict(zip(("saves %", "low", "high"), saved, strict=True))
        losses = table.column(rounds, second, "val_loss")
        loss = {"loss": np.mean(losses), "loss sd": np.std(losses, ddof=1)}
        spread = {"log-ratio sd %": 100 * logs.std(ddof=1), "rounds": len(logs)}
        rows.append({"runs": source, "first": first, "second": second, **figures, **spread, **loss})
    return rows


def _pairs() -> list[tuple[str, str, str]]:
    return [
        ("copies", "start", "same"),
        ("quickstart", "start", "null"),
        ("quickstart", "target", "oracle"),
        ("copies", "start", "faster5"),
        ("copies", "start", "target"),
    ]


def real_power(data: Data, generator: np.random.Generator, n: int) -> Rows:
    """Real runs resampled as audits: share that call the second program faster (p < 0.05).

    The first three pairs are one program twice; "by lot": their labels exchanged within rounds.
    """
    rows = []
    for source, first, second, swap in _resampled():
        rounds = getattr(data, source)
        found = {
            f"n = {size}": table.faster(rounds, (first, second), size, P_MAX, n, swap)
            for size in (3, 6, 10, 16)
        }
        pieces = {"audits": n, "rounds": len(rounds), "disjoint of 6": len(rounds) // 6}
        pair = {"runs": source, "first": first, "second": second, "by lot": swap}
        rows.append({**pair, **found, **pieces})
    return rows


def _resampled() -> list[tuple[str, str, str, bool]]:
    pairs = _pairs()
    return [*((*pair, True) for pair in pairs[:3]), *((*pair, False) for pair in pairs)]


def power(data: Data, generator: np.random.Generator, n: int) -> Rows:
    """Simulated: share of audits that call a program faster (p < 0.05), by its true gain."""
    rows = []
    for shape, count in itertools.product(sim.SHAPES, ROUNDS):
        found = {
            f"gain {gain:.0%}": sim.faster_share(
                generator, data.noise.time, shape, count, gain, P_MAX, n
            )
            for gain in GAINS
        }
        rows.append({"noise": shape, "rounds": count, **found, "audits": n})
    return rows


def rounds_needed(data: Data, generator: np.random.Generator, n: int) -> Rows:
    """Simulated: rounds that a wanted power takes (p < 0.05), by gain and log-ratio noise."""
    rows = []
    measured = data.noise.time
    for own_sd, shape in ((0.02, "normal"), (0.05, "normal"), (measured.own_sd, "measured")):
        part = sim.Part(0.0, own_sd, measured.residuals)
        for gain in (0.02, 0.05, 0.10):
            wanted = {
                f"{aim:.0%}": _needed(generator, part, shape, gain, aim, n) for aim in (0.8, 0.9)
            }
            noise = {"log-ratio %": 100 * own_sd * 2**0.5, "noise": shape}
            rows.append({**noise, "gain": f"{gain:.0%}", **wanted, "audits a figure": n})
    return rows


def _needed(
    generator: np.random.Generator, part: sim.Part, shape: str, gain: float, aim: float, n: int
) -> str:
    """Return the least number of rounds that reaches the power ``aim``, by bisection."""
    low, high = 2, MOST + 1
    while low < high:
        middle = (low + high) // 2
        enough = sim.faster_share(generator, part, shape, middle, gain, P_MAX, n) >= aim
        low, high = (low, middle) if enough else (middle + 1, high)
    return f"> {MOST}" if low > MOST else str(low)


def intervals(data: Data, generator: np.random.Generator, n: int) -> Rows:
    """Simulated: how often the 90 % interval of audited FSR holds the truth, and its width."""
    rows = []
    cases = itertools.product(sim.SHAPES, (3, 6, 16), (CHAIN, 0.9))
    for shape, count, chain in cases:
        row: dict[str, Any] = {"noise": shape, "rounds": count, "target / start": chain}
        for truth in (0.0, 0.5, 1.0):
            means = (1.0, 1 - truth * (1 - chain), chain)
            found = sim.fsr_coverage(generator, data.noise.time, shape, count, means, n // 4)
            row[f"FSR {truth:g}"], row["width at 1"], row["unbounded"] = found
        rows.append({**row, "audits": n // 4})
    return rows


def winners_curse(data: Data, generator: np.random.Generator, n: int) -> Rows:
    """Simulated: median FSR of the fastest of M nodes, in the search and as audited (n = 6)."""
    rows = []
    for chain, nodes, spread in itertools.product((CHAIN, 0.9), (2, 20), (0.0, 0.05)):
        found = sim.winners_curse(generator, data.noise.time, nodes, 0.0, spread, chain, n // 2)
        names = ("FSR in the search", "audited", "true")
        case = {"target / start": chain, "nodes": nodes, "spread of nodes": spread}
        rows.append({**case, **dict(zip(names, found, strict=True)), "trials": n // 2})
    return rows


def reused_references(data: Data, generator: np.random.Generator, n: int) -> Rows:
    """Simulated: reused references, the machine having moved since: called faster (p < 0.05).

    Own noise 0.2 %, the target 5 % faster. FSR held: by its 90 % interval, at a gain of 1 %.
    """
    rows: Rows = []
    counts: Sequence[tuple[int, int, int]] = ((2, 6, 3), (2, 10, 3), (3, 10, 3), (6, 10, 6))
    for count, moved in itertools.product(counts, (0.0, 0.002, 0.005, 0.01, 0.03)):
        row: dict[str, Any] = {"references": count[0], "re-runs": count[1], "starts": count[2]}
        row["machine faster by"] = f"{moved:.1%}"
        for gain in (0.0, 0.002, 0.005, 0.01):
            found = sim.reused(generator, MACHINE, count, 0.95, gain, moved, P_MAX, n // 2)
            row[f"gain {gain:.1%}"] = found[0]
        row |= {"drift passes": found[1], "FSR held": found[2], "audits": n // 2}
        rows.append(row)
    return rows


SECTIONS = (
    noise_of_real_runs,
    real_programs,
    real_power,
    power,
    rounds_needed,
    intervals,
    winners_curse,
    reused_references,
)
