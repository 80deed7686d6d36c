"""One workflow a results folder: a kernel lock, which a SIGKILL cannot leave behind."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path
from typing import TextIO

from speedrun.files import SpeedrunError

_held: list[TextIO] = []  # kept open: the lock lives as long as the process


def take(path: Path) -> None:
    """Lock ``path`` for the life of this process.

    Errors: SpeedrunError naming the holder when another workflow runs in this folder.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    file = path.open("a+", encoding="utf-8")
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        file.seek(0)
        raise SpeedrunError(
            f"another workflow (process {file.read().strip() or 'unknown'}) runs in this folder: "
            "wait for it, or start this one elsewhere with --directory"
        ) from error
    file.truncate(0)
    file.write(str(os.getpid()))
    file.flush()
    _held.append(file)
