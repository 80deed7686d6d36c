"""Ends what a run leaves behind when its harness is killed; a process of its own, one a run.

A sandbox dies with the harness only once it stands: bubblewrap binds its first process to itself
after the mounts, some 5 ms after it was started. Of 150 kills of the harness aimed at that moment
141 left the candidate running, with nobody to hold it to its caps. Without bubblewrap only
the first process is bound to the harness at all.

So a keeper waits at the other end of a pipe. A harness that ends the run says so; one that is
killed cannot, and the keeper kills all processes that carry the run's mark in their environment.
Only the standard library, as it is run by its path: ``python keeper.py TOKEN``.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator

RUN_VARIABLE = "SPEEDRUN_RUN"  # marks the processes of one run; a sandbox's command does not get it
QUIET_SCANS = 3  # without a marked process: one may be between two of the kernel's tables
LIMIT_S = 30.0  # what lives longer is stuck in the kernel


@contextlib.contextmanager
def beside(token: str) -> Iterator[None]:
    """Have a keeper for what is started within, which must be dead at the end."""
    keeper = subprocess.Popen(
        [sys.executable, "-I", "-S", "-B", __file__, token],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        cwd="/",
        start_new_session=True,  # whoever ends our group leaves the keeper
    )
    try:
        yield
    finally:
        with contextlib.suppress(BrokenPipeError):  # it was killed
            keeper.communicate(b"done")


def marked(pid: int, token: str) -> bool:
    """Return whether a process began with the run's mark in its environment."""
    with contextlib.suppress(OSError), open(f"/proc/{pid}/environ", "rb") as file:
        return f"{RUN_VARIABLE}={token}".encode() in file.read().split(b"\0")
    return False


def end(token: str) -> None:
    """Kill every process that has the mark, until none is found any more."""
    deadline_s, quiet = time.monotonic() + LIMIT_S, 0
    while quiet < QUIET_SCANS and time.monotonic() < deadline_s:
        found = [int(name) for name in os.listdir("/proc") if name.isdigit()]
        alive = [pid for pid in found if marked(pid, token)]  # a zombie has no environment
        for pid in alive:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.kill(pid, signal.SIGKILL)
        quiet = 0 if alive else quiet + 1
        time.sleep(0.01)


if __name__ == "__main__":
    if not sys.stdin.buffer.read():
        end(sys.argv[1])
