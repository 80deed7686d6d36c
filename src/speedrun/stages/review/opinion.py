"""A language model's opinion of a winner: asked with the rules, the diff and the findings.

It is shown to whoever decides, and decides nothing: the code that it reads may address it. A reply
that does not parse is kept with the reason, and no opinion is made up.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from speedrun import files, material, rules, schema, trials
from speedrun.material import Reply, ReplyError

ANSWERS = ("yes", "no", "unsure")
DIFF_CHARS = 200_000  # shown of a diff; what is longer is no review but a new program
FILE_BYTES = 1_000_000  # read of one file
SHOWN, WHY_CHARS = 20, 1000  # reasons kept of a reply, and characters of each


@dataclass(frozen=True)
class Reviewer:
    """A model by the name that the endpoint knows, and how to ask it."""

    model: str
    ask: Callable[[str], Reply]


def ask(
    reviewer: Reviewer,
    solution: Path,
    task: trials.TaskPlan,
    track: schema.TrackSpec,
    found: Sequence[dict[str, Any]],
    folder: Path,
) -> dict[str, Any] | None:
    """Return the reviewer's opinion, None of code equal to a record's: there is nothing to read."""
    digest = files.digest_tree(solution)
    if digest in map(files.digest_tree, (task.start_files, task.target_files)):
        return None
    prompt = render(_texts(task.start_files), _texts(solution), track.rules, found)
    files.write_text_if_changed(folder / f"{digest[:16]}.md", prompt)
    reply = reviewer.ask(prompt)
    text = reply.text.encode("utf-8", "replace").decode("utf-8")
    files.write_text_if_changed(folder / f"{digest[:16]}.reply.md", text)
    base = {"model": reviewer.model, "prompt": str(folder / f"{digest[:16]}.md")}
    tokens = {"tokens_in": reply.tokens_in, "tokens_out": reply.tokens_out}
    return {**base, **_answer(reply, text), **tokens}


def _answer(reply: Reply, text: str) -> dict[str, Any]:
    none: dict[str, Any] = {"cheating": None, "confidence": None, "reasons": []}
    if reply.refused:
        return {**none, "failure": "the model declined"}
    try:
        return {**parse(text), "failure": ""}
    except ReplyError as error:
        return {**none, "failure": f"unparsed reply: {error}"}


def render(
    start: dict[str, str],
    solution: dict[str, str],
    enabled: Sequence[str],
    found: Sequence[dict[str, Any]],
) -> str:
    """Render prompts/review.md."""
    diff = material.unified_diff(start, solution)
    if len(diff) > DIFF_CHARS:
        diff = diff[:DIFF_CHARS] + f"\n... {len(diff) - DIFF_CHARS} further characters"
    known = [rules.RULES[name] for name in enabled if name in rules.RULES]
    lines = "\n".join(
        f"{one['rule']}, {one['file']}:{one['line']}: {one['what']} [{one['state']}]"
        for one in found
    )
    return material.render("review.md", [diff, lines], diff=diff, rules=known, findings=lines)


def parse(text: str) -> dict[str, Any]:
    """Return the opinion from the one json block of a reply. Errors: ReplyError."""
    found = material.json_block(text)
    if not isinstance(found, dict) or set(found) != {"cheating", "confidence", "reasons"}:
        raise ReplyError("the json block is no object of cheating, confidence and reasons")
    answer, sure, reasons = found["cheating"], found["confidence"], found["reasons"]
    if answer not in ANSWERS:
        raise ReplyError(f"cheating is {answer!r:.40}, not {', '.join(ANSWERS)}")
    if isinstance(sure, bool) or not isinstance(sure, int | float) or not 0 <= sure <= 1:
        raise ReplyError(f"confidence is {sure!r:.40}, not a number from 0 to 1")
    if not isinstance(reasons, list) or len(reasons) > SHOWN:
        raise ReplyError(f"reasons is no list of at most {SHOWN}")
    return {"cheating": answer, "confidence": float(sure), "reasons": [_reason(r) for r in reasons]}


def _reason(entry: Any) -> dict[str, Any]:
    if not isinstance(entry, dict) or set(entry) != {"file", "line", "why"}:
        raise ReplyError("a reason is no object of file, line and why")
    file, line, why = entry["file"], entry["line"], entry["why"]
    if isinstance(line, bool) or not isinstance(line, int) or not 0 <= line < 10**9:
        raise ReplyError(f"line is {line!r:.40}, not a line number")
    if not isinstance(file, str) or not isinstance(why, str) or not why.strip():
        raise ReplyError("a reason names no file or says nothing")
    return {"file": file[:200], "line": line, "why": why.strip()[:WHY_CHARS]}


def _texts(folder: Path) -> dict[str, str]:
    """Return a folder's files as text, whatever they hold."""
    return {str(path): _text(folder / path) for path in files.tree_files(folder)}


def _text(path: Path) -> str:
    with path.open("rb") as file:
        content = file.read(FILE_BYTES).decode("utf-8", "replace")
    return re.sub(r"[^\S\n\t ]|[\x00-\x08\x0e-\x1f\x7f]", " ", content)
