"""A candidate's output as stamped lines: bounded in memory and on disk, whatever is printed."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from speedrun.files import SpeedrunError
from speedrun.runner import protocol

LINE_BYTES = 65536  # longer lines are kept in pieces
LOG_GROWTH = 2  # the log may take this many times the output's own limit: stamps, escapes


@dataclass(frozen=True)
class Stamp:
    """When a line arrived: seconds since the start, and CPU seconds of the process tree."""

    wall_s: float
    cpu_s: float


@dataclass(frozen=True)
class LogLine:
    """One line of log.jsonl, as it was read back."""

    wall_s: float
    cpu_s: float
    line: str


class StampedLog:
    """Writes log.jsonl while the output comes in.

    ``flooded`` turns true, and nothing more is kept, once the output exceeds its limit.
    ``clock_s`` is the CPU stamp of the last protocol line, None before there is one;
    ``last_line`` is what was written last.
    """

    def __init__(self, path: Path, limit_bytes: int) -> None:
        """Open ``path`` anew; ``limit_bytes`` bounds the output that is read and kept."""
        self.received_bytes = 0
        self.flooded = False
        self.clock_s: float | None = None
        self.last_line = ""
        self._path, self._limit_bytes = path, limit_bytes
        self._carry = b""  # the line that has not ended yet
        self._reader = protocol.Reader()
        self._last = Stamp(0.0, 0.0)
        self._written_bytes = 0
        with self._own_failure():
            self._file = path.open("wb")

    def __enter__(self) -> Self:
        """Return self; the block's end closes the file."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Close; a failure to write the rest counts unless another one is on its way."""
        with self._own_failure() if error is None else contextlib.suppress(OSError):
            self._file.close()

    def wants_stamp(self, chunk: bytes) -> bool:
        """Say whether ``chunk`` may complete a protocol line, whose stamp must be fresh."""
        waiting = self._carry + chunk
        return any(mark in waiting for mark in protocol.MARKS)

    def feed(self, chunk: bytes, stamp: Stamp) -> None:
        """Take output in, stamping the lines that end in it; after a flood, drop it."""
        if self.flooded:
            return
        room = self._limit_bytes - self.received_bytes
        self.received_bytes += len(chunk)
        self.flooded = len(chunk) > room
        *ended, self._carry = (self._carry + chunk[:room]).split(b"\n")
        self._last = stamp
        self._write(ended)
        if len(self._carry) > LINE_BYTES:
            self.end_line()

    def end_line(self) -> None:
        """Write what came without a newline, if anything."""
        if self._carry:
            self._write([self._carry])
            self._carry = b""

    def _write(self, lines: Iterable[bytes]) -> None:
        with self._own_failure():
            for line in lines:
                if self._written_bytes > LOG_GROWTH * self._limit_bytes:
                    self.flooded = True
                    break
                self._write_line(line.decode("utf-8", "replace"))
            self._file.flush()

    def _write_line(self, line: str) -> None:
        wall_s, cpu_s = round(self._last.wall_s, 3), round(self._last.cpu_s, 3)
        if self._reader.feed(line):
            self.clock_s = cpu_s
        self.last_line = line
        record = {"wall_s": wall_s, "cpu_s": cpu_s, "line": line}
        self._written_bytes += self._file.write(encode(record))

    @contextlib.contextmanager
    def _own_failure(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise SpeedrunError(
                f"cannot write {self._path} ({error.strerror}): make room there and run again"
            ) from error


def encode(record: dict[str, Any]) -> bytes:
    """Return one line of log.jsonl."""
    return json.dumps(record, ensure_ascii=False).encode() + b"\n"


def read(path: Path) -> Iterator[LogLine]:
    """Yield the lines of a finished run's log.jsonl one by one."""
    try:
        with path.open(encoding="utf-8", newline="\n") as file:
            for text in file:
                yield LogLine(**json.loads(text))
    except FileNotFoundError as error:
        raise SpeedrunError(f"{path} is missing: run `snakemake` to make it") from error
    except (ValueError, TypeError) as error:
        raise SpeedrunError(f"{path} is broken ({error}): delete it and run again") from error
