"""Verbs that make what trials need: corpus, tokenize, records, task."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from speedrun import schema
from speedrun.cli import options
from speedrun.cli.options import json_value, path, required
from speedrun.cli.provenance import recorded


def add_verbs(verbs: Any) -> None:
    """Declare this module's verbs."""
    corpus = options.verb(verbs, "corpus", run_corpus, "read and check a corpus's sources")
    required(corpus, spec=(json_value, "CorpusSpec as JSON"), out=(path, "results/corpus/NAME"))
    tokenize = options.verb(verbs, "tokenize", run_tokenize, "make shards and withheld probes")
    required(
        tokenize,
        documents=(path, "documents.jsonl of the corpus"),
        spec=(json_value, "TokenizeSpec as JSON"),
        out=(path, "results/shards/NAME"),
    )
    _add_records(options.verb(verbs, "records", run_records, "copy a record, or measure a chain"))
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


def _add_records(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--source", type=path, help="tracks/TRACK/records")
    parser.add_argument("--record", help="the record's id")
    parser.add_argument("--entry", default="train.py", help="the file that is run")
    parser.add_argument("--out", type=path, help="results/records/TRACK/RECORD")
    parser.add_argument("--measure", action="store_true", help="time the whole chain, interleaved")
    parser.add_argument("--track", default="micro", help="with --measure: the track")
    parser.add_argument("--rounds", type=int, default=10, help="with --measure: runs a record")
    parser.add_argument("--lanes", type=int, default=2, help="with --measure: rounds side by side")
    parser.add_argument("--repository", type=path, default=Path(), help="with --measure: its root")
    parser.add_argument(
        "--fresh", action="store_true", help="with --measure: time every run again, reuse none"
    )
    parser.add_argument(
        "--write", action="store_true", help="with --measure: update each record.yaml"
    )


def run_corpus(given: argparse.Namespace) -> None:
    """Write the corpus and its record."""
    from speedrun.stages import corpus

    spec = schema.from_dict(corpus.CorpusSpec, given.spec)
    with recorded("corpus", given.out / "corpus.record.json") as record:
        record.params = {source.name: source.version for source in spec.distributions}
        record.measured(**corpus.corpus(spec, given.out))
        record.artifacts = ["manifest.json"]


def run_tokenize(given: argparse.Namespace) -> None:
    """Write the shards and their record."""
    from speedrun.stages import tokenize

    spec = schema.from_dict(tokenize.TokenizeSpec, given.spec)
    with recorded("tokenize", given.out / "tokenize.record.json") as record:
        record.params = dict(given.spec)
        record.read(given.documents)
        record.measured(**tokenize.tokenize(given.documents, spec, given.out))
        record.artifacts = ["meta.json"]


def run_records(given: argparse.Namespace) -> None:
    """Copy one record into results/, or measure the whole chain."""
    from speedrun.stages import records

    if given.measure:
        from speedrun.cli import measure

        measure.run(given)
        return
    with recorded("records", given.out / "records.record.json") as record:
        records.records(given.source, given.record, given.entry, given.out)
        record.params = {"record": given.record, "entry": given.entry}
        record.read(*sorted((given.out / "files").rglob("*.py")))
        record.artifacts = ["record.json", f"files/{given.entry}"]


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
