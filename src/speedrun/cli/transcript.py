"""The verb that shows a trial to a person."""

from __future__ import annotations

import argparse
from typing import Any

from speedrun.cli import options
from speedrun.cli.options import path


def add_verbs(verbs: Any) -> None:
    """Declare this module's verb."""
    shown = options.verb(verbs, "transcript", run_transcript, "show a trial as a person reads it")
    shown.add_argument("trial", type=path, help="results/trials/TRACK/TASK/ARM/sSEED")
    shown.add_argument("--node", type=int, help="one node alone")
    shown.add_argument("--full", action="store_true", help="whole prompts, replies and changes")
    shown.add_argument(
        "--start", type=path, help="the start record's files; else those in results/tasks"
    )


def run_transcript(given: argparse.Namespace) -> None:
    """Print the transcript."""
    from speedrun.stages.transcript import transcript

    options.show(transcript(given.trial, given.node, given.full, given.start))
