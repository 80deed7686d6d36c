"""Renders what a coder is asked from the Markdown templates in speedrun/prompts. Pure.

The history rule: an earlier attempt is *better* when it reached the target faster than the start
record, *worse* when it ran to its end without that, *failed* otherwise. Of each kind at most
``SHOWN`` are shown: the fastest, those that came nearest, and the latest.
"""

from __future__ import annotations

import difflib
import functools
import importlib.resources
import math
import string
from collections.abc import Callable, Mapping, Sequence

from speedrun.schema import Outcome, TaskFacts
from speedrun.search import Choice
from speedrun.stages.generate.reply import render_file
from speedrun.stages.generate.request import Attempt

SHOWN = 3  # attempts of each kind
DIFF_LINES = 60  # shown of an attempt's change against its parent
HINT_NAMES = {"l1": "pseudocode", "l2": "description", "l3": "paper"}


@functools.cache
def read_template(name: str) -> str:
    """Return the text of ``speedrun/prompts/<name>.md``."""
    source = importlib.resources.files("speedrun") / "prompts" / f"{name}.md"
    return source.read_text(encoding="utf-8")


def _fill(name: str, **values: object) -> str:
    return string.Template(read_template(name)).substitute(values)


def render_prompt(
    facts: TaskFacts,
    history: Sequence[Attempt],
    choice: Choice,
    hints: Mapping[str, str],
    knowledge: Mapping[str, str],
) -> str:
    """Return a node's whole prompt. ``history`` starts with the root; hints are not altered."""
    by_node = {attempt.node: attempt for attempt in history}
    sections = [
        _fill(
            "coder",
            target_loss=facts.target_loss,
            start_time=_start_time(history[0]),
            entry=facts.entry,
            hardware=facts.hardware,
            rules=facts.rules.strip(),
        ),
        render_hints(hints),
        *[f"## Document: {name}\n\n{text}" for name, text in knowledge.items()],
        render_history(history),
        _render_base(by_node[choice.parent]),
        _fill("coder_reply", entry=facts.entry),
    ]
    return "\n".join(section.rstrip("\n") + "\n" for section in sections if section)


def render_hints(hints: Mapping[str, str]) -> str:
    """Return the hints exactly as written, each under a heading, or the no-hints paragraph."""
    if not hints:
        return read_template("coder_no_hints")
    parts = [f"### Hint: {HINT_NAMES.get(name, name)}\n\n{text}" for name, text in hints.items()]
    return "\n".join([read_template("coder_hints"), *parts])


def _render_base(parent: Attempt) -> str:
    origin = f"attempt {parent.node}" if parent.node else "the start record"
    shown = "\n".join(render_file(name, text) for name, text in parent.files.items())
    return f"## The files you change: {origin}\n\n{shown}"


def render_history(history: Sequence[Attempt]) -> str:
    """Return the earlier attempts by the history rule; empty when there are none."""
    if len(history) < 2:
        return ""
    by_node = {attempt.node: attempt for attempt in history}
    parts = [read_template("coder_history")]
    for kind, attempts in sort_history(history).items():
        parts.append(f"### {kind.capitalize()}: {len(attempts)}, showing {len(attempts[:SHOWN])}\n")
        parts += [_render_attempt(attempt, by_node) for attempt in attempts[:SHOWN]]
    return "\n".join(parts)


def sort_history(history: Sequence[Attempt]) -> dict[str, list[Attempt]]:
    """Return the attempts but the root by kind, each kind in the order of the history rule."""
    start_s = history[0].time_s if history[0].time_s is not None else math.inf
    kinds: dict[str, list[Attempt]] = {"better": [], "worse": [], "failed": []}
    for attempt in history[1:]:
        kinds[_kind(attempt, start_s)].append(attempt)
    orders: dict[str, Callable[[Attempt], tuple[float, ...]]] = {
        "better": _distance,
        "worse": _distance,
        "failed": lambda attempt: (-attempt.node,),
    }
    return {kind: sorted(found, key=orders[kind]) for kind, found in kinds.items()}


def _kind(attempt: Attempt, start_s: float) -> str:
    if attempt.outcome is Outcome.OK and attempt.time_s is not None:
        return "better" if attempt.time_s < start_s else "worse"
    return "worse" if attempt.outcome is Outcome.MISSED_TARGET else "failed"


def _distance(attempt: Attempt) -> tuple[float, ...]:
    if attempt.time_s is not None:
        return (0.0, attempt.time_s, attempt.node)
    return (1.0, math.inf if attempt.val_loss is None else attempt.val_loss, attempt.node)


def _render_attempt(attempt: Attempt, by_node: Mapping[int, Attempt]) -> str:
    parent = by_node[attempt.parent]
    origin = f"attempt {parent.node}" if parent.node else "the start record"
    result = f"{attempt.outcome}, {_seconds(attempt.time_s)}, loss {_loss(attempt.val_loss)}"
    lines = [f"#### Attempt {attempt.node}, from {origin}: {result}", ""]
    lines += [text.strip() + "\n" for text in (attempt.reason, attempt.digest) if text.strip()]
    change = _change(parent.files, attempt.files) if attempt.files else ""
    return "\n".join(lines) + (f"\nIts change:\n\n{render_diff(change)}" if change else "")


def _change(before: Mapping[str, str], after: Mapping[str, str]) -> str:
    lines: list[str] = []
    for name in sorted(set(before) | set(after)):
        old, new = before.get(name, "").split("\n"), after.get(name, "").split("\n")
        lines += difflib.unified_diff(old, new, f"a/{name}", f"b/{name}", lineterm="", n=1)
    left = len(lines) - DIFF_LINES
    return "\n".join(lines[:DIFF_LINES] + ([f"({left} more lines)"] if left > 0 else []))


def render_diff(change: str) -> str:
    """Return a diff as an indented block, which no fence inside it can close."""
    return "".join(f"    {line}\n" for line in change.split("\n"))


def render_retry(prompt: str, reply: str, reason: str) -> str:
    """Return the second and last question: the first one, its reply and what is wrong with it."""
    return _fill("coder_retry", prompt=prompt, reply=reply, reason=reason)


def _start_time(root: Attempt) -> str:
    return "an unknown time" if root.time_s is None else _seconds(root.time_s)


def _seconds(value: float | None) -> str:
    return "no time" if value is None else f"{value:.2f} s"


def _loss(value: float | None) -> str:
    return "unknown" if value is None else f"{value:.4f}"
