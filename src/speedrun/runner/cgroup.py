"""A hard cap on the tasks of a run where the kernel's own limit holds nobody.

RLIMIT_NPROC does not hold root, and a fork bomb outruns a harness that looks ten times a second:
with two at once a machine of two cores came to a load of 9,000. Root can make a group of the pids
controller, which refuses the fork itself. Where there is none to write to, the looks remain.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

V1, V2 = Path("/sys/fs/cgroup/pids"), Path("/sys/fs/cgroup")
PREFIX = "speedrun-"


@contextlib.contextmanager
def capped(tasks: int) -> Iterator[Path | None]:
    """Yield a new group that holds ``tasks`` tasks, threads included; None where none is needed.

    A process joins by writing 0 to its cgroup.procs. The tree must be dead at the end.
    """
    group = _made(tasks) if os.getuid() == 0 else None
    try:
        yield group
    finally:
        if group:
            with contextlib.suppress(OSError):
                group.rmdir()


def _made(tasks: int) -> Path | None:
    parent = _controller()
    if parent is None:
        return None
    _tidy(parent)
    group = parent / f"{PREFIX}{os.getpid()}-{os.urandom(4).hex()}"
    try:
        group.mkdir()
        (group / "pids.max").write_text(str(tasks), encoding="ascii")
    except OSError:  # read-only, as in most containers
        with contextlib.suppress(OSError):
            group.rmdir()
        return None
    return group


def _controller() -> Path | None:
    """Return where groups of the pids controller are made; version 2 must hand it on."""
    if (V1 / "cgroup.procs").is_file():
        return V1
    try:
        handed_on = (V2 / "cgroup.subtree_control").read_text(encoding="ascii").split()
    except OSError:
        return None
    return V2 if "pids" in handed_on else None


def _tidy(parent: Path) -> None:
    """Remove the empty groups of harnesses that were killed."""
    for left in parent.glob(f"{PREFIX}*-*"):
        owner = left.name.removeprefix(PREFIX).partition("-")[0]
        if not Path("/proc", owner).exists():
            with contextlib.suppress(OSError):  # not empty yet
                left.rmdir()
