"""The verb references: which tasks can be measured on this hardware, and freezing that list."""

from __future__ import annotations

import argparse
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from speedrun import plan, schema, specs
from speedrun.cli import options
from speedrun.cli.options import path, required

if TYPE_CHECKING:
    from speedrun.measurable import Entry
    from speedrun.stages.references import Pair


def add_verbs(verbs: Any) -> None:
    """Declare this module's verb."""
    parser = options.verb(
        verbs, "references", run_references, "which tasks can be measured on this hardware"
    )
    required(parser, track=(str, "the track"), hardware=(str, "the profile in config/hardware"))
    parser.add_argument(
        "--sweep", default="quickstart", help="whose settings and audit rounds are used"
    )
    parser.add_argument(
        "--override", action="append", default=[], metavar="KEY=VALUE", help="as the sweep had it"
    )
    parser.add_argument("--freeze", action="store_true", help="write the list that sweeps obey")
    parser.add_argument("--fresh", action="store_true", help="with --freeze: replace a frozen list")
    parser.add_argument("--repository", type=path, default=Path(), help="its root")


def run_references(given: argparse.Namespace) -> None:
    """Print the tasks with their figures; with --freeze, write the answers.

    Reads the reference runs that lie below results/ in the working directory.
    """
    from speedrun import measurable
    from speedrun.adapters import sweep
    from speedrun.stages import references

    chosen = [f"track={given.track}", f"hardware={given.hardware}", "tasks=all", *given.override]
    config = sweep.load(given.repository / "config", given.sweep, chosen)
    target = measurable.frozen_path(given.repository / "tracks", given.track, given.hardware)
    if given.freeze:
        references.refuse(target, fresh=given.fresh)
    pairs = [_pair(config, task) for task in plan.tasks(config)]
    track = schema.from_dict(schema.TrackSpec, specs.track(config))
    entries = [references.examine(track, one, config["references"]["p_max"]) for one in pairs]
    print(table(entries, config["not_run"]))
    if not given.freeze:
        print(f"frozen list: {target if target.is_file() else 'none; --freeze writes it'}")
        return
    today = datetime.now(UTC).date().isoformat()
    frozen = measurable.Frozen(given.track, given.hardware, _machine(pairs), today, entries)
    kept = references.freeze(target, frozen, fresh=given.fresh)
    print(f"frozen: {len(kept.tasks)} of {len(entries)} tasks in {target}")


def _machine(pairs: list[Pair]) -> str:
    """Return the cards that the references ran on, or this machine's processor where none did."""
    from speedrun.cli.measure import machine
    from speedrun.stages import references

    return ", ".join(references.graphics(pairs)) or machine()


def _pair(config: dict[str, Any], task: plan.Task) -> Pair:
    from speedrun.stages.references import Pair

    folders = {
        record: str(Path(found[0]).parent)
        for record, found in plan.references(config, task).items()
    }
    audit = Path(plan.RESULTS, config["name"], "audit", config["track"]["name"])
    return Pair(task.name, task.start, task.target, folders, audit / f"{task.name}.json")


def table(entries: list[Entry], not_run: list[dict[str, str]]) -> str:
    """Return the tasks as aligned text, times in seconds, and their count by answer."""
    import pandas as pd

    frame = pd.DataFrame([_row(entry) for entry in entries])
    text = frame.to_string(index=False, na_rep="-", float_format=lambda value: f"{value:.4g}")
    words = [entry.finding.word for entry in entries]
    counts = ", ".join(f"{word} {words.count(word)}" for word in ("true", "false", "unknown"))
    lines = [text, "", f"{len(entries)} tasks; measurable: {counts}"]
    return "\n".join(lines + [f"not run: {one['task']}: {one['reason']}" for one in not_run])


def _row(entry: Entry) -> dict[str, Any]:
    found = entry.finding
    sides = {"start": found.start, "target": found.target}
    figures = {
        f"{name}_{key}": getattr(side, key) if side else None
        for name, side in sides.items()
        for key in ("n", "mean", "sd")
    }
    row = {"task": entry.task, "measurable": found.word, **figures}
    return row | {"ratio": found.ratio, "p": found.p, "tested": found.data}
