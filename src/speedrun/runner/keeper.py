"""The process that ends what a run leaves behind when its harness is killed; one a run.

A sandbox dies with the harness only once it stands: bubblewrap binds its first process to itself
after the mounts, some 5 ms after it was started. Of 150 kills of the harness aimed at that moment
141 left the candidate running, with nobody to hold it to its caps. Without bubblewrap only
the first process is bound to the harness at all.

The keeper waits at the other end of a pipe (leash.py) on which it is told the pids of sandboxes.
The pipe breaks when the harness dies; then the keeper kills these, whatever they have made of
themselves meanwhile, and all processes that began with the run's mark in their environment.

Run by its path, ``python keeper.py TOKEN``, it imports next to nothing: each run pays for it.
"""

from __future__ import annotations

import os
import sys
import time

RUN_VARIABLE = "SPEEDRUN_RUN"  # marks the processes of one run
SIGKILL = 9  # importing signal takes longer than all else here
QUIET_SCANS = 3  # without a marked process: one may be between two of the kernel's tables
LIMIT_S = 30.0  # what lives longer is stuck in the kernel


def main(token: str) -> None:
    """Wait until the pipe on standard input breaks, then end the run."""
    held, text = [], b""
    while told := os.read(0, 4096):
        *pids, text = (text + told).split(b"\n")
        held += [handle for pid in pids if (handle := _handle(int(pid))) is not None]
    for handle in held:
        _signal(handle)
    end(token)


def _handle(pid: int) -> int | None:
    """Return a descriptor that stays this process's, where the kernel has such (Linux 5.3)."""
    try:
        return os.pidfd_open(pid)
    except (OSError, AttributeError):
        return None


def _signal(handle: int) -> None:
    import signal

    try:
        signal.pidfd_send_signal(handle, SIGKILL)
    except (OSError, AttributeError):
        return


def end(token: str) -> None:
    """Kill every process that has the mark, until none is found any more."""
    deadline_s, quiet = time.monotonic() + LIMIT_S, 0
    while quiet < QUIET_SCANS and time.monotonic() < deadline_s:
        found = [int(name) for name in os.listdir("/proc") if name.isdigit()]
        alive = [pid for pid in found if pid != os.getpid() and marked(pid, token)]
        for pid in alive:
            try:
                os.kill(pid, SIGKILL)
            except OSError:  # gone, or not ours
                continue
        quiet = 0 if alive else quiet + 1
        time.sleep(0.01)


def marked(pid: int, token: str) -> bool:
    """Return whether a process began with the run's mark in its environment.

    One whose first thread has ended shows its environment in the others alone; a zombie has none.
    """
    mark = f"{RUN_VARIABLE}={token}".encode()
    content = _read(f"/proc/{pid}/environ")
    if content:
        return mark in content.split(b"\0")
    try:
        threads = os.listdir(f"/proc/{pid}/task")
    except OSError:
        return False
    contents = (_read(f"/proc/{pid}/task/{thread}/environ") for thread in threads)
    return any(mark in content.split(b"\0") for content in contents)


def _read(path: str) -> bytes:
    try:
        with open(path, "rb") as file:
            return file.read()
    except OSError:  # ended meanwhile, or another user's
        return b""


if __name__ == "__main__":
    main(sys.argv[1])
