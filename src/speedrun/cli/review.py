"""The verb review: what the rules find in a sweep's winners, or in any folder by hand."""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from speedrun import files, schema, specs, trials
from speedrun.cli import options
from speedrun.cli.options import json_value, path
from speedrun.cli.provenance import recorded
from speedrun.cli.sweep import product_record

if TYPE_CHECKING:
    from speedrun.stages.review import Reviewer
    from speedrun.stages.review.decisions import Decision

STORE = Path("store")
HELP = "what the rules find in each winner, or in any folder (--solution)"
KEYS = "as the table shows it; audit:KEY of a flag of the audit, as its product names it"
COLUMNS = ("state", "rule", "place", "key", "what")
BY_HAND = ("accept", "reject")


def add_verbs(verbs: Any) -> None:
    """Declare this module's verb."""
    parser = options.verb(verbs, "review", run_review, HELP)
    parser.add_argument("--task", required=True, help="the task's name, e.g. r07-r08")
    parser.add_argument("--reviews", type=path, default=path("reviews"), help="people's decisions")
    stage = parser.add_argument_group("the stage")
    stage.add_argument("--plan", type=path, help="plan.json, or the stage's slice of it")
    stage.add_argument("--out", type=path, help="the product, results/SWEEP/review/TRACK/TASK.json")
    stage.add_argument("--operation", type=json_value, default={}, help=options.OPERATION)
    hand = parser.add_argument_group("by hand")
    hand.add_argument("--solution", type=path, help="any folder of source, with the entry file")
    hand.add_argument("--track", default="micro", help="micro if absent")
    hand.add_argument("--tasks", type=path, default=path("results/tasks"), help="where tasks lie")
    hand.add_argument("--repository", type=path, default=path(""), help="where config/ lies")
    for word in BY_HAND:
        hand.add_argument(f"--{word}", action="append", default=[], metavar="RULE:KEY", help=KEYS)
    hand.add_argument("--by", default="", help="who decides; with --accept or --reject")
    hand.add_argument("--reason", default="", help="why; with --accept or --reject")


def run_review(given: argparse.Namespace) -> None:
    """Review a sweep's winners of a task, or the folder that --solution names."""
    if given.solution:
        by_hand(given)
    elif given.plan and given.out:
        of_sweep(given)
    else:
        raise files.SpeedrunError("give --plan and --out, or the folder to review as --solution")


def of_sweep(given: argparse.Namespace) -> None:
    """Write the review of every winner of the task."""
    from speedrun.stages import review

    plan = trials.load(given.plan)
    reviews = given.reviews / plan.track.name
    with recorded("review", product_record("review", given.out)) as record:
        reviewer = make_reviewer(plan, given.operation, given.task)
        result = review.review_task(plan, given.task, reviews, reviewer, given.out)
        record.params = {"task": given.task, "reviewer": reviewer.model if reviewer else "none"}
        record.read(given.plan, *sorted(reviews.glob("*.yaml")))
        record.artifacts = [given.out.name]
        for entry in result["trials"]:
            name = f"{entry['arm']}.s{entry['seed']}"
            record.measured(**{f"{name}.{key}": len(entry[key]) for key in ("violations", "held")})


def make_reviewer(
    plan: trials.Plan, operation: dict[str, Any], task: str, store: Path = STORE
) -> Reviewer | None:
    """Return the model that audit.reviewer names; what it spends counts for the sweep alone."""
    config = plan.review.get("reviewer")
    if not config:
        return None
    from speedrun.adapters import models
    from speedrun.stages import review

    budget = {"sweep": operation.get("budget", {}).get("sweep")}
    owner = f"review/{plan.track.name}/{task}"
    model = models.open_model(config, {**operation, "budget": budget}, owner, store)
    key = models.CallKey(0, 0, 0, "review")
    return review.Reviewer(
        str(config["model"]),
        lambda prompt: model.ask([{"role": "user", "content": prompt}], key),
    )


def by_hand(given: argparse.Namespace) -> None:
    """Print what the rules find in a folder, after writing down what a person decides of it."""
    from speedrun.stages import review
    from speedrun.stages.review import decisions

    track, task = _track(given), given.tasks / given.track / given.task
    _check(given, track, task)
    place = decisions.path(given.reviews / track.name, given.solution)
    own = trials.own_code(given.solution.absolute().parent.parent / trials.START)
    found = review.examine(given.solution, task, track, place.parent, own)
    made = list(_decisions(given, found))
    if made:
        decisions.write(place, made)
        found = review.examine(given.solution, task, track, place.parent, own)
    options.show("\n".join(table(found)))
    if any(one["state"] == "open" and one["severity"] == "review" for one in found):
        options.show("an open flag waits: --accept or --reject 'RULE:KEY' --by NAME --reason TEXT")
    said = f"decisions on this code: {place}"
    options.show(said if place.is_file() else f"no decision on this code yet ({place})")


def _track(given: argparse.Namespace) -> schema.TrackSpec:
    """Return the track as its configuration has it; its records do not matter here."""
    from speedrun.adapters import hydra_config

    folder = given.repository / "config"
    if not folder.is_dir():
        raise files.SpeedrunError(f"no folder {folder}: go there, or give --repository")
    config = hydra_config.load(folder, "quickstart", [f"track={given.track}"])
    return schema.from_dict(schema.TrackSpec, {"records": [], **specs.track(config)})


def _check(given: argparse.Namespace, track: schema.TrackSpec, task: Path) -> None:
    if not (task / "public" / "start").is_dir():
        raise files.SpeedrunError(
            f"{task} is missing: run `snakemake -c1 {task}/task.record.json --config "
            "sweep=SWEEP`, with a sweep that has this task"
        )
    if not (given.solution / track.entry).is_file():
        raise files.SpeedrunError(f"{given.solution} holds no {track.entry}: name its folder")
    if any(getattr(given, word) for word in BY_HAND) and not (given.by and given.reason):
        raise files.SpeedrunError("a decision needs --by NAME and --reason TEXT")


def _decisions(given: argparse.Namespace, found: Sequence[dict[str, Any]]) -> Iterator[Decision]:
    """Yield the decisions that were asked for, each about a finding that is there."""
    from speedrun.stages.review import ACCEPTED, REJECTED
    from speedrun.stages.review.decisions import Decision
    from speedrun.verdict import AUDIT  # needs numpy: `speedrun train` must start without it

    asked = [(one, ACCEPTED) for one in given.accept] + [(one, REJECTED) for one in given.reject]
    flags = [one for one in found if one["severity"] == "review"]
    for word, decision in asked:
        rule, _, key = word.partition(":")
        if rule == AUDIT:
            _check_audit(word, key)
        elif not any((one["rule"], one["key"]) == (rule, key) for one in flags):
            known = ", ".join(sorted({f"{one['rule']}:{one['key']}" for one in flags})) or "none"
            raise files.SpeedrunError(
                f"no flag {word!r} here to decide on: there is {known}; a violation is no flag, "
                "the track's `rules` decide what is one"
            )
        yield Decision(rule, key, decision, given.by, given.reason)


def _check_audit(word: str, key: str) -> None:
    """Refuse a key that no check of the audit has; whether it raised the flag only it can tell."""
    from speedrun import verdict

    if key not in verdict.FLAGS:
        known = ", ".join(f"{verdict.AUDIT}:{one}" for one in verdict.FLAGS)
        raise files.SpeedrunError(f"no flag {word!r} of the audit to decide on: there is {known}")


def table(found: Sequence[dict[str, Any]]) -> Iterator[str]:
    """Yield the findings as aligned lines, violations first."""
    if not found:
        yield "nothing is new against the start that a rule speaks of"
        return
    rows = [_row(one) for one in found]
    widths = [max(map(len, column)) for column in zip(COLUMNS, *rows, strict=True)]
    for row in (COLUMNS, *rows):
        yield "  ".join(map(str.ljust, row, widths)).rstrip()


def _row(entry: dict[str, Any]) -> tuple[str, ...]:
    state = entry["severity"] if entry["severity"] == "violation" else entry["state"]
    said = f" [{entry['by']}: {entry['why']}]" if entry["by"] else ""
    place = f"{entry['file']}:{entry['line']}" if entry["line"] else entry["file"]
    return state, entry["rule"], place, entry["key"], entry["what"] + said
