"""What kind of change each step of a record chain was: labels.csv, typed and checked.

A label belongs to the step that ends at its record number. The words and when each of them fits are
in rubric.md beside the labels; a reader's own pass is a file of the same form.
"""

from __future__ import annotations

import csv
from collections.abc import Collection, Iterator
from dataclasses import dataclass, fields
from pathlib import Path

from speedrun.files import SpeedrunError

DEPTHS = ("shallow", "moderate", "deep", "breakthrough")  # a scale, nearest to obvious first
PROVENANCES = ("imported", "adapted", "invented")  # a scale too
KINDS = (
    "hyperparameter", "architecture", "optimiser", "data", "kernel", "parallelism", "precision",
    "schedule", "systems", "library",
)  # fmt: skip
CONFIDENCES = ("high", "medium", "low")
WORDS = {"depth": DEPTHS, "provenance": PROVENANCES, "kind": KINDS, "confidence": CONFIDENCES}
FIELDS = ("depth", "provenance", "kind")  # what is classified
SHOWN = 60  # characters of a wrong cell in a message


@dataclass(frozen=True)
class Label:
    """One row: the words are those of WORDS, ``evidence`` says where they can be looked up."""

    record: int
    depth: str
    provenance: str
    kind: str
    adopted_by: str
    adopted_source: str  # links, separated by " ; "
    evidence: str
    confidence: str
    resolved: str = ""  # why, where two readers differed


COLUMNS = tuple(field.name for field in fields(Label))
OPTIONAL = ("resolved",)


def load(path: Path, numbers: Collection[int], *, partial: bool = False) -> dict[int, Label]:
    """Read a file of labels, one row for each of ``numbers``, in their order.

    ``partial`` allows that rows are missing, as in a pass that is under way.

    Errors: a SpeedrunError that names the file and the row: a column, number or word that is
    unknown, doubled or missing, evidence left out, a breakthrough without a link to its adopters.
    """
    found: dict[int, Label] = {}
    for line, cells in _rows(path):
        try:
            label = label_of(cells)
            if label.record in found or label.record not in numbers:
                known = "stands twice" if label.record in found else "is no step of the chain"
                raise ValueError(f"record {label.record} {known}")
        except ValueError as error:
            raise SpeedrunError(f"{path} line {line}: {error}; correct that row") from error
        found[label.record] = label
    missing = sorted(set(numbers) - found.keys())
    if missing and not partial:
        raise SpeedrunError(f"{path} has no row for record {missing[0]}; add it")
    return {number: found[number] for number in sorted(found)}


def _rows(path: Path) -> Iterator[tuple[int, dict[str, str]]]:
    """Yield the number of each row's last line and its cells by column."""
    try:
        with path.open(encoding="utf-8", newline="") as file:
            reader = csv.reader(file, strict=True)
            header = next(reader, [])
            _check_header(path, header)
            for cells in reader:
                if len(cells) != len(header):
                    raise SpeedrunError(
                        f"{path} line {reader.line_num}: {len(cells)} cells, not {len(header)}; "
                        "correct that row"
                    )
                yield reader.line_num, dict(zip(header, cells, strict=True))
    except FileNotFoundError as error:
        raise SpeedrunError(f"{path} is missing: it holds a reader's labels") from error
    except (csv.Error, UnicodeDecodeError) as error:
        raise SpeedrunError(f"{path} is no CSV in UTF-8: {error}; correct it") from error


def _check_header(path: Path, header: list[str]) -> None:
    required = [name for name in COLUMNS if name not in OPTIONAL]
    wrong = [name for name in required if header.count(name) != 1]
    wrong += [name for name in header if name not in COLUMNS]
    if wrong:
        raise SpeedrunError(
            f"{path}: column {_shown(wrong[0])} is unknown, doubled or missing; "
            f"the columns are {', '.join(COLUMNS)}"
        )


def label_of(cells: dict[str, str]) -> Label:
    """Return a row's label. Errors: ValueError that says what is wrong with it."""
    if not (cells["record"].isascii() and cells["record"].isdecimal() and len(cells["record"]) < 6):
        raise ValueError(f"{_shown(cells['record'])} is no record number")
    for name, known in WORDS.items():
        if cells[name] not in known:
            words = ", ".join(known)
            raise ValueError(f"{name} {_shown(cells[name])} is none of {words}")
    if not cells["evidence"].strip():
        raise ValueError("evidence is empty")
    if cells["depth"] == "breakthrough":
        _check_adoption(cells)
    return Label(**{**cells, "record": int(cells["record"])})  # type: ignore[arg-type]


def _check_adoption(cells: dict[str, str]) -> None:
    links = [link.strip() for link in cells["adopted_source"].split(" ; ")]
    if not cells["adopted_by"].strip() or not all(link.startswith("https://") for link in links):
        raise ValueError("a breakthrough needs adopted_by, and https:// links in adopted_source")


def _shown(text: str) -> str:
    """Return a cell as one printable, bounded word of a message."""
    return ascii(text if len(text) <= SHOWN else text[:SHOWN] + "...")
