"""rules: what a candidate's code does that its start record's does not, and that no rule allows.

Every check compares facts of the two sources, so that what the start already does is never held
against its successor, and what the human target does too is never held against an agent. The
candidate is parsed, never run. Pure: standard library, no state.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from speedrun.rules.catalogue import REVIEW, RULES, VIOLATION, Finding, Rule
from speedrun.rules.launch import examine

__all__ = ["REVIEW", "RULES", "VIOLATION", "Finding", "Rule", "check"]


def check(
    solution: Path,
    start: Path,
    entry: str,
    enabled: Sequence[str],
    target: Path | None = None,
    target_loss: float | None = None,
    own: Path | None = None,
) -> list[Finding]:
    """Return what in ``solution`` is new against ``start`` and breaks an enabled rule, or may.

    ``entry`` is the file that is run. A finding that the human ``target`` has as well is dropped.
    ``target_loss`` (nats per token) lets the rule ``target`` see constants near it. ``own`` is what
    a cumulative trial starts from: a violation that it has as well is a flag, since it was held to
    the rules as a winner of the task before, whose record may do what ``start`` no longer does.
    Never raises for what a candidate's files hold: what cannot be read is a finding
    ``unreadable``.
    """
    return examine(
        {
            "solution": str(solution.absolute()),
            "start": str(start.absolute()),
            "target": str(target.absolute()) if target else None,
            "own": str(own.absolute()) if own else None,
            "entry": entry,
            "enabled": [rule for rule in enabled if rule in RULES],
            "target_loss": target_loss,
        }
    )
