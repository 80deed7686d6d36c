"""The log file that a training script writes beside its output, followed while it grows.

Upstream's scripts write ``logs/<id>.txt``. Record 17's reports its progress nowhere else, so that
the harness must look there to stamp it. The folder is a candidate's: nothing but a regular file
below it is opened, links are not followed, and only lines of the protocol are kept.
"""

from __future__ import annotations

import contextlib
import os
import stat
from pathlib import Path

from speedrun.runner import protocol
from speedrun.runner.log import Stamp, StampedLog
from speedrun.schema import TrainSpec

FOLDER = "logs"
SUFFIX = ".txt"
CHUNK_BYTES = 1 << 20
LINE_BYTES = 4096  # a longer line is none of the protocol
KEPT_BYTES = 1 << 25


class LogFile:
    """Follows the first log file of a work folder, as long as the output reports nothing."""

    def __init__(self, folder: Path, spec: TrainSpec) -> None:
        """Follow the log of a script that runs in ``folder`` if torchrun starts it.

        Other scripts report in their output: their track's rules say so.
        """
        self._folder, self._wanted = folder / FOLDER, spec.launch == "torchrun"
        self._lines: list[tuple[float, bytes]] = []  # wall seconds, line
        self._fd: int | None = None
        self._carry = b""
        self._kept_bytes = 0

    def close(self) -> None:
        """Let go of the file and forget its lines."""
        self._wanted = False
        self._lines.clear()
        if self._fd is not None:
            os.close(self._fd)
            self._fd = None

    def follow(self, log: StampedLog, wall_s: float) -> None:
        """Look for new lines, unless ``log`` has the output's own reports by now."""
        if log.clock_s is not None:
            self.close()
        self._look(wall_s)

    def finish(self, log: StampedLog, last: Stamp) -> None:
        """Put what only the file reports behind the output, each line with its wall stamp."""
        self.follow(log, last.wall_s)
        while self._look(last.wall_s):
            pass
        log.end_line()
        for wall_s, line in self._lines:
            log.feed(line + b"\n", Stamp(wall_s, last.cpu_s))

    def _look(self, wall_s: float) -> bool:
        """Take in what was written since the last look; return whether there was anything."""
        if self._fd is None and self._wanted:
            self._fd = _first_log(self._folder)
        chunk = b"" if self._fd is None else os.read(self._fd, CHUNK_BYTES)
        *ended, self._carry = (self._carry + chunk).split(b"\n")
        self._carry = self._carry[:LINE_BYTES]
        for line in ended:
            if self._kept_bytes < KEPT_BYTES and _reports(line):
                self._lines.append((wall_s, line))
                self._kept_bytes += len(line)
        return bool(chunk)


def _reports(line: bytes) -> bool:
    if not line.startswith(b"step:") or len(line) > LINE_BYTES:
        return False
    text = line.decode("utf-8", "replace")
    return bool(protocol.parse(text) or protocol.parse_step(text))


def _first_log(folder: Path) -> int | None:
    """Open the log file that comes first by name; None while there is none."""
    try:
        place = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        for name in sorted(name for name in os.listdir(place) if name.endswith(SUFFIX)):
            with contextlib.suppress(OSError):
                flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
                found = os.open(name, flags, dir_fd=place)
                if stat.S_ISREG(os.fstat(found).st_mode):
                    return found
                os.close(found)
    finally:
        os.close(place)
    return None
