"""The command line: one verb a stage, the same line that a workflow job prints and runs.

Importing this costs nothing but the standard library; each verb imports what it needs.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from speedrun import __version__
from speedrun.cli import (
    between,
    classify,
    data,
    doctor,
    duel,
    generate,
    hardware,
    history,
    node,
    plan,
    records,
    references,
    reproduce,
    review,
    sweep,
    transcript,
)
from speedrun.files import SpeedrunError


def parser() -> argparse.ArgumentParser:
    """Return the parser with every verb."""
    top = argparse.ArgumentParser(prog="speedrun", description=__doc__)
    top.add_argument("--version", action="version", version=__version__)
    verbs = top.add_subparsers(dest="verb", required=True, metavar="VERB")
    for group in (
        data,
        records,
        generate,
        node,
        between,
        sweep,
        review,
        duel,
        reproduce,
        references,
        hardware,
        doctor,
        plan,
        transcript,
        history,
        classify,
    ):
        group.add_verbs(verbs)
    return top


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one verb; a SpeedrunError is one line on standard error and exit code 1."""
    words = sys.argv[1:] if arguments is None else list(arguments)
    try:
        options = parser().parse_args(words)
    except SystemExit as ended:
        if ended.code and words[:1] in (["duel"], ["reproduce"]):
            return 1  # argparse's own 2 is one of these verbs' verdicts
        raise
    try:
        options.run(options)
    except SpeedrunError as error:
        print(f"speedrun {options.verb}: {error}", file=sys.stderr)
        return 1
    return 0
