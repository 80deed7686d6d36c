"""What a trial cost: tokens, dollars and device seconds, from its nodes' files."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from speedrun import files, schema, trials

# of a node: what the coder cost, its draft among it, and the summary of the run
CALLS = ("calls.jsonl", "digest_model.calls.jsonl")
PREFLIGHT = "draft/preflight.json"


def costs(nodes: Sequence[trials.Node]) -> dict[str, Any]:
    """Return the sums of tokens, dollars and device seconds; None if any part is unknown."""
    paths = [node.folder / name for node in nodes for name in CALLS]
    calls = [call for path in paths for call in read_calls(path)]
    tokens = [part for call in calls for part in (call.tokens_in, call.tokens_out)]
    return {
        "tokens": _sum(tokens),
        "cost_usd": _sum([call.cost_usd for call in calls]),
        "device_seconds": _sum([part for node in nodes for part in _device_seconds(node)]),
    }


def _sum(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return sum(known) if len(known) == len(values) else None


def _device_seconds(node: trials.Node) -> list[float | None]:
    """Return what a node's run cost, 0 when there was nothing to run, and its preflight's."""
    checked = node.folder / PREFLIGHT
    tried = files.read_json(checked)["device_seconds"] if checked.is_file() else 0.0
    if node.analysis.device_seconds is None:
        run = schema.load(schema.RunExit, node.folder / "run" / "exit.json")
        return [tried, None if run.ran else 0.0]
    return [tried, node.analysis.device_seconds]


def read_calls(path: Path) -> list[schema.Call]:
    """Read calls.jsonl; a coder without a model has none."""
    if not path.is_file():
        return []
    lines = path.read_text(encoding="utf-8").splitlines()
    return [_call(path, number, line) for number, line in enumerate(lines, 1) if line.strip()]


def _call(path: Path, number: int, line: str) -> schema.Call:
    try:
        return schema.from_dict(schema.Call, json.loads(line))
    except (json.JSONDecodeError, files.SpeedrunError) as error:
        raise files.SpeedrunError(
            f"{path} line {number}: {error}: delete the node and run again"
        ) from error
