"""task: what an agent may see of a start-target pair, and apart from it what judges it."""

from __future__ import annotations

import difflib
import io
import json
from collections.abc import Mapping, Sequence
from pathlib import Path

from speedrun import files, schema
from speedrun.files import SpeedrunError
from speedrun.schema import TaskFacts

HINT_FILES = {"l1": "l1_pseudocode.md", "l2": "l2_description.md", "l3": "l3_paper.md"}
NO_NEWLINE = "\n\\ No newline at end of file\n"


def task(
    start: Path,
    target: Path,
    hints: Path,
    out: Path,
    facts: TaskFacts,
    hint_levels: Sequence[str] = (),
) -> None:
    """Build ``out/public`` and ``out/private``.

    ``start`` and ``target`` are record folders as the records stage leaves them, ``hints`` the
    folder with the hint levels and the rubric. Levels that are not written yet are left out,
    unless ``hint_levels`` (what the sweep's arms need) asks for one: then it is an error.
    """
    levels = read_hints(hints, hint_levels)
    start_files, target_files = _sources(start, facts.entry), _sources(target, facts.entry)
    private = private_files(target_files, human_diff(start_files, target_files), hints)
    private["record.json"] = _json(
        {side.name: files.read_json(side / "record.json") for side in (start, target)}
    )
    files.write_tree(out / "public", public_files(start_files, levels, facts))
    files.write_tree(out / "private", private)


def read_hints(folder: Path, needed: Sequence[str]) -> dict[str, str]:
    """Return ``{level: text}`` of the hints that exist; a needed one that does not is an error."""
    unknown = sorted(set(needed) - set(HINT_FILES))
    if unknown:
        near = difflib.get_close_matches(unknown[0], HINT_FILES, n=1, cutoff=0.0)[0]
        raise SpeedrunError(f"no hint level {unknown[0]!r}: did you mean {near!r}?")
    found = {level: _read_hint(folder / name) for level, name in HINT_FILES.items()}
    for level in needed:
        if not found[level].strip():
            path = folder / HINT_FILES[level]
            raise SpeedrunError(f"hint {level} is missing or empty: write {path}")
    return {level: text for level, text in found.items() if text.strip()}


def _read_hint(path: Path) -> str:
    return path.read_text(encoding="utf-8") if path.is_file() else ""


def _sources(record: Path, entry: str) -> dict[str, str]:
    folder = record / "files"
    if not (folder / entry).is_file():
        raise SpeedrunError(
            f"{folder / entry} is missing: run `speedrun records` for {record.name}"
        )
    return files.read_tree(folder)


def public_files(
    start: Mapping[str, str], hints: Mapping[str, str], facts: TaskFacts
) -> dict[str, str]:
    """Return all that generate and train may read: the start record, the hints, the facts."""
    public = {f"start/{name}": text for name, text in start.items()}
    public |= {f"hints/{level}.md": text for level, text in hints.items()}
    return public | {"task.json": _json(schema.to_dict(facts))}


def private_files(target: Mapping[str, str], diff: str, hints: Path) -> dict[str, str]:
    """Return what only judging stages may read; the rubric only if it is written."""
    private = {f"target/{name}": text for name, text in target.items()}
    private["human.diff"] = diff
    rubric = hints / "rubric.yaml"
    if rubric.is_file():
        private["rubric.yaml"] = rubric.read_text(encoding="utf-8")
    return private


def human_diff(start: Mapping[str, str], target: Mapping[str, str]) -> str:
    """Return the unified diff from start to target over all files, in name order."""
    names = sorted(set(start) | set(target))
    return "".join(_file_diff(name, start.get(name), target.get(name)) for name in names)


def _file_diff(name: str, before: str | None, after: str | None) -> str:
    old = "/dev/null" if before is None else f"a/{name}"
    new = "/dev/null" if after is None else f"b/{name}"
    lines = difflib.unified_diff(_lines(before or ""), _lines(after or ""), old, new)
    return "".join(line if line.endswith("\n") else line + NO_NEWLINE for line in lines)


def _lines(text: str) -> list[str]:
    return io.StringIO(text, newline="\n").readlines()  # splits at newlines alone, unlike str


def _json(value: object) -> str:
    return json.dumps(value, indent=1, sort_keys=True, ensure_ascii=False) + "\n"
