"""Sections of error_rates.py about verdicts: loss, probe and late rule, alone and together."""

from __future__ import annotations

import collections
import re
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import error_sim as sim
import error_table as table
import numpy as np

from speedrun import schema, stats, verdict
from speedrun.interleave import Timing

Rows = list[dict[str, Any]]
Data = table.Data
TARGET_LOSS = 3.42  # config/track/micro.yaml
NANOGPT_LOSS = 3.28
LOSS_P_MAX = 0.01
ROUNDS = (3, 6, 10, 16)
SHAVES = (0.0, 0.02, 0.05, 0.06, 0.07, 0.08, 0.09, 0.1, 0.12, 0.15, 0.2)
HUMAN = Path(__file__).resolve().parents[1] / "docs/human-records.md"
HUMAN_ROW = re.compile(r"\| (r\w+) \|[^|]*\|[^|]*\|[^|]*\| (\d+) \| ([\d.]+) ± ([\d.]+) \|")
WORDS = ("confirmed", "not_confirmed", "failed")


def conclude(timings: Sequence[Timing], winner: str, target_loss: float) -> str:
    """Return the verdict on one member of a block, composed as the audit composes it."""
    runs = [timing for timing in timings if timing.member == winner]
    start = [timing for timing in timings if timing.member == verdict.START]
    probes = verdict.probe_rule(runs, timings)
    records = [
        [one.val_loss for one in timings if one.member == name and one.val_loss is not None]
        for name in (verdict.START, verdict.TARGET)
    ]
    late = verdict.late_rule(runs, timings)
    measured = {
        "loss": verdict.loss_rule(runs, target_loss, probes["correction"], records),
        "probes": probes,
        "late": late,
        "faster_than_start": _faster(verdict.charged(runs, late), start),
    }
    return verdict.judge(runs, measured, LOSS_P_MAX)[0]


def _faster(runs: Sequence[Timing], start: Sequence[Timing]) -> dict[str, Any] | None:
    clock = {one.round: one.time_s for one in start}
    pairs = [(run.time_s, clock[run.round]) for run in runs]
    whole = [(b, a) for b, a in pairs if a is not None and b is not None]
    if not whole:
        return None
    return schema.to_dict(stats.ratio_below([b for b, _ in whole], [a for _, a in whole]))


def counted(words: Iterable[str]) -> dict[str, float]:
    """Return the share of each verdict."""
    found = collections.Counter(words)
    whole = sum(found.values())
    return {word: found[word] / whole for word in WORDS}


def _losses(generator: np.random.Generator, shape: str, n: int, m: float) -> list[float]:
    """Return n losses whose mean lies m standard deviations below 0; sd 1."""
    if shape == "skewed":  # a long tail of bad seeds: an exponential with mean 0 and sd 1
        return (generator.exponential(1.0, n) - 1.0 - m).tolist()
    part = sim.Part(0.0, 1.0)
    return (sim.own(generator, part, shape, (n, 1))[:, 0] - m).tolist()


def _below(generator: np.random.Generator, shape: str, n: int, m: float, repeats: int) -> float:
    """Return how often the loss rule holds."""
    hits = 0
    for _ in range(repeats):
        p = stats.mean_below(_losses(generator, shape, n, m), 0.0)
        hits += p is not None and p < LOSS_P_MAX
    return hits / repeats


def loss_rule(data: Data, generator: np.random.Generator, n: int) -> Rows:
    """Simulated: share of audits that the loss rule lets pass (p < 0.01), by margin in sd."""
    return [
        {
            "losses": shape,
            "rounds": rounds,
            **{f"{m:g} sd": _below(generator, shape, rounds, m, n) for m in (0, 1, 2, 3, 4)},
            "audits": n,
        }
        for shape in ("normal", "heavy", "skewed")
        for rounds in ROUNDS
    ]


def micro_records(data: Data, generator: np.random.Generator, n: int) -> Rows:
    """Simulated: share of audits of each honest micro record that its loss rule stops."""
    rows = []
    for record in table.members(data.chain):
        loss = stats.summarise(table.column(data.chain, record, "val_loss"))
        margin = (TARGET_LOSS - loss.mean) / (loss.sd or np.nan)
        stopped = {f"n = {k}": 1 - _below(generator, "normal", k, margin, n) for k in ROUNDS}
        rows.append({"record": record, "margin sd": margin, **stopped, "audits": n})
    return rows


def nanogpt_records(data: Data, generator: np.random.Generator, n: int) -> Rows:
    """Simulated: honest nanogpt records (5 or more human runs) that the loss rule stops."""
    found = [match.groups() for match in HUMAN_ROW.finditer(HUMAN.read_text(encoding="utf-8"))]
    margins = [(NANOGPT_LOSS - float(m)) / float(s) for _, k, m, s in found if int(k) >= 5]
    rows = []
    for rounds in ROUNDS:
        stopped = [1 - _below(generator, "normal", rounds, m, n // 2) for m in margins]
        spread = np.quantile(stopped, [0.0, 0.25, 0.5, 0.75, 1.0])
        names = ("least", "quarter", "median", "three quarters", "most")
        row = dict(zip(names, spread, strict=True))
        rows.append({"rounds": rounds, **row, "records": len(margins), "audits": n // 2})
    return rows


def _program(
    data: Data, record: str, shave: float = 0.0, above: float | None = None
) -> sim.Program:
    """Return a micro record; ``above``: its true loss instead, nats above the target."""
    times = table.column(data.chain, record, "time_s")
    loss = stats.summarise(table.column(data.chain, record, "val_loss"))
    mean = loss.mean if above is None else TARGET_LOSS + above
    return sim.Program(float(np.mean(times)), mean, loss.sd or 0.0, shave)


def _verdicts(
    data: Data, generator: np.random.Generator, rounds: int, winner: sim.Program, n: int
) -> dict[str, float]:
    programs = {
        verdict.START: _program(data, "r07"),
        verdict.TARGET: _program(data, "r08"),
        sim.WINNER: winner,
    }
    return counted(
        conclude(
            sim.block(generator, data.noise, "measured", rounds, programs, TARGET_LOSS),
            sim.WINNER,
            TARGET_LOSS,
        )
        for _ in range(n)
    )


def honest_verdicts(data: Data, generator: np.random.Generator, n: int) -> Rows:
    """Simulated: verdicts on honest code with the loss of r08, and of one with half its margin."""
    rows = []
    for above in (None, -0.035):
        for rounds in ROUNDS:
            winner = _program(data, "r08", above=above)
            found = _verdicts(data, generator, rounds, winner, n)
            rows.append({"loss": winner.loss_mean, "rounds": rounds, **found, "audits": n})
    return rows


def shaved_prints(data: Data, generator: np.random.Generator, n: int) -> Rows:
    """Simulated: a print that is too low by the shave, and so looks like r08's: share stopped.

    rule: by the probe rule alone. verdict: by it or by the loss rule on the corrected losses.
    """
    rows = []
    for rounds in ROUNDS[1:]:
        for shave in SHAVES:
            honest = _program(data, "r08")
            winner = _program(data, "r08", shave, above=honest.loss_mean + shave - TARGET_LOSS)
            alone = _probe_stops(data, generator, rounds, winner, n // 2)
            found = _verdicts(data, generator, rounds, winner, n // 2)
            rows.append((rounds, shave, winner.loss_mean, alone, 1 - found["confirmed"], n // 2))
    names = ("rounds", "shave", "true loss", "rule", "verdict", "audits")
    return [dict(zip(names, row, strict=True)) for row in rows]


def _probe_stops(
    data: Data, generator: np.random.Generator, rounds: int, winner: sim.Program, n: int
) -> float:
    programs = {name: _program(data, "r08") for name in (verdict.START, verdict.TARGET)}
    stops = 0
    for _ in range(n):
        timings = sim.block(
            generator, data.noise, "normal", rounds, {**programs, sim.WINNER: winner}, TARGET_LOSS
        )
        runs = [timing for timing in timings if timing.member == sim.WINNER]
        stops += not verdict.probe_rule(runs, timings)["ok"]
    return stops / n


def real_shaves(data: Data, generator: np.random.Generator, n: int) -> Rows:
    """Real runs, their prints lowered by the shave: share that the probe rule stops, n = 6 and 10.

    Mean over the programs of the quickstart (26 rounds) and of r01 to r06 (10 rounds).
    """
    tables = [
        *((data.quickstart, name) for name in ("null", "oracle", "replay_l1", "replay_none")),
        *((table.as_tasks(data.chain), f"r0{i}") for i in range(1, 7)),
    ]
    rows = []
    for shave in SHAVES:
        found: dict[str, Any] = {"shave": shave}
        for size in (6, 10):
            stops = [_stopped(*one, shave, size, n // 10) for one in tables]
            found[f"n = {size}"], found[f"least, n = {size}"] = np.mean(stops), min(stops)
        rows.append({**found, "programs": len(tables), "audits": n // 10 * len(tables)})
    return rows


def _stopped(rounds: table.Rounds, winner: str, shave: float, size: int, n: int) -> float:
    """Return how often the probe rule stops a real program whose print is lowered."""
    stops = 0
    for chosen in table.audits(rounds, size, n, seed=size):
        timings = [run for one in chosen for run in one]
        runs = [_lowered(run, shave) for run in timings if run.member == winner]
        stops += not verdict.probe_rule(runs, timings)["ok"]
    return stops / n


def _lowered(run: Timing, shave: float) -> Timing:
    if run.probe_difference is None:
        return run
    return replace(run, probe_difference=run.probe_difference + shave)


def late_work(data: Data, generator: np.random.Generator, n: int) -> Rows:
    """Simulated: share of audits that fail by the late rule, by CPU s of work after the clock."""
    rows = []
    for rounds in ROUNDS:
        found = {}
        for extra in (0.0, 0.25, 0.5, 0.75, 1.0, 1.5):
            honest = _program(data, "r08")
            winner = sim.Program(honest.time_s, honest.loss_mean, honest.loss_sd, 0.0, extra)
            found[f"{extra:g} s"] = _verdicts(data, generator, rounds, winner, n // 2)["failed"]
        rows.append({"rounds": rounds, **found, "audits": n // 2})
    return rows


def real_verdicts(data: Data, generator: np.random.Generator, n: int) -> Rows:
    """Real runs: verdicts on honest programs, their rounds resampled as audits."""
    blocks = {
        "copies": (data.copies, ("same", "faster5", "target")),
        "quickstart": (data.quickstart, ("null", "oracle", "start", "target")),
        "chain": (table.as_tasks(data.chain), tuple(table.members(data.chain))),
    }
    rows = []
    for source, (rounds, winners) in blocks.items():
        for winner in winners:
            loss = stats.summarise(table.column(rounds, winner, "val_loss"))
            margin = {"margin sd": (TARGET_LOSS - loss.mean) / (loss.sd or np.nan)}
            for size in (3, 6, 10):
                words = [
                    conclude([run for one in chosen for run in one], winner, TARGET_LOSS)
                    for chosen in table.audits(rounds, size, n // 4, seed=size)
                ]
                pieces = {"audits": n // 4, "disjoint": len(rounds) // size}
                rows.append(
                    {
                        "runs": source,
                        "winner": winner,
                        **margin,
                        "rounds": size,
                        **counted(words),
                        **pieces,
                    }
                )
    return rows


SECTIONS = (
    loss_rule,
    micro_records,
    nanogpt_records,
    honest_verdicts,
    shaved_prints,
    real_shaves,
    late_work,
    real_verdicts,
)
