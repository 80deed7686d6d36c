"""What a workflow's main process does for its jobs: one lock a folder, and their environment."""

from __future__ import annotations

import fcntl
import os
import re
import sys
from pathlib import Path
from typing import TextIO

from speedrun.files import SpeedrunError

# What a verb prints as it stops at a cap (adapters/ledger.py).
BUDGET = re.compile(r"speedrun \w+: (budget\.\w+\.\w+) = .* is used up")
_held: list[TextIO] = []  # kept open: the lock lives as long as the process


def lock(path: Path) -> None:
    """Lock ``path`` for the life of this process: a kernel lock, which a SIGKILL cannot leave.

    Errors: SpeedrunError naming the holder when another workflow runs in this folder.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    file = path.open("a+", encoding="utf-8")
    _take(file, fcntl.LOCK_EX)
    file.truncate(0)
    file.write(str(os.getpid()))
    file.flush()
    _held.append(file)


def check_free(path: Path) -> None:
    """Raise lock's error if another workflow holds ``path``; take nothing and write nothing.

    For what runs no job (dry runs, lint): it must not change the plan of a running workflow.
    """
    if path.is_file():
        with path.open(encoding="utf-8") as file:
            _take(file, fcntl.LOCK_SH)  # let go of as the file is closed


def _take(file: TextIO, kind: int) -> None:
    try:
        fcntl.flock(file, kind | fcntl.LOCK_NB)
    except BlockingIOError as error:
        file.seek(0)
        raise SpeedrunError(
            f"another workflow (process {file.read().strip() or 'unknown'}) runs in this folder: "
            "wait for it, or start this one elsewhere with --directory"
        ) from error


def made_since(started_s: float, *paths: Path) -> bool:
    """Return whether one of the files is newer than ``started_s`` (epoch seconds)."""
    return any(path.is_file() and path.stat().st_mtime >= started_s for path in paths)


def budget_lines(logs: Path, since_s: float) -> list[str]:
    """Return what jobs since ``since_s`` (epoch seconds) said of a cap, one line a cap.

    A job's log holds what it printed; where several jobs met the cap, how many is said.
    """
    said: dict[str, list[str]] = {}
    recent = (path for path in sorted(logs.rglob("*.log")) if path.stat().st_mtime >= since_s)
    for path in recent:
        for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
            if found := BUDGET.match(line):
                said.setdefault(found[1], []).append(line)
    more = {cap: f" ({len(lines)} jobs stopped there)" for cap, lines in said.items()}
    return [lines[-1] + (more[cap] if len(lines) > 1 else "") for cap, lines in said.items()]


def prepare_jobs() -> None:
    """Let jobs find the `speedrun` beside this interpreter, and end when this process dies."""
    beside = str(Path(sys.executable).parent)
    os.environ["PATH"] = os.pathsep.join([beside, os.environ.get("PATH", "")])
    os.environ["SPEEDRUN_WORKFLOW_PID"] = str(os.getpid())
