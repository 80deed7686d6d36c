"""Verbs that run one node: train, preflight, analyze.

The imports of ``train`` and ``preflight`` stay within the standard library: they must run on a bare
GPU node.
"""

from __future__ import annotations

import argparse
import dataclasses
from pathlib import Path
from typing import Any

from speedrun import files, plan, schema, trials
from speedrun.cli import options
from speedrun.cli.options import json_value, path, required
from speedrun.cli.provenance import recorded


def add_verbs(verbs: Any) -> None:
    """Declare this module's verbs."""
    train = options.verb(verbs, "train", run_train, "run one solution in the sandbox, timed")
    _add_run(train, "the node's folder; writes FOLDER/run")
    train.add_argument("--solution", type=path, help="the source folder; FOLDER/solution if absent")
    train.add_argument("--parent", type=path, help="parent.json: says when there is nothing to run")
    preflight = options.verb(verbs, "preflight", run_preflight, "try a draft before its full run")
    _add_run(preflight, "the draft's folder; writes FOLDER/preflight.json and FOLDER/run")
    required(preflight, timeout_s=(float, "of the short run, in seconds"))
    _add_analyze(options.verb(verbs, "analyze", run_analyze, "understand one run"))


def _add_run(parser: argparse.ArgumentParser, folder: str) -> None:
    required(
        parser,
        entry=(str, "the file that is run"),
        shards=(path, "results/shards/CORPUS"),
        spec=(json_value, "TrainSpec as JSON"),
        folder=(path, folder),
    )
    parser.add_argument("--probes", type=path, help="contexts.npy of a probe set, if it has any")
    parser.add_argument("--manifest", type=path, help="manifest.json of a corpus made of packages")


def _add_analyze(parser: argparse.ArgumentParser) -> None:
    required(
        parser,
        track=(json_value, "TrackSpec as JSON"),
        shards=(path, "results/shards/CORPUS"),
        folder=(path, "the node's folder; reads FOLDER/run and, if there, FOLDER/parent.json"),
    )
    parser.add_argument("--targets", type=path, help="targets.npy of a probe set, if it has any")
    parser.add_argument(
        "--root-analysis", type=path, help="analysis.json of the start record, to compare with"
    )
    parser.add_argument("--task", type=path, help="results/tasks/TRACK/TASK: hold it to the rules")
    parser.add_argument("--start", type=path, help="cumulative: the trial's start/, instead of it")
    parser.add_argument("--operation", type=json_value, default={}, help=options.OPERATION)


def run_train(given: argparse.Namespace) -> None:
    """Run the node's solution; a coder's failure is carried through without a run."""
    from speedrun.stages import train

    parent = schema.load(schema.Parent, given.parent) if given.parent else None
    with recorded("train", given.folder / "train.record.json") as record:
        ended = train.train(
            solution=given.solution or given.folder / "solution",
            entry=given.entry,
            data=given.shards / "public",
            probes=given.probes,
            out=given.folder / "run",
            spec=_train_spec(given),
            seed=plan.run_seed(str(given.folder)),
            not_run=f"{parent.outcome}: {parent.reason}" if parent and parent.outcome else "",
        )
        record.params = {**given.spec, "seed": ended.seed}
        record.measured(
            wall_s=ended.wall_s,
            cpu_s=ended.cpu_s,
            cpu_total_s=ended.cpu_total_s,
            peak_rss_mb=ended.peak_rss_mb,
        )
        record.artifacts = ["run/log.jsonl", "run/exit.json"]


def _train_spec(given: argparse.Namespace) -> schema.TrainSpec:
    hidden = hidden_paths(given.manifest) if given.manifest else []
    return schema.from_dict(schema.TrainSpec, {**given.spec, "hidden": hidden})


def hidden_paths(manifest: Any) -> list[str]:
    """Return the installed folders that the sandbox must not show: the corpus's own sources."""
    from speedrun.stages import corpus

    found: list[str] = corpus.hidden_paths(manifest)
    return found


def run_preflight(given: argparse.Namespace) -> None:
    """Parse a draft and run it for a short time; what is wrong with it is data, not an error."""
    from speedrun.stages import analyze, preflight, train

    whole = _train_spec(given)
    spec = dataclasses.replace(whole, timeout_s=min(given.timeout_s, whole.timeout_s))

    def run(out: Path) -> schema.RunExit:
        return train.train(
            solution=given.folder / "solution",
            entry=given.entry,
            data=given.shards / "public",
            probes=given.probes,
            out=out,
            spec=spec,
            seed=plan.run_seed(str(given.folder)),
        )

    with recorded("preflight", given.folder / "preflight.record.json") as record:
        own = not spec.python
        checked = preflight.preflight(given.folder, run, analyze.error_lines, parses_alike=own)
        record.params = {"passed": checked.passed, "reason": checked.reason}
        record.measured(preflight_device_seconds=checked.device_seconds)
        record.artifacts = [preflight.RESULT]


def run_analyze(given: argparse.Namespace) -> None:
    """Write the node's analysis.json and summary.md."""
    from speedrun.stages.analyze import analyze_node

    track = schema.from_dict(schema.TrackSpec, given.track)
    if track.probe_contexts and given.targets is None:
        raise files.SpeedrunError(f"track {track.name} has probes: say where --targets are")
    vocabulary = files.read_json(given.shards / "meta.json")["vocab_size"]
    with recorded("analyze", given.folder / "analyze.record.json") as record:
        root = trials.own_start(given.start) if given.start else given.root_analysis
        where = given.targets, vocabulary, root, given.task, given.start
        result = analyze_node(given.folder, track, *where)
        record.params = {"outcome": str(result.outcome), "reason": result.reason}
        record.measured(
            val_loss=result.val_loss,
            time_s=result.time_s,
            device_seconds=result.device_seconds,
            probe_difference=result.probes.difference if result.probes else None,
        )
        record.artifacts = ["analysis.json", "summary.md"]
    settle_device_hours(given, result)


def settle_device_hours(given: argparse.Namespace, result: schema.Analysis) -> None:
    """Write down in the ledger what the run cost its trial, or a reference run its own folder."""
    if not given.operation:
        return
    from speedrun.adapters.device_hours import DeviceHours

    node = (given.folder / "parent.json").is_file()
    owner = trials.name(given.folder.parent if node else given.folder)
    hours = DeviceHours(given.operation, owner)
    hours.settle(given.folder, result.device_seconds, max(1, len(result.gpus)))
