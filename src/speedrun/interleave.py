"""Interleaved timing: several programs timed in turn, so that drift of the machine cancels.

A block is ``rounds`` rounds. A round runs every member once, in a random order fixed by the
seed, all on one CPU and with one training seed. Rounds are dealt to lanes that run side by
side, each pinned to a CPU of its own; a program that takes the whole machine has one lane and is
not pinned. Every finished run is kept in the store under its own key, so that a killed block goes
on where it stopped. Neither lanes nor CPU are part of that key: a timing paid for is used by a run
with fewer lanes too.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import random
import shutil
import threading
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from speedrun import files, schema, untimed

# run(solution, entry, out, seed, cpu): trains once, pinned to ``cpu`` if given, and analyses it
Run = Callable[[Path, str, Path, int, int | None], tuple[schema.RunExit, schema.Analysis]]

FAILURES = frozenset(
    {
        schema.Outcome.CANDIDATE_ERROR,
        schema.Outcome.OOM,
        schema.Outcome.TIMEOUT,
        schema.Outcome.REFUSED,
        schema.Outcome.RULE_VIOLATION,
    }
)


WHOLE_MACHINE = (None,)  # as ``cpus`` of plan_block


@dataclass(frozen=True)
class Member:
    """One program of a block. ``trusted``: a record, whose failure is ours and no result."""

    name: str
    solution: Path
    digest: str
    trusted: bool


@dataclass(frozen=True)
class Timing:
    """One run of one member in one round; ``time_s`` is the track's clock, None for a failure."""

    round: int
    member: str
    cpu: int | None
    seed: int
    outcome: schema.Outcome
    reason: str
    time_s: float | None
    val_loss: float | None
    probe_difference: float | None
    device_seconds: float | None
    after_clock_s: float | None = None  # CPU seconds after the last protocol line; clock "cpu" only
    steps: int | None = None  # of the last protocol line
    untimed: untimed.Untimed | None = None  # wall seconds off the clock; clock "train_time" only

    @property
    def failed(self) -> bool:
        """Whether it crashed, hung, ran out of memory or broke a rule; a high loss does not."""
        return self.outcome in FAILURES


@dataclass(frozen=True)
class Round:
    """What one round does: its members in running order, its seed, its lane and CPU."""

    index: int
    lane: int
    cpu: int | None
    seed: int
    order: list[Member]


@dataclass(frozen=True)
class Block:
    """A planned block. ``spec_digest`` stands for everything else that decides a run."""

    members: list[Member]
    rounds: list[Round]
    entry: str
    spec_digest: str
    digest: str


def member(name: str, solution: Path, *, trusted: bool) -> Member:
    """Return a member with the digest of its source; a missing folder is an error."""
    if not solution.is_dir():
        raise files.SpeedrunError(f"{solution} is missing: run `snakemake` to make it")
    return Member(name, solution, files.digest_tree(solution), trusted)


def plan_block(
    members: Sequence[Member],
    entry: str,
    rounds: int,
    lanes: int,
    seed: int,
    spec_digest: str,
    cpus: Sequence[int | None] | None = None,
    partly: Mapping[str, Collection[int]] | None = None,
) -> Block:
    """Return the block's rounds; lanes beyond the CPUs that this process may use are dropped.

    ``cpus`` are the cores to pin the lanes to; WHOLE_MACHINE is one lane without a core. ``partly``
    names members that run in some rounds only, and those rounds.

    The block's digest, and with it the store key of each run, holds every member: one more winner,
    or another one, and the whole block is timed again. That is the price of comparing like with
    like, since rounds that were timed on another day beside other programs are no common rounds.
    """
    partly = partly or {}
    usable = sorted(os.sched_getaffinity(0)) if cpus is None else list(cpus)
    lanes = max(1, min(lanes, len(usable), rounds))
    identities = [[item.name, item.digest] for item in members]
    parts = [identities, entry, rounds, seed, spec_digest]
    some = {name: sorted(turns) for name, turns in partly.items()}
    digest = files.digest_value([*parts, some] if some else parts)
    present = [[m for m in members if i in partly.get(m.name, (i,))] for i in range(rounds)]
    planned = [
        Round(i, i % lanes, usable[i % lanes], *_draw(there, seed, i))
        for i, there in enumerate(present)
    ]
    return Block(list(members), planned, entry, spec_digest, digest)


def spread(count: int, rounds: int) -> list[int]:
    """Return ``count`` of a block's rounds, evenly apart, the first among them and the last."""
    count = min(count, rounds)
    return [round(i * (rounds - 1) / max(1, count - 1)) for i in range(count)]


def _draw(members: Sequence[Member], seed: int, index: int) -> tuple[int, list[Member]]:
    """Return the round's training seed, shared by its members, and their order."""
    generator = random.Random(f"{seed}/{index}")
    order = sorted(members, key=lambda item: item.name)
    training_seed = generator.randrange(2**31)
    generator.shuffle(order)
    return training_seed, order


def run_block(
    block: Block,
    track: schema.TrackSpec,
    run: Run,
    store: Path,
    progress: Callable[[str], None] = lambda line: None,
) -> list[Timing]:
    """Run what is not yet in ``store`` and return all timings in running order.

    A harness failure in one lane stops the others after their current run and is raised; what
    was finished stays in the store.
    """
    stop = threading.Event()
    lanes = sorted({item.lane for item in block.rounds})
    with ThreadPoolExecutor(len(lanes)) as pool:
        jobs = [pool.submit(_run_lane, block, track, run, store, i, stop, progress) for i in lanes]
        found = [timing for job in jobs for timing in job.result()]
    position = {(r.index, m.name): i for r in block.rounds for i, m in enumerate(r.order)}
    return sorted(found, key=lambda item: (item.round, position[item.round, item.member]))


def _run_lane(
    block: Block,
    track: schema.TrackSpec,
    run: Run,
    store: Path,
    lane: int,
    stop: threading.Event,
    progress: Callable[[str], None],
) -> list[Timing]:
    timings: list[Timing] = []
    turns = [(item, one) for item in block.rounds if item.lane == lane for one in item.order]
    try:
        for turn, one in turns:
            if stop.is_set():
                break
            timings.append(_run_once(block, track, run, store, turn, one))
            progress(_line(timings[-1], len(block.rounds)))
    except BaseException:
        stop.set()
        raise
    return timings


def _line(timing: Timing, rounds: int) -> str:
    clock = "no time" if timing.time_s is None else f"{timing.time_s:.2f} s"
    return f"round {timing.round + 1}/{rounds} {timing.member}: {timing.outcome} {clock}"


def retiming_key(block: Block, turn: Round, one: Member) -> str:
    """Return the store key of one run: block, member and round."""
    return files.digest_value([block.digest, one.name, one.digest, turn.index])


def _run_once(
    block: Block, track: schema.TrackSpec, run: Run, store: Path, turn: Round, one: Member
) -> Timing:
    folder = store / retiming_key(block, turn, one)
    with _alone(folder):
        found = _stored(folder, one)
        return found or _run_anew(block, track, run, folder, turn, one)


@contextlib.contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Wait for whoever makes this run: audits of two tasks share a record's runs on noise."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / ".lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _stored(folder: Path, one: Member) -> Timing | None:
    """Return the finished run, if any; of a record only one that did not fail as a winner's."""
    result = folder / "timing.json"
    found = schema.load(Timing, result) if result.is_file() else None
    return None if found and found.failed and one.trusted else found


def _run_anew(
    block: Block, track: schema.TrackSpec, run: Run, folder: Path, turn: Round, one: Member
) -> Timing:
    shutil.rmtree(folder / "run", ignore_errors=True)
    run_exit, analysis = run(one.solution, block.entry, folder / "run", turn.seed, turn.cpu)
    timing = _timing(turn, one, track, run_exit, analysis)
    if timing.failed and one.trusted:
        raise files.SpeedrunError(
            f"record {one.name} failed while being timed ({timing.outcome}: {timing.reason}); "
            f"see {folder}, then run again"
        )
    schema.save(folder / "timing.json", timing)
    return timing


def _timing(
    turn: Round,
    one: Member,
    track: schema.TrackSpec,
    run_exit: schema.RunExit,
    analysis: schema.Analysis,
) -> Timing:
    time_s = _clock(track, run_exit, analysis)
    return Timing(
        round=turn.index,
        member=one.name,
        cpu=turn.cpu,
        seed=turn.seed,
        outcome=analysis.outcome,
        reason=analysis.reason,
        time_s=time_s,
        val_loss=analysis.val_loss,
        probe_difference=None if analysis.probes is None else analysis.probes.difference,
        device_seconds=analysis.device_seconds,
        after_clock_s=_after_clock_s(track, run_exit, time_s),
        steps=analysis.steps,
        untimed=untimed.measure(analysis, run_exit) if track.clock == "train_time" else None,
    )


def _clock(
    track: schema.TrackSpec, run_exit: schema.RunExit, analysis: schema.Analysis
) -> float | None:
    """Return the clock of a completed run, also of one whose loss ended above the target.

    None for one that diverged, whose last loss is no number, and for one that printed no time at
    all: the clocks' rules are not applied to what missed the target, and ratios need times above 0.
    """
    if analysis.outcome == schema.Outcome.OK:
        return analysis.time_s or None
    if analysis.outcome != schema.Outcome.MISSED_TARGET or analysis.val_loss is None:
        return None
    if track.clock == "cpu":
        return run_exit.cpu_s or None
    return analysis.train_time_ms / 1000 if analysis.train_time_ms else None


def _after_clock_s(
    track: schema.TrackSpec, run_exit: schema.RunExit, time_s: float | None
) -> float | None:
    """Return the CPU seconds of the whole tree that its clock, stopped by then, does not show."""
    if track.clock != "cpu" or time_s is None or run_exit.cpu_total_s is None:
        return None
    return run_exit.cpu_total_s - time_s
