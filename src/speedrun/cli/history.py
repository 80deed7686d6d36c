"""The verb history: the record chain as evidence, and sweeps beside it."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from speedrun.cli import options
from speedrun.cli.options import path
from speedrun.cli.provenance import recorded

HELP = "tables, figures and pages of a record chain; with --sweep: sweeps by kind of change"


def add_verbs(verbs: Any) -> None:
    """Declare this module's verb."""
    parser = options.verb(verbs, "history", run_history, HELP)
    parser.add_argument("--track", default="nanogpt", help="default: nanogpt")
    parser.add_argument("--repository", type=path, default=path(""), help="this project's root")
    parser.add_argument("--out", type=path, help="default: results/history/TRACK")
    chain = parser.add_argument_group("the chain (a track with registry and labels)")
    chain.add_argument("--docs", action="store_true", help="write docs/ of the repository instead")
    join = parser.add_argument_group("the join")
    join.add_argument(
        "--sweep",
        type=path,
        action="append",
        default=[],
        help="results/SWEEP, its score folder, or a scores.csv; may be repeated",
    )


def run_history(given: argparse.Namespace) -> None:
    """Write the history of the chain, or of sweeps on its steps."""
    if given.sweep:
        _join(given)
    else:
        _chain(given)


def _chain(given: argparse.Namespace) -> None:
    from speedrun import registry
    from speedrun.stages import history

    root, track = given.repository, given.repository / "tracks" / given.track
    labels, template = track / "classification", root / "docs" / history.PAGE
    found = history.load(registry.load(track / "registry.yaml"), labels)
    if given.docs:
        written = history.write(found, template, root / "hints" / given.track, root / "docs")
        print(f"{root / 'docs'}: {len(written)} files")
        return
    out = given.out or Path("results/history") / given.track
    with recorded("history", out / "history.record.json") as record:
        hints = root / "hints" / given.track
        written = history.write(found, template, hints, out, out / "tables")
        record.params = {"track": given.track, "steps": len(found.steps)}
        record.read(track / "registry.yaml", *sorted(labels.iterdir()), template)
        record.artifacts = sorted(str(one.relative_to(out)) for one in written)
    print(f"{out}: {len(written)} files")


def _join(given: argparse.Namespace) -> None:
    from speedrun.stages.history import join

    out = given.out or Path("results/history") / f"{given.track}_sweeps"
    facts = join.facts(given.repository, given.track)
    with recorded("history", out / "join.history.record.json") as record:
        written, read = join.write(facts, given.sweep, out)
        record.params = {"track": given.track, "sweeps": [str(one) for one in given.sweep]}
        record.read(*read)
        record.artifacts = sorted(one.name for one in written)
    suspects = join.suspects(out)
    print(*suspects, f"{out}: {', '.join(one.name for one in written)}", sep="\n")
