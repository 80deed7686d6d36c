"""The child process: caps itself, compares the folders of one request, answers in JSON."""

from __future__ import annotations

import json
import resource
import sys
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from speedrun.rules.compare import findings

MEMORY_BYTES = 2 * 1024**3
CPU_S = 40
STACK_FRAMES = 3000  # of nested expressions; CPython's parser gives up at some hundreds
MOST_FINDINGS = 500


def main() -> None:
    """Answer the request on standard input with rows of findings on standard output."""
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))
    resource.setrlimit(resource.RLIMIT_CPU, (CPU_S, CPU_S))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    sys.setrecursionlimit(STACK_FRAMES)
    warnings.simplefilter("ignore")  # odd escapes in old scripts
    json.dump(answer(json.load(sys.stdin)), sys.stdout)


def answer(request: Mapping[str, Any]) -> list[list[Any]]:
    """Return one row a finding, the worst first."""
    target, own = request["target"], request["own"]
    found = findings(
        Path(request["solution"]),
        Path(request["start"]),
        request["entry"],
        set(request["enabled"]),
        Path(target) if target else None,
        request["target_loss"],
        Path(own) if own else None,
    )
    rows = [[one.rule, one.severity, one.file, one.line, one.what, one.key] for one in found]
    return sorted(rows, key=lambda row: (row[1] != "violation", row[0], row[2], row[3]))[
        :MOST_FINDINGS
    ]
