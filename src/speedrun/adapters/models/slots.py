"""How many calls a provider gets at one time, over all processes that share the store.

A slot is a lock file: the system frees it when its process dies, however it dies.
"""

from __future__ import annotations

import contextlib
import random
import re
import time
from collections.abc import Iterator
from pathlib import Path

import filelock

POLL_S = (0.02, 0.2)  # between two looks at taken slots, at random so that none is starved


@contextlib.contextmanager
def slot(folder: Path, provider: str, limit: int | None) -> Iterator[None]:
    """Wait for one of ``limit`` slots of ``provider`` and hold it; None is no limit."""
    if limit is None:
        yield
        return
    place = folder / re.sub(r"[^A-Za-z0-9._-]", "_", provider)
    place.mkdir(parents=True, exist_ok=True)
    lock = _wait(place, limit)
    try:
        yield
    finally:
        lock.release()


def _wait(place: Path, limit: int) -> filelock.BaseFileLock:
    numbers = list(range(limit))
    while True:
        random.shuffle(numbers)
        for number in numbers:
            lock = filelock.FileLock(place / f"{number}.lock")
            with contextlib.suppress(filelock.Timeout):
                lock.acquire(blocking=False)
                return lock
        time.sleep(random.uniform(*POLL_S))
