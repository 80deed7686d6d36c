"""Records of this repository: checked, and copied to where tasks and references read them."""

from __future__ import annotations

import difflib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from speedrun import files, schema, text_files
from speedrun.files import SpeedrunError

CARD = "record.yaml"
MEASURED_BLOCK = re.compile(r"^measured:.*\n?(?:^(?:[ \t].*)?\n?)*", re.MULTILINE)


@dataclass(frozen=True)
class Measured:
    """The ``measured`` block of a record.yaml: one interleaved measurement of the whole chain.

    Means and standard deviations are over ``n`` runs; ``ratio`` is the time against the record
    before, with its interval and the one-sided p of its being below ``ratio_bound``. None is
    what cannot be said: the ratio of the first record, the spread of one run.
    """

    n: int
    loss_mean: float  # nats per token on the validation shard
    loss_sd: float | None
    time_mean_s: float  # the track's clock
    time_sd_s: float | None
    n_missed: int = 0  # runs that ended above the target
    margin_sd: float | None = None  # (target - loss_mean) / loss_sd
    ratio: float | None = None
    ratio_low: float | None = None
    ratio_high: float | None = None
    p_ratio_below: float | None = None
    ratio_bound: float | None = None
    machine: str = ""


@dataclass(frozen=True)
class RecordCard:
    """record.yaml: what a record is. ``measured`` is None before ``make records``.

    Keys that are not named here go to ``extra``.
    """

    id: str
    title: str
    idea: str
    kind: str  # kind of change against the record before it, e.g. "optimizer"
    source: str  # where the idea comes from
    did_not_help: list[str] = field(default_factory=list)
    measured: Measured | None = None
    extra: dict[str, Any] = field(default_factory=dict)


def read_card(path: Path) -> RecordCard:
    """Read a record.yaml; every error names the file, and the key where there is one."""
    data = _read_yaml(path)
    known = set(RecordCard.__dataclass_fields__) - {"extra"}
    card = {key: value for key, value in data.items() if key in known}
    card["extra"] = {key: value for key, value in data.items() if key not in known}
    try:
        return schema.from_dict(RecordCard, card)
    except SpeedrunError as error:
        raise SpeedrunError(f"{path}: {error}; correct that key") from error


def _read_yaml(path: Path) -> dict[str, Any]:
    if not path.is_file():
        raise SpeedrunError(f"{path} is missing: write it (id, title, idea, kind, source)")
    data = text_files.yaml_mapping(path)
    plain: dict[str, Any] = json.loads(json.dumps(data, default=str))  # dates become ISO 8601
    return plain


def records(track_folder: Path, record: str, entry: str, out: Path) -> None:
    """Copy one record to ``out``: its sources to ``files/``, its card to ``record.json``.

    ``track_folder`` holds a folder a record. The card is kept apart from the sources because it
    tells the idea, and the sources of a start record are shown to agents.
    """
    source = find_record(track_folder, record)
    sources = read_sources(source)
    if entry not in sources:
        raise SpeedrunError(f"{source} has no {entry}: a record's entry file must be there")
    card = read_card(source / CARD)
    if card.id != record:
        raise SpeedrunError(f"{source / CARD}: id is {card.id!r} in the folder {record!r}")
    files.write_tree(out / "files", sources)
    files.write_json(out / "record.json", schema.to_dict(card))


def find_record(track_folder: Path, record: str) -> Path:
    """Return the record's folder, or say which valid name is nearest."""
    if not track_folder.is_dir():
        raise SpeedrunError(f"{track_folder} is missing: a track keeps its records there")
    names = sorted(path.name for path in track_folder.iterdir() if path.is_dir())
    if record in names:
        return track_folder / record
    near = difflib.get_close_matches(record, names, n=1, cutoff=0.0)
    advice = f"did you mean {near[0]!r}?" if near else "it has no records at all"
    raise SpeedrunError(f"no record {record!r} in {track_folder}: {advice}")


def read_sources(folder: Path) -> dict[str, str]:
    """Return a record's source files: all but its card, caches and hidden files."""
    chosen = [path for path in files.tree_files(folder) if _is_source(path)]
    try:
        return {str(path): (folder / path).read_text(encoding="utf-8") for path in chosen}
    except UnicodeDecodeError as error:
        raise SpeedrunError(f"{folder} holds a file that is not UTF-8 text: {error}") from error


def _is_source(path: Path) -> bool:
    if str(path) == CARD:
        return False
    return not any(part.startswith(".") or part == "__pycache__" for part in path.parts)


def write_measured(path: Path, row: Mapping[str, Any], machine: str) -> None:
    """Replace the ``measured`` block of a record.yaml, leaving what people wrote as it stands.

    ``row`` is the record's row of the chain's table. The block is the last one of the file.
    """
    values = {key: value for key, value in row.items() if key != "record"}
    measured = schema.from_dict(Measured, {**values, "machine": machine})
    known = {key: value for key, value in schema.to_dict(measured).items() if value is not None}
    written = MEASURED_BLOCK.sub("", path.read_text(encoding="utf-8")).rstrip("\n")
    block = yaml.safe_dump({"measured": known}, sort_keys=False, allow_unicode=True)
    files.write_text(path, f"{written}\n{block}")
