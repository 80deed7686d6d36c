"""One reader's pass over the steps of a record chain: blind, step by step, each row kept at once.

A reader sees the rubric and one step's sheet, and no other label. An answer that breaks the form is
asked for once more with the fault named; after that the step is unread, and no label is made up.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from speedrun import classification, files, material
from speedrun.classification import COLUMNS, OPTIONAL, Label
from speedrun.files import SpeedrunError
from speedrun.material import Reply, ReplyError
from speedrun.stages.classify.sheet import Sheet

TEMPLATE = "classify.md"
ASKED = tuple(name for name in COLUMNS if name not in ("record", *OPTIONAL))
TURNS = 2
CELL_CHARS = 2_000  # of one text; a reply with more is no classification


class Unread(Exception):
    """A step has no label; the message says why."""


Ask = Callable[[str, int, int], Reply]  # prompt, record number, turn; may raise Unread


@dataclass(frozen=True)
class Row:
    """A step after its turn: a label, or why there is none."""

    number: int
    label: Label | None
    why: str = ""


def read_steps(
    numbers: Sequence[int],
    known: Sequence[int],
    show: Callable[[int], Sheet],
    rubric: str,
    ask: Ask,
    out: Path,
) -> Iterator[Row]:
    """Yield each step's row, after it was written to ``out``; rows that are there are not asked.

    ``known`` are all steps of the chain, of which ``out`` may hold others than ``numbers``.
    """
    done = classification.load(out, known, partial=True) if out.is_file() else {}
    for number in numbers:
        if number in done:
            yield Row(number, done[number])
            continue
        try:
            done[number] = _read(number, show(number), rubric, ask)
        except Unread as error:
            yield Row(number, None, str(error))
            continue
        write(out, done)
        yield Row(number, done[number])


def _read(number: int, shown: Sheet, rubric: str, ask: Ask) -> Label:
    fault = ""
    for turn in range(TURNS):
        reply = ask(render(shown, rubric, fault), number, turn)
        if reply.refused:
            raise Unread("the model declined")
        try:
            return parse(reply.text, number)
        except ReplyError as error:
            fault = str(error)
    raise Unread(f"unparsed reply: {fault}")


def render(shown: Sheet, rubric: str, fault: str = "") -> str:
    """Render prompts/classify.md; nothing in the sheet closes its fence."""
    return material.render(
        TEMPLATE,
        [shown.row, shown.readme, shown.diff],
        step=shown,
        rubric=rubric.strip(),
        fault=fault,
        words=classification.WORDS,
    )


def parse(text: str, number: int) -> Label:
    """Return the label from the one json block of a reply. Errors: ReplyError."""
    found = material.json_block(text)
    if not isinstance(found, dict) or set(found) != set(ASKED):
        raise ReplyError(f"the json block is no object of {', '.join(ASKED)}")
    cells = {name: _cell(name, found[name]) for name in ASKED}
    try:
        return classification.label_of({"record": str(number), **cells})
    except ValueError as error:
        raise ReplyError(str(error)) from error


def _cell(name: str, value: Any) -> str:
    """Return a text as one printable line."""
    if not isinstance(value, str) or len(value) > CELL_CHARS:
        raise ReplyError(f"{name} is no text of at most {CELL_CHARS} characters")
    line = " ".join(value.split())
    return "".join(char if char.isprintable() else "\N{REPLACEMENT CHARACTER}" for char in line)


def write(out: Path, labels: Mapping[int, Label]) -> None:
    """Write a pass, in the form of classification.load."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(("record", *ASKED))
    for number in sorted(labels):
        writer.writerow([getattr(labels[number], name) for name in ("record", *ASKED)])
    files.write_text(out, text.getvalue())


def begin(out: Path, identity: Mapping[str, Any]) -> None:
    """Note whose pass ``out`` is, so that none goes on with another reader's rows.

    Errors: SpeedrunError that names what differs.
    """
    card = out.with_suffix(".pass.json")
    if not card.is_file() and out.exists():
        raise SpeedrunError(f"{out} was not written by this verb: give another --out")
    if card.is_file():
        known = files.read_json(card)
        differ = [key for key, value in identity.items() if known.get(key) != value]
        if differ:
            raise SpeedrunError(
                f"{out} is a pass with another {differ[0]}: give another --out, or delete it and "
                f"{card}"
            )
        return
    files.write_json(card, dict(identity))
