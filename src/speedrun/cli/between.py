"""Verbs between nodes: chain, which starts a trial from another, and summarize."""

from __future__ import annotations

import argparse
from typing import Any

from speedrun import files, trials
from speedrun.cli import options
from speedrun.cli.generate import count_calls, open_model
from speedrun.cli.options import json_value, path, required
from speedrun.cli.provenance import recorded


def add_verbs(verbs: Any) -> None:
    """Declare this module's verbs."""
    chain = options.verb(verbs, "chain", run_chain, "start a trial from the one before")
    required(
        chain,
        source=(path, "the finished trial of the task before, of the same arm and seed"),
        nodes=(int, "how many nodes it has"),
        out=(path, "the new trial's start/"),
    )
    summarize = options.verb(verbs, "summarize", run_summarize, "have a model summarise one run")
    required(
        summarize,
        folder=(path, "the node's folder; writes digest_model.md"),
        arm=(json_value, "the arm, whose model is asked"),
        public=(path, "results/tasks/TRACK/TASK/public"),
    )
    summarize.add_argument("--seed", type=int, default=0, help="the trial's seed")
    summarize.add_argument("--operation", type=json_value, default={}, help=options.OPERATION)


def run_chain(given: argparse.Namespace) -> None:
    """Write a trial's start/ from the winner of the trial before, or say why there is none."""
    from speedrun.stages import chain

    with recorded("chain", given.out / "chain.record.json") as record:
        link = chain.build(given.source, given.nodes, given.out)
        record.params = link.to_json()
        record.artifacts = [trials.LINK] + ([] if link.ended else ["solution", trials.ANALYSIS])


def run_summarize(given: argparse.Namespace) -> None:
    """Write a node's digest_model.md: its run in the words of the arm's model."""
    from speedrun.adapters import models
    from speedrun.stages import summarize

    model = open_model(given.arm, given.operation, trials.name(given.folder.parent))
    if model is None:
        raise files.SpeedrunError("this arm asks no model: leave its summary out")
    node = int(given.folder.name.removeprefix("node_"))
    key = models.CallKey(given.seed, node, turn=0, purpose="summary")

    def ask(prompt: str) -> models.Reply:
        return model.ask([{"role": "user", "content": prompt}], key)

    target_loss = files.read_json(given.public / "task.json")["target_loss"]
    with recorded("summarize", given.folder / "summarize.record.json") as record:
        summarize.summarize(given.folder, target_loss, ask)
        record.params = {"model": given.arm["model"]["name"], "seed": given.seed}
        record.read(given.folder / "analysis.json")
        record.artifacts = [summarize.PRODUCT, summarize.CALLS]
        count_calls(record, given.folder / summarize.CALLS)
