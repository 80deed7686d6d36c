"""How a duel's code is held to the rules: what is new in B, and what its runs were seen to do."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING, Any

from speedrun import rules, schema
from speedrun.interleave import Run

if TYPE_CHECKING:
    from speedrun.stages.duel import Side


def decisions_path(repository: Path, track: str, side: Side) -> Path:
    """Return where people's decisions on the flags of one side's code lie."""
    from speedrun.stages.review import decisions

    return decisions.path(repository / "reviews" / track, side.solution)


def findings(a: Side, b: Side, track: schema.TrackSpec, decided: Path) -> list[dict[str, Any]]:
    """Return what is new in B against A and breaks a rule, or may, with what people decided of it.

    Of a record of the track it is known: people accepted it.
    """
    from speedrun.stages import review
    from speedrun.stages.review import decisions

    enabled, loss = track.rules, track.target_loss
    found = rules.check(b.solution, a.solution, track.entry, enabled, target_loss=loss)
    if b.trusted:
        word = decisions.ACCEPTED, "the track", "a record of it"
        made = [decisions.Decision(one.rule, one.key, *word) for one in found]
    else:
        made = decisions.read(decided)
    return [review.stated(one, track, made) for one in found]


def audit_decisions(side: Side, decided: Path) -> list[dict[str, str]]:
    """Return what people decided of the flags that running B may raise; a record has none open."""
    from speedrun import verdict  # numpy: `speedrun train` must start without it
    from speedrun.stages.review import decisions

    if not side.trusted:
        return decisions.on_audit(decided)
    word = {"decision": decisions.ACCEPTED, "by": "the track", "why": "a record of it"}
    return [{"rule": verdict.AUDIT, "key": key, **word} for key in verdict.FLAGS]


@dataclasses.dataclass(frozen=True)
class Watched:
    """A bench whose runs are also held to what the harness saw of their files.

    The reason of a crash gets the exception's line: a duel's table shows no digest of the run.
    """

    bench: Run
    track: schema.TrackSpec

    def run(
        self, solution: Path, entry: str, out: Path, seed: int, cpu: int | None
    ) -> tuple[schema.RunExit, schema.Analysis]:
        """Train and analyse once, as the bench does."""
        from speedrun.stages.analyze import conduct

        ended, found = self.bench(solution, entry, out, seed, cpu)
        said = conduct.observed(self.track, ended)
        if said and found.outcome in (schema.Outcome.OK, schema.Outcome.MISSED_TARGET):
            broken, reason = schema.Outcome.RULE_VIOLATION, "; ".join(said)
            return ended, dataclasses.replace(found, outcome=broken, reason=reason)
        if ended.exit_code and found.outcome == schema.Outcome.CANDIDATE_ERROR:
            reason = ": ".join([found.reason, *_last_words(out / "run")])
            found = dataclasses.replace(found, reason=reason)
        return ended, found


def _last_words(run: Path) -> list[str]:
    """Return the one line that says most of why a run died: its exception or its last output."""
    from speedrun.stages.analyze import error_lines

    lines = error_lines(run)
    raised = [line.removeprefix("error: ") for line in lines[:1] if line.startswith("error")]
    return raised or [line.strip() for line in lines[-1:]]
