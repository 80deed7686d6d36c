"""Reads a trial's folder: each node as far as it has come."""

from __future__ import annotations

import difflib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from speedrun import files, schema, trials
from speedrun.files import SpeedrunError
from speedrun.schema import Analysis, Call, Outcome, Parent, StageRecord
from speedrun.search import ROOT

T = TypeVar("T")

AGENT_LOG = "coder.log"  # a coding agent's output, as stamped lines
DRAFT = "draft"  # where a node's first answer lies, if it is tried before its full run
CALLS = ("calls.jsonl", "digest_model.calls.jsonl")
UNFINISHED = (
    ("parent.json", "the coder has not answered"),
    ("run/exit.json", "its code has not been run to its end"),
    ("analysis.json", "its run has not been analysed"),
)


@dataclass(frozen=True)
class Node:
    """One node. ``parent`` and ``analysis`` are None, texts empty, where it has not come so far."""

    number: int
    unfinished: str  # what is still to come, "" for nothing
    parent: Parent | None = None
    analysis: Analysis | None = None
    asked: dict[str, Any] = field(default_factory=dict)  # generate's parameters
    prompt: str = ""
    replies: list[str] = field(default_factory=list)
    agent_log: list[str] = field(default_factory=list)
    calls: list[Call] = field(default_factory=list)
    change: list[str] | None = None  # unified diff; None where a side of it is not at hand
    summary: str = ""  # in a language model's words
    preflight: dict[str, Any] = field(default_factory=dict)  # what the draft's short run showed

    @property
    def time_s(self) -> float | None:
        """Seconds to the target, None unless it was reached."""
        reached = self.analysis is not None and self.analysis.outcome is Outcome.OK
        return self.analysis.time_s if self.analysis and reached else None


@dataclass(frozen=True)
class Trial:
    """A trial's nodes in order, and the link of its chain where it is cumulative."""

    name: str
    nodes: list[Node]
    link: trials.Link | None

    @property
    def best(self) -> int | None:
        """The fastest node that reached the target, the earlier one on a tie."""
        timed = [(node.time_s, node.number) for node in self.nodes if node.time_s is not None]
        return min(timed)[1] if timed else None


def read_trial(folder: Path, start: Path | None = None) -> Trial:
    """Read every node of ``folder``; ``start`` is where the start record's files are, if known."""
    link = trials.link(folder / trials.START)
    solutions = _Solutions(folder, start or _start_files(folder, link))
    numbers = sorted(
        int(found[1])
        for path in folder.glob("node_*")
        if (found := re.fullmatch(r"node_([1-9]\d{0,6})", path.name)) and path.is_dir()
    )
    if not numbers and link is None:
        raise SpeedrunError(
            f"{folder} holds no node: give a trial's folder, results/trials/TRACK/TASK/ARM/sSEED"
        )
    nodes = [_read_node(folder / f"node_{number}", number, solutions) for number in numbers]
    return Trial("/".join(folder.absolute().parts[-4:]), nodes, link)


def _start_files(folder: Path, link: trials.Link | None) -> Path:
    """Return where a workflow keeps the files that node 0 stands for."""
    if link is not None:
        return folder / trials.START / "solution"
    track, task = folder.absolute().parts[-4:-2]
    return folder.absolute().parents[4] / "tasks" / track / task / "public" / "start"


@dataclass(frozen=True)
class _Solutions:
    """The files of each node; node 0 is the start."""

    trial: Path
    start: Path

    def read(self, node: int) -> dict[str, str]:
        folder = self.start if node == ROOT else self.trial / f"node_{node}" / "solution"
        return files.read_tree(folder) if folder.is_dir() else {}


def _read_node(folder: Path, number: int, solutions: _Solutions) -> Node:
    parent = _load(Parent, folder / "parent.json")
    record = _load(StageRecord, folder / "generate.record.json")
    draft = folder / DRAFT
    place = draft if draft.is_dir() and not (folder / CALLS[0]).is_file() else folder
    return Node(
        number,
        next((text for name, text in UNFINISHED if not (folder / name).is_file()), ""),
        parent,
        _load(Analysis, folder / "analysis.json"),
        record.params if record else {},
        _text(place / "prompt.md"),
        [_text(path) for path in sorted((place / "replies").glob("turn_*.md"), key=_turn)],
        _log_lines(place / AGENT_LOG),
        [call for name in CALLS for call in _calls(place / name)],
        _change(parent, solutions) if parent else None,
        _text(folder / "digest_model.md").strip(),
        _preflight(draft / "preflight.json"),
    )


def _load(kind: type[T], path: Path) -> T | None:
    return schema.load(kind, path) if path.is_file() else None


def _text(path: Path) -> str:
    return path.read_text(encoding="utf-8", errors="replace") if path.is_file() else ""


def _preflight(path: Path) -> dict[str, Any]:
    found = files.read_json(path) if path.is_file() else {}
    return found if isinstance(found, dict) else {}


def _turn(path: Path) -> tuple[int, str]:
    found = re.search(r"\d{1,6}", path.name)
    return (int(found[0]) if found else 0, path.name)


def _calls(path: Path) -> list[Call]:
    """Return the calls of a finished file, and of one that was cut off those that are whole."""
    found = [_json(line) for line in _text(path).splitlines()]
    return [schema.from_dict(Call, values) for values in found if isinstance(values, dict)]


def _log_lines(path: Path) -> list[str]:
    """Return the lines of a stamped log; a line that is none, as after a kill, is left out."""
    found = [_json(line) for line in _text(path).split("\n")]
    return [str(values.get("line", "")) for values in found if isinstance(values, dict)]


def _json(line: str) -> Any:
    try:
        return json.loads(line)
    except ValueError:
        return None


def _change(parent: Parent, solutions: _Solutions) -> list[str] | None:
    before, after = solutions.read(parent.parent), solutions.read(parent.node)
    return diff(before, after) if before and after else None


def diff(before: Mapping[str, str], after: Mapping[str, str]) -> list[str]:
    """Return the unified diff over all files, without the lines' ends."""
    lines: list[str] = []
    for name in sorted(set(before) | set(after)):
        old, new = before.get(name, "").splitlines(), after.get(name, "").splitlines()
        lines += difflib.unified_diff(old, new, f"a/{name}", f"b/{name}", lineterm="")
    return lines
