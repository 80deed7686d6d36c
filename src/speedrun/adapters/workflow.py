"""What a workflow's main process does for its jobs: one lock a folder, and their environment."""

from __future__ import annotations

import fcntl
import os
import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, TextIO

from speedrun import jobs
from speedrun.files import SpeedrunError

# What a verb prints as it stops at a cap (adapters/ledger.py).
BUDGET = re.compile(r"speedrun \w+: (budget\.\w+\.\w+) = .* is used up")
# Of --config: as a target, where they stand after another option, they would silently be nothing.
SETTINGS = ("sweep=", "overrides=", "force=")
_held: list[TextIO] = []  # kept open: the lock lives as long as the process


def check_words(words: Sequence[str]) -> None:
    """Refuse a command line on which a value of --config has become a target.

    Errors: SpeedrunError naming it.
    """
    option = ""
    for word in words:
        option = word if word.startswith("-") else option
        if word.startswith(SETTINGS) and option not in ("--config", "-C"):
            raise SpeedrunError(
                f"{word} is a target here: write all such words after one --config, as in "
                """snakemake -c2 --config sweep=NAME overrides='["key=value"]'"""
            )


def check_size(config: dict[str, Any], force: bool) -> None:
    """Refuse to plan more jobs than Snakemake can hold at ease, unless ``force``.

    Errors: SpeedrunError naming cells. Source: paper_main, 511,920 jobs, took 14 minutes and
    6.8 GB before its first job.
    """
    total = 0 if force else sum(jobs.count(config).values())
    if total > jobs.PLAN_JOBS:
        raise SpeedrunError(
            f"sweep {config['name']} is {total:,} jobs, which take gigabytes and many minutes to "
            """plan: run it in cells, e.g. overrides='["tasks=TASK"]' (docs/sweeps.md), or add """
            "force=1 after --config"
        )


def on_this_machine(workflow: Any) -> bool:
    """Return whether trainings run here, in a dry run: whether they would.

    A dry run has an executor of its own in place of the cluster's; that it is asked for threads is
    what remains of the latter (Snakemake 9.27). Known once the graph is being built.
    """
    settings = workflow.execution_settings
    return bool(workflow.local_exec and not (settings and settings.use_threads))


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
