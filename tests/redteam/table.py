"""The tables: attack, who caught it and with what; honest variants; a track without probes."""

from __future__ import annotations

from typing import Any

from speedrun import rules
from speedrun.schema import Analysis, Outcome

from .play import Game, Played, contained

REASON_CHARS = 150
# By words of the reason: which part of the harness it was that spoke of a run.
SPEAKERS = (
    ("clock", ("train_time", "last protocol line", "steps do not increase")),
    ("probes", ("logits", "probe")),
    ("caps", ("killed",)),
    ("log", ("val_loss", "protocol", "ended at step")),
)


def by_run(one: Played) -> str:
    """Return which part of the run and its analysis stopped an attack, "" for none."""
    analysis = one.searched.bare
    if analysis.outcome == Outcome.OK:
        return "sandbox" if contained(one) else ""
    return _speaker(analysis)


def _speaker(analysis: Analysis) -> str:
    found = (name for name, words in SPEAKERS if any(word in analysis.reason for word in words))
    return next(found, "sandbox")


def by_rules(findings: list[dict[str, Any]], severity: str, state: str | None = None) -> list[str]:
    """Return the ids of the rules with a finding of that severity and state, each once."""
    return list(
        dict.fromkeys(
            one["rule"]
            for one in findings
            if one["severity"] == severity and (state is None or one["state"] == state)
        )
    )


def by_audit(entry: dict[str, Any] | None) -> str:
    """Return the verdict of an audit that did not confirm, "" for one that did or for none."""
    return "" if entry is None or entry["verdict"] == "confirmed" else str(entry["verdict"])


def layers(one: Played) -> list[str]:
    """Return every layer that stops the attack by itself."""
    violations = by_rules(one.findings, rules.VIOLATION)
    held = by_rules(one.findings, rules.REVIEW, "open")
    run, audit = by_run(one), by_audit(one.audit)
    return [
        *([f"rules ({', '.join(violations)})"] if violations else []),
        *([f"run ({run})"] if run else []),
        *([f"review ({', '.join(held)})"] if held else []),
        *([f"audit ({audit})"] if audit else []),
    ]


def caught(one: Played) -> bool:
    """Whether the attack's number does not stand at the end of the real path."""
    if one.searched.full.outcome != Outcome.OK:
        return True
    return contained(one) or bool(by_audit(one.final))


def evidence(one: Played) -> str:
    """Return the sentence that the system itself gives."""
    if one.searched.bare.outcome != Outcome.OK:
        return one.searched.bare.reason
    if one.audit and by_audit(one.audit):
        return str(one.audit["evidence"][0])
    if by_run(one) == "sandbox":
        return "it looked, and says that it got nothing; its number is an honest one"
    if one.searched.full.outcome != Outcome.OK:
        return one.searched.full.reason
    return str(one.final["evidence"][0]) if one.final else ""


def attacks(game: Game) -> list[list[str]]:
    """Return a row an attack: name, class, layers, whether only one, evidence."""
    rows = []
    for one in (one for one in game.played if one.candidate.kind != "honest"):
        found = layers(one)
        word = "; ".join(found) if caught(one) else "**NOT CAUGHT**"
        only = "yes" if len(found) == 1 else ""
        rows.append([one.candidate.name, one.candidate.kind, word, only, _short(evidence(one))])
    return rows


def alone(game: Game) -> list[str]:
    """Return, for each layer, the attacks that no other layer sees."""
    found: dict[str, list[str]] = {}
    for one in (one for one in game.played if one.candidate.kind != "honest" and caught(one)):
        words = layers(one)
        if len(words) == 1:
            found.setdefault(words[0].split(" ")[0], []).append(one.candidate.name)
    return [f"Only the {name} sees {', '.join(names)}." for name, names in sorted(found.items())]


def honest(game: Game) -> list[list[str]]:
    """Return a row an honest variant: name, verdict, flags, evidence."""
    rows = []
    for one in (one for one in game.played if one.candidate.kind == "honest"):
        word = str(one.final["verdict"]) if one.final else str(one.searched.full.outcome)
        flags = by_rules(one.findings, rules.REVIEW) + by_rules(one.findings, rules.VIOLATION)
        why = one.final["evidence"][0] if one.final else one.searched.full.reason
        rows.append([one.candidate.name, one.candidate.track, word, ", ".join(flags), _short(why)])
    return rows


FAILED = ("failed", "review", "rule_violation", "candidate_error", "timeout", "oom")


def missed(game: Game) -> list[str]:
    """Return the attacks that nothing caught."""
    return [o.candidate.name for o in game.played if o.candidate.kind != "honest" and not caught(o)]


def false_alarms(game: Game) -> list[str]:
    """Return the honest variants that a check failed or held up."""
    return [row[0] for row in honest(game) if row[2] in FAILED]


def unprobed(game: Game) -> list[list[str]]:
    """Return a row an attack on a track without probes: what a machine says, what is flagged."""
    rows = []
    for one in (o for o in game.played if o.candidate.kind != "honest"):
        if one.candidate.track != "nano" or one.candidate.loot:
            continue
        analysis = one.searched.unprobed
        stopped = "" if analysis.outcome == Outcome.OK else f"run ({_speaker(analysis)})"
        violations = by_rules(one.open_findings, rules.VIOLATION)
        audit, held = by_audit(one.unprobed), by_rules(one.open_findings, rules.REVIEW, "open")
        machine = [
            *([f"rules ({', '.join(violations)})"] if violations else []),
            *([stopped] if stopped else []),
            *([f"audit ({audit})"] if audit else []),
        ]
        said = analysis.reason or (one.unprobed["evidence"][0] if audit and one.unprobed else "")
        word = "; ".join(machine) or ("only a person, after a flag" if held else "**NOTHING**")
        rows.append([one.candidate.name, one.candidate.kind, word, ", ".join(held), _short(said)])
    return rows


def markdown(head: list[str], rows: list[list[str]]) -> str:
    """Return a table as Markdown."""
    lines = [head, ["-"] * len(head), *rows]
    return "\n".join(
        "| " + " | ".join(cell.replace("|", "/") for cell in row) + " |" for row in lines
    )


def _short(text: str) -> str:
    text = " ".join(str(text).split())
    return text if len(text) <= REASON_CHARS else text[: REASON_CHARS - 1] + "…"


def report(game: Game, seconds: float) -> str:
    """Return all tables and the counts as Markdown."""
    bad, good = attacks(game), honest(game)
    verdicts = [row[2] for row in good]
    counts = ", ".join(f"{verdicts.count(word)} {word}" for word in dict.fromkeys(verdicts))
    parts = [
        markdown(["attack", "class", "caught by, each layer alone", "only one", "evidence"], bad),
        f"{len(bad)} attacks, {len(missed(game))} not caught: {', '.join(missed(game)) or 'none'}.",
        markdown(["honest variant", "track", "verdict", "flags of the rules", "evidence"], good),
        f"{len(good)} honest variants ({counts}); failed or held up: "
        f"{', '.join(false_alarms(game)) or 'none'}.",
    ]
    if any(one.unprobed for one in game.played):
        head = ["attack", "class", "without probes: caught by", "flags for a person", "evidence"]
        parts += ["On a track without probes (nano, its targets not used):"]
        parts += [markdown(head, unprobed(game))]
    parts += alone(game)
    left = "; ".join(game.changed) or "nothing: records, shards, tasks, solutions, processes"
    return "\n\n".join([*parts, f"Changed or left behind: {left}. {seconds:.0f} s."]) + "\n"
