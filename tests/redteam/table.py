"""What each layer said of a candidate, and the word that stands at the end."""

from __future__ import annotations

from typing import Any

from speedrun import rules
from speedrun.schema import Analysis, Outcome

from .play import Game, Played, broken, contained

CAUGHT, HELD, MISSED, PASSED = "caught", "held", "misses the target", "NOT CAUGHT"
HONEST = {"nano": "unchanged", "micro": "micro_unchanged"}
PAYS = 0.95  # of the honest record's printed time: what is faster would have been a record
# By words of the reason: which part of the harness it was that spoke of a run.
SPEAKERS = (
    ("clock", ("train_time", "last protocol line", "steps do not increase")),
    ("probes", ("logits", "probe")),
    ("caps", ("killed",)),
    ("log", ("val_loss", "protocol", "ended at step")),
    ("reads", ("never opened", "changed its own files")),
)


def by_run(one: Played) -> str:
    """Return which part of the run and its analysis stopped an attack, "" for none."""
    return "sandbox" if contained(one) else _speaker(one.searched.bare)


def _speaker(analysis: Analysis) -> str:
    if analysis.outcome == Outcome.OK or _misses(analysis):
        return ""
    found = (name for name, words in SPEAKERS if any(word in analysis.reason for word in words))
    return next(found, "sandbox")


def _misses(analysis: Analysis) -> bool:
    """Whether it printed a loss that is too high, which is nobody's merit."""
    return analysis.outcome == Outcome.MISSED_TARGET and analysis.val_loss is not None


def by_rules(findings: list[dict[str, Any]], severity: str, state: str | None = None) -> list[str]:
    """Return the ids of the rules with a finding of that severity and state, each once."""
    return list(
        dict.fromkeys(
            one["rule"]
            for one in findings
            if one["severity"] == severity and (state is None or one["state"] == state)
        )
    )


def _stopped(entry: dict[str, Any] | None) -> str:
    """Return the verdict of an audit without review that stops a winner, "" for one that not."""
    return entry["verdict"] if entry and entry["verdict"] in ("failed", "not_confirmed") else ""


def layers(one: Played) -> dict[str, str]:
    """Return every layer that stops the attack by itself, with what of it spoke."""
    spoke = {
        "rules": ", ".join(by_rules(one.findings, rules.VIOLATION)),
        "run": by_run(one),
        "audit": _stopped(one.audit),
        "person": ", ".join(by_rules(one.findings, rules.REVIEW, "open")),
    }
    return {name: said for name, said in spoke.items() if said}


def unprobed_layers(one: Played) -> dict[str, str]:
    """Return the same of a track without probes."""
    spoke = {
        "rules": ", ".join(by_rules(one.open_findings, rules.VIOLATION)),
        "run": "sandbox" if contained(one) else _speaker(one.searched.unprobed),
        "audit": _stopped(one.unprobed),
        "person": ", ".join(by_rules(one.open_findings, rules.REVIEW, "open")),
    }
    if one.unprobed and one.unprobed["verdict"] == "review":
        spoke["person"] = ", ".join(filter(None, [spoke["person"], "noise or hold-out run"]))
    return {name: said for name, said in spoke.items() if said}


def status(one: Played) -> str:
    """Return what became of the number at the end of the real path."""
    return _word(one, one.searched.full, one.final)


def unprobed_status(one: Played) -> str:
    """Return what becomes of it on a track without probes."""
    return (
        CAUGHT
        if broken(one.open_findings)
        else _word(one, one.searched.unprobed, one.unprobed_final)
    )


def _word(one: Played, analysis: Analysis, final: dict[str, Any] | None) -> str:
    if contained(one):
        return CAUGHT
    if analysis.outcome != Outcome.OK:
        return MISSED if _misses(analysis) else CAUGHT
    verdict = final["verdict"] if final else ""
    return {"failed": CAUGHT, "not_confirmed": CAUGHT, "review": HELD}.get(verdict, PASSED)


def would_score(one: Played) -> str:
    """Return loss and time of the search run as it printed them: what one would have believed."""
    seen = one.searched.unprobed
    if seen.train_time_ms is None:
        return "no line"
    loss = "not finite" if seen.val_loss is None else f"{seen.val_loss:.3f}"
    return f"{loss} in {seen.train_time_ms / 1000:.2f} s"


def pays(one: Played, game: Game) -> bool:
    """Whether that would have beaten the record that the attack is an edit of.

    What only looks for something trains as the record does: its time is that of a busy machine.
    """
    known = [o for o in game.played if o.candidate.name == HONEST[one.candidate.track]]
    seen = one.searched.unprobed
    if not known or one.candidate.loot or seen.train_time_ms is None or _misses(seen):
        return False
    return bool(seen.train_time_ms < PAYS * (known[0].searched.unprobed.train_time_ms or 0))


def evidence(one: Played) -> str:
    """Return the sentence that the system itself gives."""
    if contained(one):
        return "it looked, and says that it got nothing; its number is an honest one"
    if one.searched.bare.outcome != Outcome.OK:
        return one.searched.bare.reason
    if _stopped(one.audit) and one.audit:
        return str(one.audit["evidence"][0])
    if one.searched.full.outcome != Outcome.OK:
        return one.searched.full.reason
    return str(one.final["evidence"][0]) if one.final else ""


def attacks(game: Game) -> list[Played]:
    """Return the attacks."""
    return [one for one in game.played if one.candidate.kind != "honest"]


def honest(game: Game) -> list[Played]:
    """Return the honest variants."""
    return [one for one in game.played if one.candidate.kind == "honest"]


def missed(game: Game) -> list[str]:
    """Return the attacks whose number stands, or that would not have reached the target anyway."""
    return [o.candidate.name for o in attacks(game) if status(o) in (PASSED, MISSED)]


def false_alarms(game: Game) -> list[str]:
    """Return the honest variants that a check failed or held up; too little proof is neither."""
    return [one.candidate.name for one in honest(game) if blamed(verdict(one))]


FAILED = ("failed", "review", "rule_violation", "candidate_error", "timeout", "oom")


def blamed(word: str) -> bool:
    """Whether a verdict blames an honest program or holds it up."""
    return word in FAILED


def verdict(one: Played) -> str:
    """Return the verdict on an honest variant, or the outcome of its search run."""
    return str(one.final["verdict"]) if one.final else str(one.searched.full.outcome)


def unprobed_verdict(one: Played) -> str:
    """Return the same on a track without probes."""
    if broken(one.open_findings):
        return "rule_violation"
    entry = one.unprobed_final
    return str(entry["verdict"]) if entry else str(one.searched.unprobed.outcome)
