"""The verb reproduce: an idea and a script in, a measured speedup out, without a target record.

A search of one trial on a task of its own: every node goes through generate, train and analyze as
in a sweep, with the same sandbox, caps and ledger; then the fastest node meets the given code in a
duel. Everything lies in results/reproduce/<digest>, where the digest stands for all that decides
the nodes but their number: the same command goes on where it stopped, and more nodes extend it.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

from speedrun import files, trials
from speedrun.cli import duel, options, venue
from speedrun.cli.attempt import ARM, FOLDER, HINT, Attempt
from speedrun.cli.options import path, required
from speedrun.files import SpeedrunError

HELP = "have a coder put a hint into practice, and time its best attempt against the given code"
UNKNOWN_TO_THE_LOOP = ("preflight", "summary")


def add_verbs(verbs: Any) -> None:
    """Declare this module's verb."""
    parser = options.verb(verbs, "reproduce", run_reproduce, HELP)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.epilog = "exit codes (A is the given code, B the best node):" + duel.CODES
    required(
        parser,
        code=(path, "the folder with the script to start from"),
        coder=(str, "config/coder: direct, or a coding agent"),
    )
    parser.add_argument("--hints", type=path, help="the only hint, a text; absent: none is given")
    parser.add_argument("--model", default="none", help="config/model; what the coder asks")
    parser.add_argument("--scaffold", default="tree", help="config/scaffold; tree if absent")
    parser.add_argument("--nodes", type=int, default=5, help="attempts; 5 if absent")
    venue.add_options(parser)
    duel.add_settings(parser)


def run_reproduce(given: argparse.Namespace) -> None:
    """Search, then duel; leave with the verdict's code."""
    from speedrun.stages.duel import EXIT_CODES, text

    attempt = _attempt(given)
    attempt.venue.require(("audit", "generate"))
    attempt.venue.make()
    attempt.prepare()
    for node in attempt.nodes:
        attempt.make_node(node)
        duel.say(attempt.line(node))
    best = trials.winner(trials.nodes_in(attempt.trial, len(attempt.nodes)))
    fought = _fight(given, attempt, best) if best else None
    result = attempt.result(given, best, fought)
    files.write_json(attempt.folder / "reproduce.json", result)
    shown = [attempt.table(), "", text(fought) if fought else ""]
    said = "\n".join([*shown, result["sentence"]])
    options.show(json.dumps(result, indent=1) if given.json else said)
    sys.exit(EXIT_CODES[result["verdict"]])


def _attempt(given: argparse.Namespace) -> Attempt:
    if given.nodes < 1:
        raise SpeedrunError(f"--nodes must be 1 or more, got {given.nodes}")
    place = venue.open_venue(given, [], _arm(given))
    duel.settings_of(given, place)  # a wrong value is said before a model is asked
    arm = place.config["arms"][ARM]
    if unknown := [key for key in UNKNOWN_TO_THE_LOOP if key in arm]:
        raise SpeedrunError(f"reproduce has no {unknown[0]}: use a sweep for it (docs/sweeps.md)")
    if arm["coder"]["name"] in ("oracle", "replay"):
        raise SpeedrunError(f"coder {arm['coder']['name']} needs a target record or recordings")
    source, _ = place.source(str(given.code))
    hint = _hint(given.hints) if given.hints else ""
    return Attempt(place, venue.freeze(source, FOLDER / "code"), hint)


def _arm(given: argparse.Namespace) -> list[str]:
    """Return what the command line says of the arm, over config/sweep/duel.yaml."""
    values = {
        "coder": given.coder,
        "model": given.model,
        "hints": HINT if given.hints else "none",
        "mode": "reproduce" if given.hints else "optimize",
        "scaffold.name": given.scaffold,
        "scaffold.n_nodes": given.nodes,
    }
    return [f"arms.{ARM}.{key}={value}" for key, value in values.items()]


def _hint(source: Path) -> str:
    try:
        text = source.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise SpeedrunError(f"--hints {source} cannot be read as text: {error}") from None
    if not text.strip():
        raise SpeedrunError(f"--hints {source} is empty: write down the idea, or leave it out")
    return text


def _fight(given: argparse.Namespace, attempt: Attempt, best: trials.Node) -> dict[str, Any]:
    from speedrun.stages.duel import Side

    sides = Side(str(given.code), attempt.code), Side(f"node_{best.number}", best.solution)
    return duel.fight(given, attempt.venue, sides, attempt.folder, attempt.charged)
