"""The tables as Markdown."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from . import table
from .candidate import NANO
from .play import Game, Played

EVIDENCE_CHARS = 200


def markdown(head: list[str], rows: list[list[str]]) -> str:
    """Return a table as Markdown."""
    lines = [head, ["-"] * len(head), *rows]
    return "\n".join(
        "| " + " | ".join(cell.replace("|", "/") for cell in row) + " |" for row in lines
    )


def _short(text: Any) -> str:
    text = " ".join(str(text).split())
    return text if len(text) <= EVIDENCE_CHARS else text[: EVIDENCE_CHARS - 1] + "…"


def _said(found: dict[str, str]) -> str:
    return "; ".join(f"{name} ({said})" for name, said in found.items()) or "-"


def _bold(word: str) -> str:
    return word if word in (table.CAUGHT, table.HELD, "confirmed") else f"**{word}**"


def _without(one: Played, tried: bool) -> str:
    if not tried or one.candidate.track != NANO:
        return ""
    if one.candidate.loot:
        return "as with"
    found = _said(table.unprobed_layers(one))
    return f"{_bold(table.unprobed_status(one))}: {found}"


def attacks(game: Game, unprobed: bool) -> str:
    """Return a row an attack: what it would have scored, what became of it, who speaks alone."""
    head = ["attack", "class", "would score", "end", "each layer alone", "without probes"]
    rows = [
        [
            one.candidate.name.replace("_", " "),
            one.candidate.kind,
            table.would_score(one) + (" ✓" if table.pays(one, game) else ""),
            _bold(table.status(one)),
            _said(table.layers(one)),
            _without(one, unprobed),
        ]
        for one in table.attacks(game)
    ]
    return markdown(head, rows)


def honest(game: Game, unprobed: bool) -> str:
    """Return a row an honest variant."""
    head = ["honest variant", "track", "verdict", "flags", "without probes", "evidence"]
    rows = []
    for one in table.honest(game):
        tried = unprobed and one.candidate.track == NANO
        word = _bold(table.unprobed_verdict(one)) if tried else ""
        flags = table.unprobed_layers(one) if tried else {}
        why = one.final["evidence"][0] if one.final else one.searched.full.reason
        if tried and table.unprobed_verdict(one) != "confirmed" and one.unprobed_final:
            why = one.unprobed_final["evidence"][0]
        rules = ", ".join(dict.fromkeys(finding["rule"] for finding in one.findings)) or "-"
        name, verdict = one.candidate.name.replace("_", " "), _bold(table.verdict(one))
        word += f": {_said(flags)}" if flags else ""
        rows.append([name, one.candidate.track, verdict, rules, word, _short(why)])
    return markdown(head, rows)


def evidence(game: Game) -> str:
    """Return the system's own sentence on each attack."""
    rows = [[one.candidate.name, _short(table.evidence(one))] for one in table.attacks(game)]
    return markdown(["attack", "evidence"], rows)


def _tally(
    bad: list[Played], status: Callable[[Played], str], layers: Callable[[Played], dict[str, str]]
) -> list[str]:
    ends = [status(one) for one in bad]
    words = (table.CAUGHT, table.HELD, table.MISSED, table.PASSED)
    counts = ", ".join(f"{ends.count(word)} {word}" for word in words)
    spoke = [layers(one) for one in bad]
    each = ", ".join(
        f"{name} {sum(name in found for found in spoke)}"
        for name in ("rules", "run", "audit", "person")
    )
    lines = [f"{len(bad)} attacks: {counts}. By layer, each alone: {each}."]
    for name in ("rules", "run", "audit", "person"):
        only = [
            one.candidate.name
            for one, found in zip(bad, spoke, strict=True)
            if set(found) == {name}
        ]
        if only:
            lines.append(f"Only the {name} sees {len(only)}: {', '.join(only)}.")
    for word in (table.PASSED, table.MISSED):
        names = [one.candidate.name for one, end in zip(bad, ends, strict=True) if end == word]
        if names:
            lines.append(f"{word}: {', '.join(names)}.")
    return lines


def _honest_tally(good: list[Played], verdict: Callable[[Played], str]) -> str:
    words = [verdict(one) for one in good]
    counts = ", ".join(f"{words.count(word)} {word}" for word in dict.fromkeys(words))
    hit = [
        f"{one.candidate.name} ({word})"
        for one, word in zip(good, words, strict=True)
        if table.blamed(word)
    ]
    return f"{len(good)} honest variants: {counts}. Failed or held up: {', '.join(hit) or 'none'}."


def counts(game: Game, unprobed: bool) -> str:
    """Return the counts, with probes and without."""
    bad, good = table.attacks(game), table.honest(game)
    paying = sum(table.pays(one, game) for one in bad)
    lines = [
        *_tally(bad, table.status, table.layers),
        f"{paying} would have beaten the record that they are an edit of (✓).",
        _honest_tally(good, table.verdict),
    ]
    if unprobed:
        mine = [one for one in bad if one.candidate.track == NANO and not one.candidate.loot]
        few = [one for one in good if one.candidate.track == NANO]
        lines += ["**Without probes** (nano, its targets not used; what looks for loot left out):"]
        lines += _tally(mine, table.unprobed_status, table.unprobed_layers)
        lines += [_honest_tally(few, table.unprobed_verdict)]
    return "\n\n".join(lines)


def report(game: Game, seconds: float, cpu_s: float, unprobed: bool = True) -> str:
    """Return all tables and the counts."""
    left = "; ".join(game.changed[:20]) or "nothing"
    parts = [
        attacks(game, unprobed),
        honest(game, unprobed),
        counts(game, unprobed),
        f"Changed or left alive, looked at after each of {game.runs} runs: {left}.",
        f"{seconds:.0f} s, {cpu_s / 60:.1f} CPU-minutes.",
        evidence(game),
    ]
    return "\n\n".join(parts) + "\n"
