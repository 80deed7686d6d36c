"""Which data files a run opened and when, seen from outside the sandbox through inotify(7).

A sandbox binds the very inodes that are watched here, and mounting them opens nothing, so that what
is seen are the run's own opens. A watch ends with its first event and is set again at the next
look: the queue holds two events a file at most, however often a script opens one. What is not
seen: how much of an open file was read, and whether a mapped one was touched later.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import struct
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path

from speedrun.schema import Read

INTERVAL_S = 0.1  # between two looks: what the stamps are good to
EVENT = struct.Struct("iIII")  # watch, mask, cookie, length of a name, which a file has none of
QUEUE_BYTES = 1 << 16
OPEN, ONESHOT = 0x20, 0x80000000  # of linux/inotify.h


class Watch:
    """Follows the opens of some files, as long as it is asked to look."""

    def __init__(self, shown: Mapping[str, Path], shared: bool) -> None:
        """Watch ``shown`` (name -> file); ``shared``: other programs may open these very files.

        Where nothing can be watched (no files, or the kernel's limits on inotify are reached)
        ``reads`` is None.
        """
        self._files = dict(shown)
        self._seen = {name: Read(name, 0, None, None, shared) for name in shown}
        self._armed: dict[int, set[str]] = {}  # a file may have two names
        self._were = {name: _identity(path) for name, path in shown.items()}
        self._looked_s = 0.0
        self._fd = _open() if shown else None
        if self._fd is not None and not self._arm(shown):
            self.close()
        self._known = self._fd is not None

    @property
    def reads(self) -> list[Read] | None:
        """What was seen, one a file; None if nothing could be, or other files are there now."""
        same = all(_identity(self._files[name]) == was for name, was in self._were.items())
        return list(self._seen.values()) if self._known and same else None

    def close(self) -> None:
        """Stop watching."""
        if self._fd is not None:
            os.close(self._fd)
            self._fd = None

    def look(self, now_s: float, at_once: bool = False) -> None:
        """Take in what was opened since the last look, ``now_s`` seconds after the run's start."""
        if self._fd is None or (now_s - self._looked_s < INTERVAL_S and not at_once):
            return
        self._looked_s = now_s
        opened = set(self._opened(self._fd))
        for name in opened:
            seen = self._seen[name]
            first_s = round(now_s, 3) if seen.first_s is None else seen.first_s
            self._seen[name] = replace(
                seen, opens=seen.opens + 1, first_s=first_s, last_s=round(now_s, 3)
            )
        self._arm(opened)

    def _opened(self, queue: int) -> list[str]:
        content = b""
        with contextlib.suppress(BlockingIOError):
            while chunk := os.read(queue, QUEUE_BYTES):
                content += chunk
        whole = content[: len(content) - len(content) % EVENT.size]
        events = [(watch, mask) for watch, mask, _, _ in EVENT.iter_unpack(whole) if mask & OPEN]
        return [name for watch, _ in events for name in self._armed.pop(watch, ())]

    def _arm(self, names: Iterable[str]) -> bool:
        """Watch for the next open of each; False if one cannot be watched (any more)."""
        libc, whole = ctypes.CDLL(None), True
        for name in names:
            path = os.fsencode(self._files[name])
            watch = libc.inotify_add_watch(self._fd, path, ctypes.c_uint32(OPEN | ONESHOT))
            if watch >= 0:
                self._armed.setdefault(watch, set()).add(name)
            whole = whole and watch >= 0
        return whole


def _identity(path: Path) -> tuple[int, int] | None:
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_dev, status.st_ino


def _open() -> int | None:
    """Return a new queue; None where the kernel or the C library has none left to give."""
    try:
        queue: int = ctypes.CDLL(None).inotify_init1(os.O_NONBLOCK | os.O_CLOEXEC)
    except (OSError, AttributeError):
        return None
    return queue if queue >= 0 else None
