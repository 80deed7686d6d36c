"""Argument types and the way a verb is declared, shared by the verb modules."""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

OPERATION = "sweep, caps and how to reach the models, as JSON: decides no result"


def verb(
    verbs: Any, name: str, run: Callable[[argparse.Namespace], None], help_text: str
) -> argparse.ArgumentParser:
    """Declare a verb that calls ``run`` with its parsed options."""
    added: argparse.ArgumentParser = verbs.add_parser(name, help=help_text, description=help_text)
    added.set_defaults(run=run)
    return added


def show(text: str) -> None:
    """Print a long text; that a pager or `head` is closed early is no error."""
    try:
        print(text, flush=True)
    except BrokenPipeError:
        # Python flushes once more at its end, and would complain of the same pipe.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def required(
    parser: argparse.ArgumentParser, **arguments: tuple[Callable[[str], Any], str]
) -> None:
    """Add required options: ``name=(type, help)``."""
    for name, (kind, help_text) in arguments.items():
        parser.add_argument(f"--{name.replace('_', '-')}", type=kind, required=True, help=help_text)


def json_value(text: str) -> Any:
    """Parse a slice of configuration given as JSON on the command line."""
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        raise argparse.ArgumentTypeError(f"not valid JSON: {error}") from error


def path(text: str) -> Path:
    """Parse a path, kept relative to the working directory."""
    return Path(text)
