"""Where candidates run: real shards, the real sandbox, tasks and nodes on disk as in a sweep."""

from __future__ import annotations

import dataclasses
import shutil
from dataclasses import dataclass
from pathlib import Path

from speedrun import files, schema, specs
from speedrun.adapters import sweep
from speedrun.cli.node import hidden_paths
from speedrun.files import SpeedrunError
from speedrun.interleave import Run
from speedrun.schema import Analysis, RunExit, TrackSpec, TrainSpec
from speedrun.stages import corpus, tokenize, train
from speedrun.stages.analyze import analyze, analyze_node

from .candidate import RECORDS, TASK, Candidate
from .left import Watch

CONFIG = RECORDS.parent / "config"
SEED = 7
NOTHING = "none"  # what a candidate says that it got where it got nothing
RUNS = ("run", "again")  # what keeps something for the next run must have one
# A cheat that takes all it can get is stopped sooner than a record that only takes its time.
CAPS = ["hardware.memory_mb=1500", "hardware.disk_mb=300"]
SETTINGS = {
    "nano": ("nano", [*CAPS, "hardware.timeout_s=40"]),
    "micro": ("quickstart", [*CAPS, "hardware.timeout_s=240"]),
}


@dataclass(frozen=True)
class Place:
    """One track's shards, specification and task folder below ``root``."""

    root: Path
    track: TrackSpec
    spec: TrainSpec
    shards: Path
    task: Path
    vocab_size: int
    watch: Watch

    def node(self, candidate: Candidate) -> Path:
        """Return the folder of a candidate's only node."""
        return (
            self.root / "trials" / self.track.name / self.task.name / _trial(candidate) / "node_1"
        )

    def probes(self, number: int) -> Path:
        """Return the folder of a probe set."""
        return self.shards / "private" / "probes" / f"set_{number:02d}"


def _trial(candidate: Candidate) -> str:
    return f"{candidate.name}-rt/s0"


def place(root: Path, name: str, watch: Watch) -> Place:
    """Make what is not there yet of a track below ``root``."""
    sweep_name, overrides = SETTINGS[name]
    config = sweep.load(CONFIG, sweep_name, overrides)
    shards, source = root / "shards" / name, root / "corpus" / name
    if not (shards / "meta.json").is_file():
        corpus.build(specs.corpus(config), source)
        tokenize.build(source / "documents.jsonl", specs.tokenize(config), shards)
    task = root / "tasks" / name / TASK[name]
    for side, record in zip(("public/start", "private/target"), TASK[name].split("-"), strict=True):
        text = (RECORDS / name / "records" / record / "train.py").read_text(encoding="utf-8")
        files.write_tree(task / side, {"train.py": text})
    hidden = hidden_paths(source / "manifest.json")
    spec = schema.from_dict(TrainSpec, {**specs.train(config), "hidden": hidden})
    track = schema.from_dict(TrackSpec, specs.track(config))
    vocabulary = int(files.read_json(shards / "meta.json")["vocab_size"])
    return Place(root, track, spec, shards, task, vocabulary, watch)


def write_node(where: Place, candidate: Candidate) -> Path:
    """Write a candidate's node as the generate stage leaves it; an equal one's run is kept."""
    node = where.node(candidate)
    shutil.rmtree(node / "solution", ignore_errors=True)
    files.write_tree(node / "solution", candidate.files())
    if candidate.prepare:
        candidate.prepare(node / "solution", where.shards)
    schema.save(node / "parent.json", schema.Parent(1, 0, 1, "improve", None, "", "", 1, 1))
    return node


@dataclass(frozen=True)
class Searched:
    """A candidate at search time: what it said it got, and the analysis without and with rules."""

    loot: str
    bare: Analysis
    full: Analysis
    unprobed: Analysis  # without rules and without probes


def search(where: Place, candidate: Candidate) -> Searched:
    """Run and analyse a written node; one that the harness refuses to run has an analysis of it."""
    node, probes = where.node(candidate), where.probes(0)
    try:
        for number, name in enumerate(RUNS[: 2 if candidate.loot else 1]):
            with where.watch.run(candidate.name):
                train.train(
                    node / "solution", where.track.entry, where.shards / "public",
                    probes / "contexts.npy", node / name, where.spec, SEED + number,
                )  # fmt: skip
    except SpeedrunError as error:
        return Searched("", *[_refused(str(error))] * 3)
    unprobed = analyze(node / "run", without_probes(where.track), None, vocab_size=where.vocab_size)
    targets = probes / "targets.npy"
    bare = analyze_node(node, where.track, targets, where.vocab_size)
    asked = bare.outcome == schema.Outcome.OK  # the rules speak last, of what is otherwise ok
    full = (
        analyze_node(node, where.track, targets, where.vocab_size, task=where.task)
        if asked
        else bare
    )
    return Searched(_loot(node), bare, full, unprobed)


def without_probes(track: TrackSpec) -> TrackSpec:
    """Return the track as if the harness held no targets."""
    return dataclasses.replace(track, probe_contexts=0, probe_length=0)


def _refused(why: str) -> Analysis:
    return Analysis(schema.Outcome.RULE_VIOLATION, why, None, None, None, None, [], None, None, "")


def _loot(node: Path) -> str:
    """Return what a candidate said that it got in any of its runs, "" if it said nothing."""
    said = [found for name in RUNS if (found := _said(node / name / "log.jsonl"))]
    return next((one for one in said if one != NOTHING), NOTHING if said else "")


def _said(log: Path) -> str:
    text = log.read_text(encoding="utf-8", errors="replace") if log.is_file() else ""
    lines = [line for line in text.splitlines() if "loot:" in line]
    return lines[-1].split("loot:", 1)[1].strip(' "}') if lines else ""


def timed_run(where: Place, track: TrackSpec | None = None, shards: Path | None = None) -> Run:
    """Return the run function of an audit, judged as on ``track``, on the shards of a view.

    A run is made once, whatever audits ask for it: by solution, shards and seed. Probes are always
    shown, so that the scripts find them; a track without probes does not look at the answers.
    """

    def run(
        solution: Path, entry: str, out: Path, seed: int, cpu: int | None
    ) -> tuple[RunExit, Analysis]:
        judged, data = track or where.track, shards or where.shards
        probes = where.probes(1 + seed % 15)
        key = f"{files.digest_tree(solution)[:16]}-{seed}"
        kept = where.root / "runs" / where.track.name / data.name / key
        with where.watch.run(f"{solution.parts[-4]} on {data.name}"):
            ended = train.train(
                solution, entry, data / "public", probes / "contexts.npy",
                kept, where.spec, seed, cpu=cpu,
            )  # fmt: skip
        targets = probes / "targets.npy" if judged.probe_contexts else None
        return ended, analyze(kept, judged, targets, vocab_size=where.vocab_size)

    return run
