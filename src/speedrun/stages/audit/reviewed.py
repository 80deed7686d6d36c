"""The review's product as an audit reads it: violations, and flags that wait for a person.

A person's decisions on flags of the audit's own checks stand among the others, under the rule
"audit" and the flag's key, in ``decisions`` of the trial's entry.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from speedrun import files
from speedrun.files import SpeedrunError
from speedrun.unseen import Check
from speedrun.verdict import AUDIT


@dataclass(frozen=True)
class Review:
    """What the rules found in one trial's winner; sentences, each with its file and line."""

    path: Path
    trial: str
    winner: int | None
    violations: list[str]
    held: list[str]
    evidence: list[str]
    decisions: Mapping[str, Mapping[str, str]]  # on the audit's flags, by key
    digest: str = ""

    def check_winner(self, node: int, digest: str) -> None:
        """Raise SpeedrunError unless the review is of this node's code."""
        if self.winner != node or self.digest not in ("", digest):
            raise SpeedrunError(
                f"{self.path} reviewed node {self.winner} of {self.trial} as it was, the winner is "
                f"node {node} as it is: delete it and run again"
            )


def read(path: Path | None) -> dict[str, Review]:
    """Return the reviews of a task's trials by label; without a product there are none."""
    if path is None:
        return {}
    try:
        return {one["trial"]: _review(path, one) for one in files.read_json(path)["trials"]}
    except (KeyError, TypeError) as error:
        raise SpeedrunError(f"{path} is no review ({error!r}): delete it, run again") from error


def _review(path: Path, one: dict[str, Any]) -> Review:
    violations, held = ([str(said) for said in _list(one[key])] for key in ("violations", "held"))
    record = one.get("same_as", "")
    fine = "the code shows no open flag of the track's rules"
    if record:
        fine = f"the code is the {record} record's, byte for byte: the rules were not applied to it"
    made = [row for row in _list(one.get("decisions", [])) if row["rule"] == AUDIT]
    return Review(
        path=path,
        trial=one["trial"],
        winner=one["winner"],
        violations=violations,
        held=held,
        evidence=[] if violations or held else [fine],
        decisions={row["key"]: row for row in made},
        digest=one.get("solution_digest", ""),
    )


def _list(value: Any) -> list[Any]:
    if not isinstance(value, list):
        raise TypeError(f"{value!r} is no list")
    return value


def settled(check: Check, review: Review | None) -> dict[str, Any]:
    """Return a check as JSON values after a person's decisions on its flags."""
    check.settle(review.decisions if review else {})
    return check.to_json()
