"""Runs a few lines of Python as the runner's callers do."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import speedrun
from speedrun.runner import clock, process, sandbox
from speedrun.runner import log as stamped
from speedrun.runner.start import Command
from speedrun.schema import RunExit, TrainSpec

SOURCE = Path(speedrun.__file__).parents[1]
PROTOCOL = "step:1/1 val_loss:3.0 train_time:1ms step_avg:1ms"
BURN = """
import time
def burn(s):
    t = time.process_time()
    while time.process_time() - t < s:
        pass
"""


def make_spec(**changes: object) -> TrainSpec:
    """Return a spec for small scripts."""
    values = {"timeout_s": 20.0, "memory_mb": 400, "output_mb": 2, "file_mb": 4, "processes": 20}
    return TrainSpec(**{**values, "threads": 1, "sandbox": "bubblewrap", **changes})  # type: ignore[arg-type]


def run_code(
    folder: Path, code: str, spec: TrainSpec | None = None, cpu: int | None = None
) -> tuple[RunExit, list[stamped.LogLine]]:
    """Run ``code`` as the runner's callers do, in a work folder of its own."""
    spec = spec or make_spec()
    work, log = folder / "work", folder / "log.jsonl"
    work.mkdir(exist_ok=True)
    (work / "train.py").write_text(code)
    python = sandbox.interpreter()
    words, sandboxed = [str(python.executable), "train.py"], spec.sandbox == "bubblewrap"
    if sandboxed:
        mounts = sandbox.Mounts(work, {}, spec.hidden)
        words = [*sandbox.wrap(sandbox.find_bwrap(), python, mounts, spec), "--", *words]
    variables = sandbox.environment(python, str(work), spec, seed=1)
    ended = process.run(Command(words, work, variables, sandboxed, cpu), spec, log)
    return ended, list(stamped.read(log))


def text_of(lines: list[stamped.LogLine]) -> list[str]:
    """Return the text of log lines."""
    return [line.line for line in lines]


def wait_for(condition: Callable[[], object], limit_s: float = 20.0) -> bool:
    """Return whether ``condition`` came true within the limit."""
    deadline_s = time.monotonic() + limit_s
    while not condition():
        if time.monotonic() > deadline_s:
            return False
        time.sleep(0.02)
    return True


def gone(pid: int) -> bool:
    """Return whether a process has ended."""
    found = clock.read_process(pid)
    return found is None or found.ended
