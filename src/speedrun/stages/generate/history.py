"""Renders the earlier attempts of a trial for a prompt. Pure.

The history rule: an earlier attempt is *better* when it reached the target faster than the start
record, *worse* when it ran to its end without that, *failed* otherwise. Of each kind at most
``SHOWN`` are shown: the fastest, those that came nearest, and the latest.

The size rule: all that is shown of attempts stays within ``HISTORY_CHARS`` and some headings. The
first of each kind is served first, then the second of each, then the third. An attempt that does
not fit is shown without its change, or by its heading alone.
"""

from __future__ import annotations

import difflib
import itertools
import math
from collections.abc import Callable, Iterator, Mapping, Sequence

from speedrun.schema import Outcome
from speedrun.search import ROOT
from speedrun.stages.generate.reply import clip
from speedrun.stages.generate.request import Attempt
from speedrun.stages.generate.templates import read_template

SHOWN = 3  # attempts of each kind
DIFF_LINES = 60  # shown of an attempt's change against its parent
REMOVED_LINES = 5  # of lines removed together, in a change that is too long
LINE_CHARS = 240  # of a line of a diff
DIGEST_CHARS = 4_000  # of a reason, a digest or a summary
HISTORY_CHARS = 60_000  # of all attempts together: about 15,000 tokens
MEMOS_CHARS = 16_000  # of all memos together, the latest kept


def render_history(history: Sequence[Attempt], leave_out: int = ROOT) -> str:
    """Return the earlier attempts by the history rule; empty when there are none.

    ``leave_out`` is an attempt that the prompt shows elsewhere, as the one to be mended.
    """
    told = [attempt for attempt in history if attempt.node == ROOT or attempt.node != leave_out]
    if len(told) < 2:
        return ""
    by_node = {attempt.node: attempt for attempt in history}
    kinds = sort_history(told)
    blocks = _fit({kind: found[:SHOWN] for kind, found in kinds.items()}, by_node)
    parts = [read_template("coder_history")]
    for kind, attempts in kinds.items():
        parts.append(f"### {kind.capitalize()}: {len(attempts)}, showing {len(attempts[:SHOWN])}\n")
        parts += [blocks[attempt.node] for attempt in attempts[:SHOWN]]
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


def _fit(kinds: Mapping[str, Sequence[Attempt]], by_node: Mapping[int, Attempt]) -> dict[int, str]:
    """Return the text of each attempt by the size rule."""
    left, blocks = HISTORY_CHARS, dict[int, str]()
    for rank in range(SHOWN):
        for attempt in (found[rank] for found in kinds.values() if rank < len(found)):
            forms = _forms(attempt, by_node)
            blocks[attempt.node] = next((text for text in forms if len(text) <= left), forms[-1])
            left -= len(blocks[attempt.node])
    return blocks


def _forms(attempt: Attempt, by_node: Mapping[int, Attempt]) -> list[str]:
    """Return an attempt in full, without its change, and as a heading."""
    left_out = "(There is more of it, which does not fit here.)\n"
    heading, result = _heading(attempt), _result(attempt)
    short = ["\n".join([heading, *result, left_out]), f"{heading}\n{left_out}"]
    return [render_attempt(attempt, by_node), *short]


def render_attempt(attempt: Attempt, by_node: Mapping[int, Attempt]) -> str:
    """Return an attempt's result, digest and change against its parent, each of bounded length."""
    change = _change(by_node[attempt.parent].files, attempt.files) if attempt.files else ""
    shown = [f"Its change:\n\n{render_diff(change)}"] if change else []
    return "\n".join([_heading(attempt), *_result(attempt), *shown])


def _heading(attempt: Attempt) -> str:
    return (
        f"#### Attempt {attempt.node}, from {origin(attempt.parent)}: {describe_result(attempt)}\n"
    )


def origin(node: int) -> str:
    """Return how a prompt names a node."""
    return f"attempt {node}" if node else "the start record"


def describe_result(attempt: Attempt) -> str:
    """Return an attempt's outcome, time and loss in one line."""
    return f"{attempt.outcome}, {seconds(attempt.time_s)}, loss {_loss(attempt.val_loss)}"


def _result(attempt: Attempt) -> list[str]:
    told = attempt.reason in attempt.digest  # as a rule; a coder's failure has no digest
    texts = [attempt.digest] if told else [attempt.reason, attempt.digest]
    if attempt.summary.strip():
        texts.append(f"A language model's summary of the run: {attempt.summary.strip()}")
    return [clip(text.strip(), DIGEST_CHARS) + "\n" for text in texts if text.strip()]


def _change(before: Mapping[str, str], after: Mapping[str, str]) -> str:
    lines: list[str] = []
    for name in sorted(set(before) | set(after)):
        old, new = before.get(name, "").split("\n"), after.get(name, "").split("\n")
        lines += difflib.unified_diff(old, new, f"a/{name}", f"b/{name}", lineterm="", n=1)
    if len(lines) > DIFF_LINES:
        lines = list(_without_long_removals(lines))
    left = len(lines) - DIFF_LINES
    shown = [line[:LINE_CHARS] for line in lines[:DIFF_LINES]]
    return "\n".join(shown + ([f"({left} more lines)"] if left > 0 else []))


def _without_long_removals(lines: Sequence[str]) -> Iterator[str]:
    """Yield a diff with the beginning alone of what it removes: what came instead tells more."""
    for removed, run in itertools.groupby(lines, lambda line: line.startswith("-")):
        block = list(run)
        yield from block[:REMOVED_LINES] if removed else block
        if removed and len(block) > REMOVED_LINES:
            yield f"({len(block) - REMOVED_LINES} more lines removed)"


def render_diff(change: str) -> str:
    """Return a diff as an indented block, which no fence inside it can close."""
    return "".join(f"    {line}\n" for line in change.split("\n"))


def render_memos(history: Sequence[Attempt]) -> str:
    """Return the trial's scratchpad, oldest memo first; the oldest are dropped where it is full."""
    left, memos = MEMOS_CHARS, list[str]()
    for attempt in reversed([attempt for attempt in history if attempt.memo.strip()]):
        memo = f"### From attempt {attempt.node}: {describe_result(attempt)}\n\n{attempt.memo}\n"
        left -= len(memo)
        if left < 0:
            break
        memos.append(memo)
    return "\n".join([read_template("coder_memory"), *reversed(memos)]) if memos else ""


def seconds(value: float | None) -> str:
    """Return a time for a prompt."""
    return "no time" if value is None else f"{value:.2f} s"


def _loss(value: float | None) -> str:
    return "unknown" if value is None else f"{value:.4f}"
