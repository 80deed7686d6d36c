"""Verbs that make what trials need: corpus, tokenize, task."""

from __future__ import annotations

import argparse
from typing import Any

from speedrun import schema
from speedrun.cli import options
from speedrun.cli.options import json_value, path, required
from speedrun.cli.provenance import recorded


def add_verbs(verbs: Any) -> None:
    """Declare this module's verbs."""
    corpus = options.verb(verbs, "corpus", run_corpus, "read and check a corpus's sources")
    required(
        corpus,
        spec=(json_value, "specification of the corpus's kind, as JSON"),
        out=(path, "results/corpus/NAME"),
    )
    tokenize = options.verb(verbs, "tokenize", run_tokenize, "make shards and withheld probes")
    required(
        tokenize,
        documents=(path, "documents.jsonl of the corpus; manifest.json of one of kind hub or text"),
        spec=(json_value, "specification of the corpus's kind, as JSON"),
        out=(path, "results/shards/NAME"),
    )
    task = options.verb(verbs, "task", run_task, "build a task's public and private side")
    required(
        task,
        spec=(json_value, "TaskFacts without rules, as JSON"),
        rules=(path, "the track's rules.md"),
        records=(path, "results/records/TRACK"),
        hints=(path, "hints/TRACK/TASK"),
        out=(path, "results/tasks/TRACK/TASK"),
    )
    task.add_argument("--levels", nargs="*", default=[], help="hint levels that must be there")


def run_corpus(given: argparse.Namespace) -> None:
    """Write the corpus and its record."""
    from speedrun.stages import corpus

    with recorded("corpus", given.out / "corpus.record.json") as record:
        record.params = corpus.parameters(given.spec)
        record.measured(**corpus.build(given.spec, given.out))
        record.artifacts = ["manifest.json"]


def run_tokenize(given: argparse.Namespace) -> None:
    """Write the shards and their record."""
    from speedrun.stages import tokenize

    with recorded("tokenize", given.out / "tokenize.record.json") as record:
        record.params = dict(given.spec)
        record.read(given.documents)
        record.measured(**tokenize.build(given.documents, given.spec, given.out))
        record.artifacts = ["meta.json"]


def run_task(given: argparse.Namespace) -> None:
    """Write the task's public and private folders."""
    from speedrun.stages import task

    rules = given.rules.read_text(encoding="utf-8")
    facts = schema.from_dict(schema.TaskFacts, {**given.spec, "rules": rules})
    start, target = (given.records / name for name in (facts.start, facts.target))
    with recorded("task", given.out / "task.record.json") as record:
        task.task(start, target, given.hints, given.out, facts, given.levels)
        record.params = {"start": facts.start, "target": facts.target, "track": facts.track}
        diff = (given.out / "private" / "human.diff").read_text(encoding="utf-8")
        record.measured(human_diff_lines=_changed_lines(diff))
        record.artifacts = ["public/task.json", "private/human.diff"]


def _changed_lines(diff: str) -> float:
    changed = [line for line in diff.splitlines() if line[:1] in "+-"]
    return float(len([line for line in changed if line[:3] not in ("+++", "---")]))
