"""The workflow that asked for a run: when it has died, what it asked for ends instead of going on.

A killed workflow leaves its jobs behind, and the next one would start the same run beside them.
"""

from __future__ import annotations

import os

from speedrun.files import SpeedrunError
from speedrun.runner import clock


def find() -> clock.Process | None:
    """Return the workflow's process if SPEEDRUN_WORKFLOW_PID names one of our ancestors."""
    named = os.environ.get("SPEEDRUN_WORKFLOW_PID", "")
    process = clock.read_process(os.getpid())
    while process and process.parent:
        process = clock.read_process(process.parent)
        if process and str(process.pid) == named:
            return process
    return None


def demand(workflow: clock.Process | None) -> None:
    """Raise SpeedrunError if there was a workflow and it has died."""
    if workflow and not _alive(workflow):
        raise SpeedrunError("the workflow that started this run has died: start it again")


def _alive(process: clock.Process) -> bool:
    now = clock.read_process(process.pid)
    return now is not None and now.start == process.start and not now.ended
