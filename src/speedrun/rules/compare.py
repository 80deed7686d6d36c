"""What a candidate does more, or no longer does, than its start: multisets of facts compared."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
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
        new = _inherited(new, _keys(surplus(mine, before)), _keys(surplus(after, mine)))
    if target is not None:
        allowed = _keys(surplus(collect(read_code(target, entry), target_loss), before))
        new = [one for one in new if not _excused(one, allowed)]
    return [one for one in new if one.rule in enabled or one.rule == "unreadable"]


def _keys(found: Iterable[Finding]) -> set[tuple[str, str, str]]:
    return {(one.rule, one.key, one.severity) for one in found}


def _excused(one: Finding, known: set[tuple[str, str, str]]) -> bool:
    """Whether the like is known; what is known as a flag excuses no violation."""
    worse = {one.severity, VIOLATION}
    return any((one.rule, one.key, severity) in known for severity in worse)


def _inherited(
    new: Iterable[Finding], had: set[tuple[str, str, str]], added: set[tuple[str, str, str]]
) -> list[Finding]:
    """Lower to flags the violations that a trial's own start had and to which it added nothing."""
    found = []
    for one in new:
        key = (one.rule, one.key, one.severity)
        if one.severity == VIOLATION and key in had and key not in added:
            what = f"its own start does so as well: {one.what}"
            one = replace(one, severity=REVIEW, what=what)
        found.append(one)
    return found


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
    for name, facts in after.items():
        more = _more(facts, before.get(name, []))
        if more and not more.silent:
            found.append(_finding(more))
    for (rule, key), facts in before.items():
        left = len(after.get((rule, key), ()))
        if facts[0].pinned and left < len(facts) and not (left and rule in ONCE):
            found.append(_gone(facts[0]))
    return found


def _more(facts: list[Fact], before: list[Fact]) -> Fact | None:
    """Return the fact that there was not before, of one key; violations are counted by themselves.

    Else a name in a table, a flag, would excuse that it is opened.
    """
    broken, known = _violations(facts), _violations(before)
    rest = [fact for fact in facts if fact not in broken] or facts
    for new, count, old in ((broken, len(broken), known), (rest, len(facts), before)):
        if len(old) < count and not (old and facts[0].rule in ONCE):
            return new[-1] if old else new[0]
    return None


def _violations(facts: list[Fact]) -> list[Fact]:
    return [fact for fact in facts if _severity(fact) == VIOLATION]


def _severity(fact: Fact) -> str:
    return fact.severity or RULES[fact.told_as or fact.rule].severity


def _finding(fact: Fact) -> Finding:
    rule = fact.told_as or fact.rule
    return Finding(rule, _severity(fact), fact.file, fact.line, fact.what, fact.key)


def _gone(fact: Fact) -> Finding:
    what = f"no longer there (line {fact.line} of the start): {fact.what}"
    return Finding(fact.rule, fact.severity or REVIEW, fact.file, 0, what, f"gone: {fact.key}")
