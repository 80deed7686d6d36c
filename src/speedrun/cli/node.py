"""Verbs that make one node: generate, train, analyze.

The imports of ``train`` stay within the standard library: it must run on a bare GPU node.
"""

from __future__ import annotations

import argparse
from typing import Any

from speedrun import files, plan, schema
from speedrun.cli import options
from speedrun.cli.options import json_value, path, required
from speedrun.cli.provenance import Draft, recorded


def add_verbs(verbs: Any) -> None:
    """Declare this module's verbs."""
    _add_generate(options.verb(verbs, "generate", run_generate, "ask the coder for one node"))
    train = options.verb(verbs, "train", run_train, "run one solution in the sandbox, timed")
    required(
        train,
        entry=(str, "the file that is run"),
        shards=(path, "results/shards/CORPUS"),
        spec=(json_value, "TrainSpec as JSON"),
        folder=(path, "the node's folder; writes FOLDER/run"),
    )
    train.add_argument("--probes", type=path, help="contexts.npy of a probe set, if it has any")
    train.add_argument("--manifest", type=path, help="manifest.json of a corpus made from packages")
    train.add_argument("--solution", type=path, help="the source folder; FOLDER/solution if absent")
    train.add_argument("--parent", type=path, help="parent.json: says when there is nothing to run")
    analyze = options.verb(verbs, "analyze", run_analyze, "understand one run")
    required(
        analyze,
        track=(json_value, "TrackSpec as JSON"),
        shards=(path, "results/shards/CORPUS"),
        folder=(path, "the node's folder; reads FOLDER/run and, if there, FOLDER/parent.json"),
    )
    analyze.add_argument("--targets", type=path, help="targets.npy of a probe set, if it has any")


def _add_generate(parser: argparse.ArgumentParser) -> None:
    required(
        parser,
        public=(path, "results/tasks/TRACK/TASK/public"),
        trial=(path, "the trial's folder"),
        node=(int, "the node's number, from 1"),
        root_analysis=(path, "analysis.json of a reference run of the start record"),
        arm=(json_value, "the arm: coder, scaffold, hints, model, mode"),
    )
    parser.add_argument("--seed", type=int, default=0, help="the trial's seed")
    parser.add_argument("--replies", type=path, default=path("replies/coder"), help="recordings")
    parser.add_argument("--private", type=path, help="the private folder, for the oracle alone")
    parser.add_argument("--print-prompt", action="store_true", help="show the prompt, ask nobody")
    parser.add_argument(
        "--reply", type=path, help="with --print-prompt: an unreadable reply, to show the re-ask"
    )


def run_generate(given: argparse.Namespace) -> None:
    """Make one node's solution, or print what it would be asked."""
    from speedrun import search
    from speedrun.adapters.coders import make_coder
    from speedrun.stages import generate

    arm = given.arm
    inputs = generate.NodeInputs(
        public=given.public,
        trial=given.trial,
        node=given.node,
        scaffold=search.scaffold(arm["scaffold"]),
        root_analysis=given.root_analysis,
        seed=given.seed,
        hints=arm["hints"],
    )
    if given.print_prompt:
        reply = given.reply.read_text(encoding="utf-8") if given.reply else None
        print(generate.print_prompt(inputs, reply))
        return
    coder = make_coder(arm["coder"], given.private, given.replies)
    out = given.trial / f"node_{given.node}"
    with recorded("generate", out / "generate.record.json") as record:
        record.read(given.public / "task.json", given.root_analysis)
        parent = generate.generate(inputs, coder, out)
        _describe_node(record, given, parent)
        _count_calls(record, out / "calls.jsonl")


def _describe_node(record: Draft, given: argparse.Namespace, parent: schema.Parent) -> None:
    arm = given.arm
    record.params = {
        "arm": given.trial.parent.name,
        "coder": arm["coder"]["name"],
        "scaffold": arm["scaffold"]["name"],
        "hints": "+".join(arm["hints"]) or "none",
        "model": arm["model"]["name"],
        "seed": given.seed,
        "parent": parent.parent,
        "action": parent.action,
        "generation": parent.generation,
        **{f"note.{name}": value for name, value in parent.notes.items()},
    }
    record.measured(lines_added=parent.lines_added, lines_removed=parent.lines_removed)
    record.artifacts = ["solution", "prompt.md", "replies", "parent.json", "calls.jsonl"]


def _count_calls(record: Draft, calls: Any) -> None:
    """Sum tokens and cost over the node's calls; one unknown makes the sum unknown."""
    import json

    lines = [json.loads(line) for line in calls.read_text(encoding="utf-8").splitlines()]
    tokens = [line[name] for line in lines for name in ("tokens_in", "tokens_out")]
    costs = [line["cost_usd"] for line in lines]
    record.tokens = None if None in tokens else sum(tokens)
    record.cost_usd = None if None in costs else sum(costs)


def run_train(given: argparse.Namespace) -> None:
    """Run the node's solution; a coder's failure is carried through without a run."""
    from speedrun.stages import train

    parent = schema.load(schema.Parent, given.parent) if given.parent else None
    hidden = hidden_paths(given.manifest) if given.manifest else []
    spec = schema.from_dict(schema.TrainSpec, {**given.spec, "hidden": hidden})
    with recorded("train", given.folder / "train.record.json") as record:
        ended = train.train(
            solution=given.solution or given.folder / "solution",
            entry=given.entry,
            data=given.shards / "public",
            probes=given.probes,
            out=given.folder / "run",
            spec=spec,
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


def hidden_paths(manifest: Any) -> list[str]:
    """Return the installed folders that the sandbox must not show: the corpus's own sources."""
    from speedrun.stages import corpus

    found: list[str] = corpus.hidden_paths(manifest)
    return found


def run_analyze(given: argparse.Namespace) -> None:
    """Write the node's analysis.json and summary.md."""
    from speedrun.stages.analyze import analyze_node

    track = schema.from_dict(schema.TrackSpec, given.track)
    if track.probe_contexts and given.targets is None:
        raise files.SpeedrunError(f"track {track.name} has probes: say where --targets are")
    vocabulary = files.read_json(given.shards / "meta.json")["vocab_size"]
    with recorded("analyze", given.folder / "analyze.record.json") as record:
        result = analyze_node(given.folder, track, given.targets, vocabulary)
        record.params = {"outcome": str(result.outcome), "reason": result.reason}
        record.measured(
            val_loss=result.val_loss,
            time_s=result.time_s,
            device_seconds=result.device_seconds,
            probe_difference=result.probes.difference if result.probes else None,
        )
        record.artifacts = ["analysis.json", "summary.md"]
