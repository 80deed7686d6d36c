"""Timed re-runs: how audit and `speedrun records --measure` train and analyse one program."""

from __future__ import annotations

import argparse
import os
import platform
import sys
import time
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from speedrun import files, schema, specs, trials
from speedrun.cli.node import hidden_paths
from speedrun.runner import gpu, shards

if TYPE_CHECKING:
    from speedrun.adapters.device_hours import DeviceHours
    from speedrun.views import View

STORE = Path("store/retimings")
# Of a track: no timing depends on them. A record more must not time all tasks again.
JUDGED_LATER = ("rules", "validation_tokens", "records")
SPARE_SETS = 1  # set 0 is the search's; re-runs are probed with contexts it has never shown


@dataclass(frozen=True)
class Bench:
    """Where and how programs are timed: shards, sandbox specification and track."""

    shards: Path
    manifest: Path | None  # of a corpus that is made from installed packages
    spec: dict[str, Any]
    track: schema.TrackSpec
    probes: Path | None = None  # the folder with the probe sets; that of the shards if absent

    @cached_property
    def train_spec(self) -> schema.TrainSpec:
        """The run's specification, with the corpus's sources hidden."""
        hidden = hidden_paths(self.manifest) if self.manifest else []
        return schema.from_dict(schema.TrainSpec, {**self.spec, "hidden": hidden})

    @cached_property
    def vocab_size(self) -> int:
        """Columns that the probe logits must have."""
        return int(files.read_json(self.shards / "meta.json")["vocab_size"])

    @cached_property
    def digest(self) -> str:
        """What decides a timing besides the program: specification, track, data and any GPUs.

        Of the track's rules those to which a re-run is held.
        """
        from speedrun.stages.analyze import conduct

        cards = [card.name for card in gpu.cards(self.train_spec)]
        track = {k: v for k, v in schema.to_dict(self.track).items() if k not in JUDGED_LATER}
        held = [rule for rule in conduct.WATCHED if rule in self.track.rules]
        parts = [self.spec, {**track, "rules": held}, self._data()]
        return files.digest_value([*parts, cards] if cards else parts)

    def run(
        self, solution: Path, entry: str, out: Path, seed: int, cpu: int | None
    ) -> tuple[schema.RunExit, schema.Analysis]:
        """Train once, pinned to ``cpu`` if given, and analyse it, its use of files included.

        Where the track has probes, the seed chooses the set.
        """
        from speedrun.stages import train
        from speedrun.stages.analyze import analyze, conduct

        probes = self._probe_set(seed)
        ended = train.train(
            solution,
            entry,
            self.shards / "public",
            probes / "contexts.npy" if probes else None,
            out / "run",
            self.train_spec,
            seed,
            cpu=cpu,
        )
        targets, columns = (probes / "targets.npy", self.vocab_size) if probes else (None, None)
        found = analyze(out / "run", self.track, targets, vocab_size=columns)
        return ended, conduct.watched(self.track, ended, found)

    def unseen(self, kind: str, store: Path) -> tuple[View, Bench]:
        """Return the view of that kind (views.KINDS), and the bench that runs programs on it."""
        from speedrun import views

        tokens, probes = self.track.validation_tokens, self.shards / "private" / "probes"
        view = views.make(kind, self.shards, self.train_spec, tokens, store)
        return view, replace(self, shards=view.shards, probes=probes)

    def _data(self) -> Any:
        """Return what stands for the data: of a part of the shards, the digests of that part."""
        if not self.train_spec.train_shards:
            return files.read_json(self.shards / "meta.json")
        return shards.digests(shards.inputs(self.shards / "public", self.train_spec, None))

    def _probe_set(self, seed: int) -> Path | None:
        if not self.track.probe_contexts:
            return None
        folder = self.probes or self.shards / "private" / "probes"
        sets = sorted(folder.glob("set_*"))
        spare = sets[SPARE_SETS:] or sets
        return spare[seed % len(spare)]


@dataclass(frozen=True)
class Counted:
    """A bench that remembers the folder of each run it really made; lanes append side by side."""

    bench: Bench
    folders: list[Path] = field(default_factory=list)

    def run(
        self, solution: Path, entry: str, out: Path, seed: int, cpu: int | None
    ) -> tuple[schema.RunExit, schema.Analysis]:
        """Train and analyse once, as the bench does."""
        self.folders.append(out)
        return self.bench.run(solution, entry, out, seed, cpu)


@dataclass(frozen=True)
class Charged:
    """A bench whose runs are held against a sweep's cap before, and written down after."""

    bench: Bench
    hours: DeviceHours

    def run(
        self, solution: Path, entry: str, out: Path, seed: int, cpu: int | None
    ) -> tuple[schema.RunExit, schema.Analysis]:
        """Train and analyse once, as the bench does. Errors: BudgetExceeded before the run."""
        with self.hours.reserved(out):
            ended, analysis = self.bench.run(solution, entry, out, seed, cpu)
        self.hours.settle(out, analysis.device_seconds, max(1, len(analysis.gpus)))
        return ended, analysis


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
    if "registry" in config["track"]:
        raise files.SpeedrunError(
            f"the records of {given.track} run in several environments, which no one block holds: "
            f"run a sweep, then `speedrun references --track {given.track}` shows their times"
        )
    track = schema.from_dict(schema.TrackSpec, specs.track(config))
    bench = Bench(*_inputs(config["corpus"]), specs.train(config), track)
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


def _inputs(corpus: dict[str, Any]) -> tuple[Path, Path | None]:
    """Return the shards and, of a corpus that is made from packages, the manifest."""
    shards = Path("results/shards") / corpus["name"]
    if not (shards / "meta.json").is_file():
        raise files.SpeedrunError(
            f"{shards} is missing: run `snakemake -c1 {shards}/meta.json` first"
        )
    packages = "distributions" in corpus
    return shards, Path("results/corpus", corpus["name"], "manifest.json") if packages else None


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
