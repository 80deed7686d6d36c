"""The runs of a winner, and of the records, on noise and on the hold-out shard.

Each has a key of its own in the store, that of the program's code, the data and the run's index:
neither the task, the role nor the other winners are part of it. So a record is run once for all
the tasks and sweeps that it belongs to, and a killed audit goes on with the run that it was at.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from speedrun import files, interleave, trials, unseen, untimed, versions
from speedrun.interleave import Member, Run, Timing
from speedrun.stages.audit.block import Record, cores, seeded_losses
from speedrun.verdict import LONG_START
from speedrun.views import HOLDOUT, KINDS, NOISE, View

PROGRAM = "program"  # every member's name in these blocks, so that keys hold no role


@dataclass(frozen=True)
class Bench:
    """Runs programs on one view; ``digest`` covers specification and data, as of the block."""

    view: View
    run: Run
    digest: str


@dataclass(frozen=True)
class Unseen:
    """How programs are run on data that no record reads; no benches: simulated, nothing is run."""

    plan: trials.Plan
    benches: Mapping[str, Bench]
    store: Path
    progress: Callable[[str], None]

    def checks(
        self,
        winner: Member,
        runs: Sequence[Timing],
        records: Mapping[Member, Record],
        known: Sequence[untimed.Untimed],
    ) -> dict[str, unseen.Check]:
        """Return the checks of a winner, by kind of view, beside the records' runs.

        ``known`` are the stretches off the clock of start and target: a script that prints its
        usual train_time on noise, whatever it does there, has others.
        """
        found: dict[str, unseen.Check] = {}
        for kind in [kind for kind in KINDS if kind in self.benches and self._count(kind)]:
            mine, found[kind] = self._check(kind, winner, runs, records)
            _untimed(found[kind], kind, mine, known)
        return found

    def _count(self, kind: str) -> int:
        settings = self.plan.audit
        return {NOISE: settings.noise_runs, HOLDOUT: settings.holdout_runs}[kind]

    def _check(
        self, kind: str, winner: Member, runs: Sequence[Timing], records: Mapping[Member, Record]
    ) -> tuple[Sequence[Timing], unseen.Check]:
        bench = self.benches[kind]
        others = [
            unseen.Losses(self._rerun(bench, one), record.losses) for one, record in records.items()
        ]
        mine = unseen.Losses(self._rerun(bench, winner), seeded_losses(runs))
        judge = {NOISE: unseen.noise_check, HOLDOUT: unseen.holdout_check}[kind]
        check = judge(mine, others, bench.view)
        unseen.time_check(check, mine, runs, kind, self.plan.track.clock)
        return mine.runs, check

    def _rerun(self, bench: Bench, program: Member) -> list[Timing]:
        plan, kind = self.plan, bench.view.kind
        key = files.digest_value([plan.track.name, plan.hardware, bench.digest, versions.RETIMING])
        block = interleave.plan_block(
            [dataclasses.replace(program, name=PROGRAM)],
            plan.track.entry,
            self._count(kind),
            plan.audit.lanes,
            plan.audit.seed,
            key,
            cores(plan.track),
        )
        said = f"{kind} run of {program.name}: "
        try:
            return interleave.run_block(
                block, plan.track, bench.run, self.store, lambda line: self.progress(said + line)
            )
        except files.SpeedrunError as error:
            raise files.SpeedrunError(f"{said}{error}") from error


def _untimed(
    check: unseen.Check, kind: str, runs: Sequence[Timing], known: Sequence[untimed.Untimed]
) -> None:
    """Add to ``check`` the stretches off the clock that start and target do not have."""
    named = [(f"{kind} run {run.round + 1}", run.untimed) for run in runs]
    found = untimed.compare(named, known)
    if found:
        check.failures += found.violations
    if found and found.flag:
        check.held[LONG_START] = found.flag
