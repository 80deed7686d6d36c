"""How many calls a provider gets at one time, over all processes that share the store.

A slot is a lock file: the system frees it when its process dies, however it dies.
"""

from __future__ import annotations

import contextlib
import random
import re
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import filelock

POLL_S = (0.02, 0.2)  # between two looks at taken slots, at random so that none is starved


@contextlib.contextmanager
def slot(
    folder: Path, provider: str, limit: int | None, over: threading.Event | None = None
) -> Iterator[None]:
    """Wait for one of ``limit`` slots of ``provider`` and hold it; None is no limit.

    Once ``over`` is set none is waited for, and none may be held.
    """
    if limit is None:
        yield
        return
    place = folder / re.sub(r"[^A-Za-z0-9._-]", "_", provider)
    place.mkdir(parents=True, exist_ok=True)
    lock = _wait(place, limit, over or threading.Event())
    try:
        yield
    finally:
        if lock:
            lock.release()


def _wait(place: Path, limit: int, over: threading.Event) -> filelock.BaseFileLock | None:
    numbers = list(range(limit))
    while not over.is_set():
        random.shuffle(numbers)
        for number in numbers:
            lock = filelock.FileLock(place / f"{number}.lock")
            with contextlib.suppress(filelock.Timeout):
                lock.acquire(blocking=False)
                return lock
        time.sleep(random.uniform(*POLL_S))
    return None
