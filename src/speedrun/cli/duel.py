"""The verb duel: is B faster than A, or at least no slower? One table and one verdict."""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from speedrun import files
from speedrun.cli import duel_rules, options, venue
from speedrun.cli.measure import STORE, Counted, machine
from speedrun.cli.options import path
from speedrun.cli.provenance import recorded
from speedrun.files import SpeedrunError

if TYPE_CHECKING:
    from speedrun.cli.venue import Venue
    from speedrun.interleave import Run
    from speedrun.stages.duel import Settings, Side

HELP = "time two solutions of a track in turn and say whether the second is faster"
EPILOG = """\
A and B are folders, or names of the track's records (a folder that is called so: ./r07).
Finished runs are kept in store/: a duel that was killed goes on where it stopped.

exit codes:"""
CODES = """
  0  as hoped: B is faster; with --no-worse: B is not slower by PERCENT or more
  1  the harness failed, the command line is wrong, or a record given as A failed
  2  not shown, or slower
  3  invalid: a run failed, B breaks a rule, misses the target loss or prints losses too low
  4  as hoped, but a flag in B's code waits for a person
"""
FOLDER = Path("results/duel")


def add_verbs(verbs: Any) -> None:
    """Declare this module's verb."""
    parser = options.verb(verbs, "duel", run_duel, HELP)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.epilog = EPILOG + CODES
    parser.add_argument("a", metavar="A", help="what is there: the start of the comparison")
    parser.add_argument("b", metavar="B", help="what wants to replace it")
    parser.add_argument("--out", type=path, help="folder of duel.json; else below results/duel")
    venue.add_options(parser)
    add_settings(parser)


def add_settings(parser: argparse.ArgumentParser) -> None:
    """Declare how a duel is run and judged."""
    parser.add_argument("--rounds", type=int, help="runs of each; docs/duel.md says how many")
    parser.add_argument("--lanes", type=int, help="rounds side by side, each on a core of its own")
    parser.add_argument(
        "--no-worse", type=float, metavar="PERCENT",
        help="for CI: show that B is not slower than A by PERCENT or more",
    )  # fmt: skip
    parser.add_argument("--p-max", type=float, default=0.05, help="of the time test")
    parser.add_argument("--fresh", action="store_true", help="time every run again")
    parser.add_argument("--json", action="store_true", help="print duel.json instead of the table")


def run_duel(given: argparse.Namespace) -> None:
    """Time both, print the table and leave with the verdict's code."""
    from speedrun.stages import duel

    place = venue.open_venue(given, [given.a, given.b])
    settings_of(given, place)  # a wrong value is said before minutes are spent
    place.require(("audit",))
    for name in (given.a, given.b):  # before minutes are spent on shards
        place.check(name)
    place.make([name for name in (given.a, given.b) if name in place.records])
    sides = _side(place, given.a), _side(place, given.b)
    result = fight(given, place, sides, given.out or _folder(given))
    options.show(json.dumps(result, indent=1) if given.json else duel.text(result))
    sys.exit(duel.EXIT_CODES[result["verdict"]])


def _folder(given: argparse.Namespace) -> Path:
    """Return where a duel's product lies: one folder for each pair of names."""
    names = [Path(name).name or "solution" for name in (given.a, given.b)]
    key = files.digest_value([given.track, given.a, given.b])[:6]
    return FOLDER / str(given.track) / f"{names[0]}-{names[1]}-{key}"


def _side(place: Venue, name: str) -> Side:
    from speedrun.stages.duel import Side

    source, record = place.source(name)
    solutions = FOLDER / place.track.name / "solutions"
    return Side(name, venue.freeze(source, solutions), trusted=record)


def fight(
    given: argparse.Namespace,
    place: Venue,
    sides: tuple[Side, Side],
    out: Path,
    around: Callable[[Run], Run] = lambda run: run,
) -> dict[str, Any]:
    """Run the duel of two frozen sides and write ``out``/duel.json and its record.

    ``around`` wraps each run, to account for it.
    """
    from speedrun.stages import duel

    track, settings, timed = place.track, settings_of(given, place), Counted(place.bench)
    decided = duel_rules.decisions_path(given.repository, track.name, sides[1])
    found = duel_rules.findings(*sides, track, decided)
    facts = {**_facts(place), "decisions": str(decided)}
    again = [time.time_ns()] if given.fresh else []
    key = files.digest_value([place.bench.digest, *again])
    run = duel_rules.Watched(timed.run, track).run
    with recorded("duel", out / "duel.record.json") as record:
        result = duel.duel(
            track,
            sides,
            around(run),
            STORE,
            out / "duel.json",
            settings,
            key,
            facts,
            found,
            _named,
            duel_rules.audit_decisions(sides[1], decided),
        )
        record.params = {"track": track.name, "verdict": result["verdict"], **_facts(place)}
        record.measured(ratio=(result["time"] or {}).get("ratio"))
        record.artifacts = ["duel.json"]
    if reused := len(result["runs"]) - len(timed.folders):
        say(f"{reused} finished runs were reused from {STORE}; --fresh times them again")
    _say_failures(timed.folders)
    return result


def _say_failures(folders: Sequence[Path]) -> None:
    """Name the output of the runs that failed: the table has no room for a traceback."""
    from speedrun import schema
    from speedrun.interleave import Timing

    kept = [folder for folder in folders if (folder.parent / "timing.json").is_file()]
    for folder in kept:
        if schema.load(Timing, folder.parent / "timing.json").failed:
            say(f"what a failed run printed: {folder / 'run' / 'log.jsonl'}")


def settings_of(given: argparse.Namespace, place: Venue) -> Settings:
    """Return how a duel is run and judged. Errors: SpeedrunError for a value out of range."""
    from speedrun.stages.duel import Settings

    audit, usual = place.config["audit"], Settings()
    for name, value in (("rounds", given.rounds), ("lanes", given.lanes)):
        if value is not None and value < 1:
            raise SpeedrunError(f"--{name} must be 1 or more, got {value}")
    if not 0 < given.p_max < 1 or (given.no_worse is not None and given.no_worse <= 0):
        raise SpeedrunError(
            "--p-max is a probability, --no-worse a percentage above 0; got "
            f"{given.p_max:g} and {given.no_worse}"
        )
    return Settings(
        rounds=given.rounds or usual.rounds,
        lanes=given.lanes or audit["lanes"],
        confidence=audit["confidence"],
        loss_p_max=audit["loss_p_max"],
        time_p_max=given.p_max,
        no_worse_percent=given.no_worse,
    )


def _facts(place: Venue) -> dict[str, Any]:
    """Return what the product says of the place and of how the code was run."""
    hardware = place.config["hardware"]
    return {
        "hardware": hardware["name"],
        "machine": machine(),
        "sandbox": hardware["sandbox"],
        "trainer": hardware["trainer"],
        "rules": list(place.track.rules),
    }


def say(line: str) -> None:
    """Print a line of progress."""
    print(line, file=sys.stderr, flush=True)


def _named(line: str) -> None:
    """Print a finished run with the names that the user knows."""
    say(line.replace(" start:", " A:").replace(" candidate:", " B:"))
