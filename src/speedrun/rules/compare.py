"""What a candidate does more, or no longer does, than its start: multisets of facts compared."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from speedrun.rules import (
    calls,
    causality,
    counting,
    files_declared,
    flags,
    literals,
    output,
    patches,
    paths,
    pinned,
    scores,
    seed,
    stream,
    text,
    warmup,
)
from speedrun.rules.catalogue import REVIEW, RULES, VIOLATION, Finding
from speedrun.rules.code import Code, Fact, read_code
from speedrun.rules.sensitive import words

Extractor = Callable[[Code, float | None], Iterable[Fact]]
EXTRACTORS: tuple[Extractor, ...] = (
    files_declared.facts,
    calls.facts,
    patches.facts,
    paths.facts,
    counting.facts,
    seed.facts,
    flags.facts,
    literals.facts,
    text.facts,
    output.facts,
    pinned.facts,
    scores.facts,
    stream.facts,
    warmup.facts,
    causality.facts,
)
ONCE = words("compile_flags packages files evaluation stream seed")  # twice is the same fact

Keyed = dict[tuple[str, str], list[Fact]]


def findings(
    solution: Path,
    start: Path,
    entry: str,
    enabled: set[str],
    target: Path | None,
    target_loss: float | None,
    own: Path | None = None,
) -> list[Finding]:
    """Return the findings of the enabled rules; ``unreadable`` is always one of them."""
    base = read_code(start, entry)
    before, after = collect(base, target_loss), collect(read_code(solution, entry), target_loss)
    new = surplus(after, before)
    if own is not None:
        mine = collect(read_code(own, entry), target_loss)
        added = {(one.rule, one.key) for one in surplus(after, mine)}
        new = [one for one in new if one.severity != VIOLATION or (one.rule, one.key) in added]
    if target is not None:
        allowed = collect(read_code(target, entry), target_loss)
        known = {(one.rule, one.key) for one in surplus(allowed, before)}
        new = [one for one in new if (one.rule, one.key) not in known]
    return [one for one in new if one.rule in enabled or one.rule == "unreadable"]


def collect(code: Code, target_loss: float | None) -> Keyed:
    """Return all facts of a source by rule and key."""
    found: Keyed = defaultdict(list)
    for fact in code.unreadable:
        found[fact.rule, fact.key].append(fact)
    for extractor in EXTRACTORS:
        for fact in _guarded(extractor, code, target_loss):
            found[fact.rule, fact.key].append(fact)
    return found


def _guarded(extractor: Extractor, code: Code, target_loss: float | None) -> Iterator[Fact]:
    """Yield an extractor's facts; code that it cannot follow is a fact of its own."""
    try:
        yield from extractor(code, target_loss)
    except (RecursionError, MemoryError) as error:
        what = f"too deeply nested for the checks ({type(error).__name__})"
        yield Fact("unreadable", extractor.__module__, code.entry, 0, what)


def surplus(after: Keyed, before: Keyed) -> list[Finding]:
    """Return a finding for every key with more facts than before, or fewer of a pinned one."""
    found = []
    for (rule, key), facts in after.items():
        known = len(before.get((rule, key), ()))
        if known < len(facts) and not facts[0].silent and not (known and rule in ONCE):
            found.append(_finding(facts[-1] if known else facts[0]))
    for (rule, key), facts in before.items():
        left = len(after.get((rule, key), ()))
        if facts[0].pinned and left < len(facts) and not (left and rule in ONCE):
            found.append(_gone(facts[0]))
    return found


def _finding(fact: Fact) -> Finding:
    rule = fact.told_as or fact.rule
    severity = fact.severity or RULES[rule].severity
    return Finding(rule, severity, fact.file, fact.line, fact.what, fact.key)


def _gone(fact: Fact) -> Finding:
    what = f"no longer there (line {fact.line} of the start): {fact.what}"
    return Finding(fact.rule, fact.severity or REVIEW, fact.file, 0, what, f"gone: {fact.key}")
