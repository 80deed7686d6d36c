"""What is started, and what the child does to itself before it becomes the command."""

from __future__ import annotations

import contextlib
import ctypes
import os
import resource
import signal
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from speedrun.schema import TrainSpec

PR_SET_PDEATHSIG = 1
SPARE_TASKS = 256  # what a user's other programs may start meanwhile


@dataclass(frozen=True)
class Command:
    """What to start. ``sandboxed``: the first word is bubblewrap, which contains the tree."""

    words: Sequence[str]
    folder: Path
    environment: Mapping[str, str]
    sandboxed: bool
    cpu: int | None = None  # the core to pin the tree to
    start: Path | None = None  # where it begins; None is ``folder``, whose size is watched
    scratch: Path | None = None  # a second folder that counts as the first does
    data: Mapping[str, Path] = field(default_factory=dict)  # name under data/ -> file, watched
    shared: bool = False  # of the data: other programs may open these very files
    started: Path | None = None  # a pipe to which a container reports that it stands
    token: str = ""  # of this run: marks its processes (keeper.py)
    group: Path | None = None  # a control group that caps its tasks (cgroup.py)


def report_pipe(command: Command) -> tuple[int, int]:
    """Return the ends of the pipe on which the sandbox reports: ours, and one for the child.

    Into a pipe with a name untrusted code may write too: only that something came is told by it.
    """
    ours, theirs = os.pipe()
    if command.started is None:
        return ours, theirs
    os.close(ours)
    return os.open(command.started, os.O_RDONLY | os.O_NONBLOCK), theirs


def readable(content: bytes) -> int:
    """Return a descriptor from which a child can read ``content``, some bytes."""
    reader, writer = os.pipe()
    os.write(writer, content)
    os.close(writer)
    return reader


def preparation(command: Command, spec: TrainSpec) -> Callable[[], None]:
    """Return the child's last steps: die with the harness, take the caps on, move to its core."""
    limits = {resource.RLIMIT_FSIZE: spec.file_mb * 2**20, resource.RLIMIT_CORE: 0}
    if os.getuid() != 0:  # the kernel does not hold root to it
        limits[resource.RLIMIT_NPROC] = _tasks_of(os.getuid()) + spec.processes + SPARE_TASKS
    libc, harness = ctypes.CDLL(None), os.getpid()

    def prepare() -> None:
        libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
        if os.getppid() != harness:  # it died before that
            os._exit(1)
        if command.group is not None:
            (command.group / "cgroup.procs").write_text("0", encoding="ascii")
        for kind, limit in limits.items():
            resource.setrlimit(kind, (limit, limit))
        if command.cpu is not None:
            os.sched_setaffinity(0, {command.cpu})
        # Should memory run out all the same, the kernel takes the candidate, not the harness.
        with contextlib.suppress(OSError), open("/proc/self/oom_score_adj", "w") as file:
            file.write("1000")

    return prepare


def _tasks_of(user: int) -> int:
    """Return how many tasks ``user`` runs now: the kernel's limit counts them all."""
    count = 0
    for name in filter(str.isdigit, os.listdir("/proc")):
        with contextlib.suppress(OSError):
            if os.stat(f"/proc/{name}").st_uid == user:
                count += len(os.listdir(f"/proc/{name}/task"))
    return count
