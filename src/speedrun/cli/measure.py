"""Timed re-runs: how audit and `speedrun records --measure` train and analyse one program."""

from __future__ import annotations

import argparse
import os
import platform
import sys
import time
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from speedrun import files, schema, specs, trials
from speedrun.cli.node import hidden_paths

STORE = Path("store/retimings")
SPARE_SETS = 1  # set 0 is the search's; re-runs are probed with contexts it has never shown


@dataclass(frozen=True)
class Bench:
    """Where and how programs are timed: shards, sandbox specification and track."""

    shards: Path
    manifest: Path
    spec: dict[str, Any]
    track: schema.TrackSpec

    @cached_property
    def train_spec(self) -> schema.TrainSpec:
        """The run's specification, with the corpus's sources hidden."""
        hidden = hidden_paths(self.manifest)
        return schema.from_dict(schema.TrainSpec, {**self.spec, "hidden": hidden})

    @cached_property
    def vocab_size(self) -> int:
        """Columns that the probe logits must have."""
        return int(files.read_json(self.shards / "meta.json")["vocab_size"])

    @cached_property
    def digest(self) -> str:
        """What decides a timing besides the program: specification, track and data."""
        meta = files.read_json(self.shards / "meta.json")
        return files.digest_value([self.spec, schema.to_dict(self.track), meta])

    def run(
        self, solution: Path, entry: str, out: Path, seed: int, cpu: int
    ) -> tuple[schema.RunExit, schema.Analysis]:
        """Train once, pinned to ``cpu``, probed with a set chosen by the seed, and analyse it."""
        from speedrun.stages import train
        from speedrun.stages.analyze import analyze

        probes = self._probe_set(seed)
        ended = train.train(
            solution,
            entry,
            self.shards / "public",
            probes / "contexts.npy",
            out / "run",
            self.train_spec,
            seed,
            cpu=cpu,
        )
        return ended, analyze(
            out / "run", self.track, probes / "targets.npy", vocab_size=self.vocab_size
        )

    def _probe_set(self, seed: int) -> Path:
        sets = sorted((self.shards / "private" / "probes").glob("set_*"))
        spare = sets[SPARE_SETS:] or sets
        return spare[seed % len(spare)]


@dataclass(frozen=True)
class Counted:
    """A bench that remembers the folder of each run it really made; lanes append side by side."""

    bench: Bench
    folders: list[Path] = field(default_factory=list)

    def run(
        self, solution: Path, entry: str, out: Path, seed: int, cpu: int
    ) -> tuple[schema.RunExit, schema.Analysis]:
        """Train and analyse once, as the bench does."""
        self.folders.append(out)
        return self.bench.run(solution, entry, out, seed, cpu)


def run(given: argparse.Namespace) -> None:
    """Time a track's whole record chain, interleaved, and print the table.

    Needs the track's shards: `snakemake results/shards/TRACK/meta.json` makes them. Finished runs
    are kept in the store, so that an interrupted measurement goes on where it stopped; --fresh
    times every run again. How many runs were reused goes to stderr.
    """
    from speedrun.adapters import sweep
    from speedrun.stages import audit, records

    chosen = [f"track={given.track}", "tasks=all"]
    config = sweep.load(given.repository / "config", "quickstart", chosen)
    track = schema.from_dict(schema.TrackSpec, specs.track(config))
    bench = Bench(*_inputs(track.corpus), specs.train(config), track)
    settings = trials.AuditPlan(given.rounds, given.lanes, equivalence_margin=0.0, confidence=0.9)
    source = given.repository / "tracks" / track.name / "records"
    folders = [(name, source / name) for name in track.records]
    timed = Counted(bench)
    digest = files.digest_value([bench.digest, time.time_ns()]) if given.fresh else bench.digest
    rows = audit.measure_chain(track, folders, settings, timed.run, STORE, digest, progress=_say)
    if reused := sum(row["n"] for row in rows) - len(timed.folders):
        _say(f"{reused} finished runs were reused from {STORE}; --fresh times them again")
    print(table(rows))
    if given.write:
        for row in rows:
            records.write_measured(source / row["record"] / records.CARD, row, machine())


def _inputs(corpus: str) -> tuple[Path, Path]:
    shards, manifest = Path(f"results/shards/{corpus}"), Path(f"results/corpus/{corpus}")
    if not (shards / "meta.json").is_file():
        raise files.SpeedrunError(
            f"{shards} is missing: run `snakemake -c1 {shards}/meta.json` first"
        )
    return shards, manifest / "manifest.json"


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def machine() -> str:
    """Return the processor's name and the number of cores that this process may use."""
    lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    models = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return f"{models[0] if models else platform.machine()}, {len(os.sched_getaffinity(0))} cores"


def table(rows: list[dict[str, Any]]) -> str:
    """Return the chain's table as aligned text, with n and the machine below it."""
    import pandas as pd

    frame = pd.DataFrame(rows)
    text = frame.to_string(index=False, float_format=lambda value: f"{value:.4g}", na_rep="-")
    first, last = rows[0], rows[-1]
    whole = first["time_mean_s"] / last["time_mean_s"]
    return f"{text}\n\nwhole chain {whole:.2f}x, n = {first['n']} a record, {machine()}"
