"""What a person decided of a solution's flags: reviews/<track>/<solution digest>.yaml.

::

    decisions:
      - {rule: evaluation, key: "loss of validate", decision: accepted, by: NAME, why: "a refactor"}

A decision is about one solution, byte for byte: any other code is looked at anew. Under the rule
"audit" it is about a flag of the audit's own checks, whose keys are verdict.FLAGS.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from speedrun import files
from speedrun.verdict import AUDIT

ACCEPTED, REJECTED = "accepted", "rejected"


@dataclass(frozen=True)
class Decision:
    """A person's word on the findings of one rule with one key."""

    rule: str
    key: str
    decision: str  # ACCEPTED | REJECTED
    by: str
    why: str


def path(reviews: Path, solution: Path) -> Path:
    """Return where the decisions on a solution lie in the track's folder."""
    return reviews / f"{files.digest_tree(solution)}.yaml"


def read(path: Path) -> list[Decision]:
    """Return the decisions, none without a file. Errors: SpeedrunError for a malformed one."""
    import yaml

    if not path.is_file():
        return []
    try:
        rows = yaml.safe_load(path.read_text(encoding="utf-8"))["decisions"]
        return [_decision(row) for row in rows]
    except (OSError, yaml.YAMLError, UnicodeDecodeError, KeyError, TypeError, ValueError) as error:
        raise files.SpeedrunError(
            f"{path}: not decisions ({error!r}): give decisions, each {{rule, key, decision: "
            f"{ACCEPTED} or {REJECTED}, by, why}}"
        ) from error


def on_audit(path: Path) -> list[dict[str, str]]:
    """Return the decisions on flags of the audit's own checks, which no finding of a rule has."""
    return [asdict(one) for one in read(path) if one.rule == AUDIT]


def _decision(row: Any) -> Decision:
    names = {one.name for one in fields(Decision)}
    if set(row) != names or not all(isinstance(row[name], str) and row[name] for name in names):
        raise ValueError(f"{row!r:.200} has not the text of {', '.join(sorted(names))}")
    if row["decision"] not in (ACCEPTED, REJECTED):
        raise ValueError(f"decision {row['decision']!r:.40}")
    return Decision(**row)


def write(path: Path, made: Sequence[Decision]) -> None:
    """Add decisions to a solution's file; an earlier one on the same finding makes way."""
    import yaml

    new = {(one.rule, one.key) for one in made}
    kept = [one for one in read(path) if (one.rule, one.key) not in new]
    rows = [asdict(one) for one in (*kept, *made)]
    text = yaml.safe_dump({"decisions": rows}, sort_keys=False, allow_unicode=True, width=120)
    files.write_text(path, text)
