"""summarize: one run in a language model's words, for the prompts of later generations.

Beside the deterministic digest of analyze, in arms that ask for it. What a candidate printed is
not to be trusted: it is shown bounded and as an indented block, which nothing in it can close, and
what the model makes of it is bounded too.
"""

from __future__ import annotations

import importlib.resources
import string
from collections import deque
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Protocol

from speedrun import files, schema, thinking
from speedrun.material import Answer
from speedrun.runner import log
from speedrun.schema import Analysis, Call, CurvePoint

PRODUCT, CALLS = "digest_model.md", "digest_model.calls.jsonl"
WORDS = 300  # asked for; a reply of more than twice as many is cut there
LOG_LINES, LOG_COLUMNS = 60, 300  # the end of the output that is shown
CURVE_POINTS = 12
DECLINED = "(No summary: the model declined to give one.)"


class Reply(Answer, Protocol):
    """An answer with the call that it cost."""

    @property
    def call(self) -> Call:
        """Its line for the record."""


def summarize(node: Path, target_loss: float, ask: Callable[[str], Reply]) -> list[Call]:
    """Write ``node``'s digest_model.md and the call that it cost; a node that never ran gets none.

    ``ask`` answers one prompt. Errors: SpeedrunError where the node is not analysed, or from
    ``ask`` where the model cannot be reached.
    """
    analysis = schema.load(Analysis, node / "analysis.json")
    ended = schema.load(schema.RunExit, node / "run" / "exit.json")
    reply = ask(render(analysis, _output(node / "run"), target_loss)) if ended.ran else None
    calls = [reply.call] if reply else []
    files.write_text(node / PRODUCT, "" if reply is None else _shown(reply))
    lines = [files.canonical_json(schema.to_dict(call)) + "\n" for call in calls]
    files.write_text(node / CALLS, "".join(lines))
    return calls


def render(analysis: Analysis, output: Sequence[str], target_loss: float) -> str:
    """Return the prompt about one run, from prompts/summary.md."""
    source = importlib.resources.files("speedrun") / "prompts" / "summary.md"
    return string.Template(source.read_text(encoding="utf-8")).substitute(
        target_loss=target_loss,
        words=WORDS,
        outcome=block([f"{analysis.outcome}: {analysis.reason}".rstrip(": "), *_times(analysis)]),
        curve=block([_point(point) for point in _thin(analysis.curve)] or ["none was printed"]),
        log=block(output or ["nothing was printed"]),
    )


def _times(analysis: Analysis) -> list[str]:
    return [] if analysis.time_s is None else [f"target reached after {analysis.time_s:.2f} s"]


def block(lines: Sequence[str]) -> str:
    """Return lines as an indented block of Markdown."""
    return "\n".join(f"    {_fit(line)}" for line in lines)


def _fit(line: str) -> str:
    clean = "".join(char if char.isprintable() else "\N{REPLACEMENT CHARACTER}" for char in line)
    return clean[:LOG_COLUMNS]


def _output(run: Path) -> list[str]:
    kept = deque((line.line for line in log.read(run / "log.jsonl")), maxlen=LOG_LINES)
    return [line for line in kept if line.strip()]


def _point(point: CurvePoint) -> str:
    trained_s = point.train_time_ms / 1000  # as printed: on GPUs the time that counts
    return (
        f"step {point.step} of {point.steps}: {point.val_loss:.4f} after {trained_s:.1f} s of "
        f"training, {point.wall_s:.1f} s after the start"
    )


def _thin(curve: Sequence[CurvePoint]) -> list[CurvePoint]:
    """Return at most CURVE_POINTS points, evenly taken, first and last among them."""
    if len(curve) <= CURVE_POINTS:
        return list(curve)
    step = (len(curve) - 1) / (CURVE_POINTS - 1)
    return [curve[round(index * step)] for index in range(CURVE_POINTS)]


def _shown(reply: Reply) -> str:
    """Return what later prompts show: at most twice the words that were asked for."""
    if reply.refused:
        return DECLINED + "\n"
    text = thinking.answer(reply.text).encode("utf-8", "replace").decode("utf-8").strip()
    words = text.split()
    if len(words) > 2 * WORDS:
        text = " ".join(words[: 2 * WORDS]) + " (cut)"
    return text + "\n" if text else ""
