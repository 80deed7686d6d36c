"""CPU seconds and memory of a whole process tree, read from outside through /proc.

The CPU of a tree is, over its processes, their own CPU plus that of the children which they
have waited for. A process that disappears without anyone counting it (its parent ignores
SIGCHLD) stays counted with what it had used when last seen. Limits: a child that both lives
between two samples and is reaped uncounted is not seen, and a figure is good to one clock tick
(10 ms) a process. Resident memory counts a shared page once for each process that maps it.
"""

from __future__ import annotations

import ctypes
import os
from collections.abc import Iterable
from dataclasses import dataclass

TICK_S = 1 / os.sysconf("SC_CLK_TCK")
PAGE_MB = os.sysconf("SC_PAGE_SIZE") / 2**20
PR_SET_CHILD_SUBREAPER = 36
# Fields of /proc/<pid>/stat, counted from the state, which follows the command's name.
STATE, PARENT, UTIME, CSTIME, THREADS, START, RSS = 0, 1, 11, 14, 17, 19, 21


@dataclass(frozen=True)
class Process:
    """One line of /proc/<pid>/stat; ``start`` (ticks since boot) tells reused pids apart."""

    pid: int
    parent: int
    start: int
    ended: bool  # a zombie, or dying
    own_s: float
    reaped_s: float  # CPU of the children that it has waited for
    rss_mb: float


@dataclass(frozen=True)
class TreeSample:
    """A tree at one moment; ``cpu_s`` never falls from one sample to the next."""

    cpu_s: float
    rss_mb: float
    processes: list[Process]

    @property
    def living(self) -> list[Process]:
        """The processes that still run."""
        return [process for process in self.processes if not process.ended]


def read_process(pid: int) -> Process | None:
    """Return what the kernel says of ``pid``; None when there is no such process."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            text = file.read()
    except OSError:  # gone, perhaps between opening and reading
        return None
    fields = text[text.rindex(b")") + 2 :].split()  # the name itself may hold blanks and ")"
    ticks = [int(field) for field in fields[UTIME : CSTIME + 1]]
    return Process(
        pid=pid,
        parent=int(fields[PARENT]),
        start=int(fields[START]),
        # Its first thread may have ended before the others: a zombie that runs.
        ended=fields[STATE] in b"ZXx" and int(fields[THREADS]) < 2,
        own_s=(ticks[0] + ticks[1]) * TICK_S,
        reaped_s=(ticks[2] + ticks[3]) * TICK_S,
        rss_mb=int(fields[RSS]) * PAGE_MB,
    )


def children(pids: Iterable[int]) -> set[int]:
    """Return the children of ``pids``, zombies included; by the kernel's lists if it has them."""
    if not os.path.exists(f"/proc/self/task/{os.getpid()}/children"):
        return _children_by_scan(set(pids))
    return {child for pid in pids for child in _listed_children(pid)}


def _listed_children(pid: int) -> list[int]:
    found: list[int] = []
    try:
        for thread in os.listdir(f"/proc/{pid}/task"):
            with open(f"/proc/{pid}/task/{thread}/children", "rb") as file:
                found.extend(int(child) for child in file.read().split())
    except OSError:  # the process or one of its threads has ended
        pass
    return found


def _children_by_scan(parents: set[int]) -> set[int]:
    processes = (read_process(int(name)) for name in os.listdir("/proc") if name.isdigit())
    return {process.pid for process in processes if process and process.parent in parents}


def adopt_orphans() -> None:
    """Make this process the parent of its orphaned descendants, as init would be.

    Their last CPU seconds then stay readable until we reap them. Where the C library cannot be
    reached the clock falls back on what it saw last.
    """
    try:
        ctypes.CDLL(None, use_errno=True).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    except (OSError, AttributeError):
        return


class TreeClock:
    """Follows one tree. A process once seen stays a member until it is reaped.

    So an orphan is followed wherever it is re-parented to, and a race while /proc is being read
    can delay a member but not lose it.
    """

    def __init__(self, root: int) -> None:
        """Start at ``root``, a child that the caller has not reaped yet."""
        self._members: dict[int, Process] = {}
        self._unpaid_s = 0.0  # CPU of processes that went since the last sample, not yet credited
        self._lost_s = 0.0
        self._highest_s = 0.0
        self.add(root)

    def add(self, pid: int) -> None:
        """Make ``pid`` a member; one that is already gone is ignored."""
        process = read_process(pid)
        if process and pid not in self._members:
            self._members[pid] = process

    def sample(self) -> TreeSample:
        """Read the tree now."""
        known = self._members
        current = self._still_there(known)
        self._credit(known, current)
        self._members = {**current, **_descendants(current)}
        processes = list(self._members.values())
        total_s = sum(process.own_s + process.reaped_s for process in processes)
        self._highest_s = max(self._highest_s, total_s + self._lost_s + self._unpaid_s)
        rss_mb = sum(process.rss_mb for process in processes)
        return TreeSample(self._highest_s, rss_mb, processes)

    @staticmethod
    def _still_there(known: dict[int, Process]) -> dict[int, Process]:
        found = {pid: read_process(pid) for pid in known}
        return {
            pid: process for pid, process in found.items() if process and _same(process, known[pid])
        }

    def _credit(self, known: dict[int, Process], current: dict[int, Process]) -> None:
        """Keep the CPU of vanished processes that no waiting parent's total has taken over.

        A parent's total may be read just before it takes a child over, so a debt is given one
        more sample to be paid before it counts as lost to the kernel's books.
        """
        gone_s = sum(p.own_s + p.reaped_s for pid, p in known.items() if pid not in current)
        taken_s = sum(process.reaped_s - known[pid].reaped_s for pid, process in current.items())
        self._lost_s += max(0.0, self._unpaid_s - taken_s)
        self._unpaid_s = max(0.0, gone_s - max(0.0, taken_s - self._unpaid_s))


def _same(one: Process, other: Process) -> bool:
    return one.start == other.start


def _descendants(members: dict[int, Process]) -> dict[int, Process]:
    """Return the descendants of ``members`` that are not members yet."""
    found: dict[int, Process] = {}
    fresh = set(members)
    while fresh:
        candidates = children(fresh) - members.keys() - found.keys()
        read = {pid: read_process(pid) for pid in candidates}
        found |= {pid: process for pid, process in read.items() if process}
        fresh = {pid for pid, process in read.items() if process}
    return found
