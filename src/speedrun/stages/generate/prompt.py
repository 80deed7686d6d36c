"""Renders what a coder is asked from the Markdown templates in speedrun/prompts. Pure.

Hints and documents stand in it byte for byte: nothing is escaped, filled in or cut.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from speedrun import thinking
from speedrun.schema import Outcome, TaskFacts
from speedrun.search import Choice
from speedrun.stages.generate.history import (
    describe_result,
    origin,
    render_attempt,
    render_history,
    render_memos,
    seconds,
)
from speedrun.stages.generate.reply import clip, render_file
from speedrun.stages.generate.request import Attempt
from speedrun.stages.generate.templates import MODES, STYLES, check, fill, read_template

HINT_NAMES = {"l1": "pseudocode", "l2": "description", "l3": "paper"}
QUOTED_CHARS = 40_000  # of an unreadable reply that is shown again: about 10,000 tokens


def render_prompt(
    facts: TaskFacts,
    history: Sequence[Attempt],
    choice: Choice,
    hints: Mapping[str, str],
    knowledge: Sequence[tuple[str, str]],
    *,
    style: str = "reply",
    mode: str = "reproduce",
    passages: Sequence[tuple[str, str]] = (),
    memory: bool = False,
) -> str:
    """Return a node's whole prompt. ``history`` starts with the root; hints are not altered."""
    check(style, mode)
    by_node = {attempt.node: attempt for attempt in history}
    mended = choice.parent if choice.action == "debug" else 0
    sections = [
        _render_task(facts, history[0], style),
        _render_mode(style, mode, hints),
        render_hints(hints),
        *[_exactly(f"## Document: {name}\n\n", text) for name, text in knowledge],
        _render_passages(passages),
        render_memos(history) if memory else "",
        render_history(history, mended),
        _render_action(choice, by_node),
        _render_base(by_node[choice.parent], style),
        fill(STYLES[style]["answer"], entry=facts.entry),
        read_template(STYLES[style]["memo"]) if memory else "",
    ]
    return "\n".join(section for section in sections if section)


def _render_task(facts: TaskFacts, root: Attempt, style: str) -> str:
    return fill(
        STYLES[style]["task"],
        target_loss=facts.target_loss,
        margin_percent=f"{facts.margin_percent:g}",
        start_time="an unknown time" if root.time_s is None else seconds(root.time_s),
        entry=facts.entry,
        hardware=facts.hardware,
        rules=facts.rules.strip(),
    )


def _render_mode(style: str, mode: str, hints: Mapping[str, str]) -> str:
    names = MODES[style, mode]
    return read_template(names[0] if hints else names[-1]) if names else ""


def render_hints(hints: Mapping[str, str]) -> str:
    """Return the hints exactly as written, each under a heading, or the no-hints paragraph."""
    if not hints:
        return read_template("coder_no_hints")
    names = {level: HINT_NAMES.get(level, level) for level in hints}
    shown = [_exactly(f"### Hint: {names[level]}\n\n", text) for level, text in hints.items()]
    return "\n".join([read_template("coder_hints"), *shown])


def _exactly(heading: str, text: str) -> str:
    return heading + text + ("" if text.endswith("\n") else "\n")


def _render_passages(passages: Sequence[tuple[str, str]]) -> str:
    if not passages:
        return ""
    shown = [_exactly(f"### From {source}\n\n", text) for source, text in passages]
    return "\n".join([read_template("coder_passages"), *shown])


def _render_action(choice: Choice, by_node: Mapping[int, Attempt]) -> str:
    """Return what is to be done with the parent; nothing is said of a draft."""
    parent = by_node[choice.parent]
    if choice.action == "improve":
        return fill("coder_improve", attempt=parent.node, result=describe_result(parent))
    if choice.action != "debug":
        return ""
    missed = parent.outcome is Outcome.MISSED_TARGET
    name = "coder_debug_missed" if missed else "coder_debug_error"
    failure = render_attempt(parent, by_node).rstrip("\n")
    return fill(name, attempt=parent.node, failure=failure)


def _render_base(parent: Attempt, style: str) -> str:
    heading = f"## The files you change: {origin(parent.node)}\n\n"
    return heading + render_files(parent.files, style)


def render_files(shown: Mapping[str, str], style: str) -> str:
    """Return files whole, or by name for a coder that finds them in its working folder."""
    if style == "files":
        names = "".join(f"- `{name}`\n" for name in shown)
        return f"They stand in the working folder:\n\n{names}"
    return "\n".join(render_file(name, text) for name, text in shown.items())


def render_retry(prompt: str, reply: str, reason: str) -> str:
    """Return the second and last question: the first one, its reply and what is wrong with it.

    Of a huge reply only the beginning and the end are shown again.
    """
    said = thinking.answer(reply)
    quoted = clip(said, QUOTED_CHARS) if said.strip() else "(It was empty.)"
    return fill("coder_retry", prompt=prompt, reply=quoted, reason=reason)
