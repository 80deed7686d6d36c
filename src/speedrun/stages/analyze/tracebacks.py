"""The exception that ended a run, from its output: Python's tracebacks, told apart by process.

A candidate prints what it likes, so this takes lines one by one and keeps little: of each process
the last traceback that came to its end. torch's own hook puts ``[rank3]:`` before each line of an
uncaught exception once the processes have met; before that they print alike, without any mark.
torchrun then prints a traceback of its own, which tells nothing and is left out.

Of chained exceptions the last counts, of several processes the first that failed: the others only
lost their partner.
"""

from __future__ import annotations

import re
from collections import deque
from dataclasses import dataclass, field

LINE_COLUMNS = 1000  # of a line that is looked at
FRAMES = 64  # kept of a traceback, the last ones
RANKS = 64  # processes told apart
MESSAGE_LINES = 4  # kept of an exception's message
NEAR_LINES = 100  # an unmarked traceback farther from the end was caught, and did not end the run

_HEADER = "Traceback (most recent call last):"
_RANK = re.compile(r"\[rank(\d{1,4})\]: ?")
_FRAME = re.compile(r'  File "([^"]{1,400})", line (\d{1,7})(?:, in (.{1,200}))?$')
_EXCEPTION = re.compile(r"((?:[A-Za-z_]\w{0,99}\.){0,9}[A-Za-z_]\w{0,99})(?:: ?(.*))?$", re.ASCII)
_CHAINED = ("During handling of the above", "The above exception was the direct cause")
_LAUNCHER = re.compile(r"[EW]\d{4} [\d:.]{1,20} \d{1,10} torch/distributed/elastic/")
_LAUNCHERS_ERROR = "ChildFailedError"
# torch's class had another module before 2.5; calls below its allocator raise a RuntimeError.
_GPU_MEMORY_ERROR = "OutOfMemoryError"
_GPU_MEMORY = re.compile(r"CUDA (?:error: )?out of memory")


@dataclass(frozen=True)
class Frame:
    """One entry of a traceback; ``source`` is "" where the traceback shows none."""

    file: str
    line: int
    function: str
    source: str = ""


@dataclass(frozen=True)
class Crash:
    """An uncaught exception. ``rank`` is None unless torch said which process it was."""

    exception: str  # its class, e.g. torch.OutOfMemoryError
    message: list[str]
    frames: list[Frame]
    rank: int | None = None

    @property
    def of_gpu_memory(self) -> bool:
        """Whether the cards' memory did not suffice, as torch or a library under it says."""
        said = any(_GPU_MEMORY.search(line) for line in self.message)
        return said or self.exception.rpartition(".")[2] == _GPU_MEMORY_ERROR


@dataclass
class _Block:
    """One traceback while its lines go by."""

    started: int  # lines of the log before it
    chained: bool
    frames: deque[Frame] = field(default_factory=lambda: deque(maxlen=FRAMES))
    exception: str = ""
    message: list[str] = field(default_factory=list)
    closed: bool = False  # nothing more belongs to the message
    ended: int = 0

    def add_frame(self, frame: Frame) -> None:
        """Add a frame, but not the same once more, which another process printed."""
        last = self.frames[-1] if self.frames else None
        if last is None or (last.file, last.line) != (frame.file, frame.line) or last.source:
            self.frames.append(frame)

    def add_source(self, text: str) -> None:
        """Give the last frame its source line; the marks below that line are dropped."""
        if self.frames and not self.frames[-1].source:
            last = self.frames.pop()
            self.frames.append(Frame(last.file, last.line, last.function, text.strip()))

    def add_message(self, text: str) -> None:
        """Add a further line of the message, unless it has ended."""
        self.closed = self.closed or not text.strip() or len(self.message) >= MESSAGE_LINES
        if not self.closed and text != f"{self.exception}: {self.message[0]}":
            self.message.append(text.strip())


class Tracebacks:
    """Takes a log's lines in and says at its end which exception ended the run."""

    def __init__(self) -> None:
        """Start before the first line."""
        self.launcher_spoke = False  # torchrun has begun to report a failed process
        self._lines = 0
        self._chained = False
        self._open: dict[int | None, _Block] = {}
        self._first: dict[int | None, _Block] = {}
        self._last: dict[int | None, _Block] = {}

    def take(self, line: str) -> None:
        """Take the next line of the log; what comes after the launcher's word is its own."""
        self.launcher_spoke = self.launcher_spoke or bool(_LAUNCHER.match(line))
        if self.launcher_spoke:
            return
        self._lines += 1
        rank, text = _split_rank(line[:LINE_COLUMNS])
        if rank in self._open or len(self._open) < RANKS:
            self._take(rank, text)

    def _take(self, rank: int | None, text: str) -> None:
        block, frame = self._open.get(rank), _FRAME.match(text)
        inside = block is not None and not block.exception
        if text == _HEADER or (frame and not inside):  # a SyntaxError comes without the header
            block = self._open[rank] = _Block(self._lines, self._chained)
            self._chained = False
        elif text.startswith(_CHAINED):
            self._chained = True
        if block is None:
            return
        if frame:
            block.add_frame(Frame(frame[1], int(frame[2]), frame[3] or ""))
        elif block.exception:
            block.add_message(text)
        elif text.startswith("    "):
            block.add_source(text)
        else:
            self._end(rank, block, text)

    def _end(self, rank: int | None, block: _Block, text: str) -> None:
        found = _EXCEPTION.match(text)
        if not found or not block.frames or not _like_a_class(found[1]):
            return
        block.exception, block.message = found[1], [(found[2] or "").strip()]
        block.ended = self._lines
        if found[1].endswith(_LAUNCHERS_ERROR):
            return
        first = self._first.get(rank)
        if first is None or (block.chained and first is self._last[rank]):
            self._first[rank] = block
        self._last[rank] = block

    def crash(self) -> Crash | None:
        """Return what ended the run, None where no traceback tells."""
        marked = {rank: block for rank, block in self._last.items() if rank is not None}
        if marked:
            rank = min(marked, key=lambda one: marked[one].started)
            return _crash(marked[rank], rank)
        last = self._last.get(None)
        if last is None or self._lines - last.ended > NEAR_LINES:
            return None
        return _crash(self._first[None] if self.launcher_spoke else last, None)


def _crash(block: _Block, rank: int | None) -> Crash:
    return Crash(block.exception, block.message, list(block.frames), rank)


def _split_rank(line: str) -> tuple[int | None, str]:
    marked = _RANK.match(line)
    return (int(marked[1]), line[marked.end() :]) if marked else (None, line)


def _like_a_class(name: str) -> bool:
    """Tell ``ValueError`` and ``struct.error`` from a word with a colon, e.g. ``step:1/20``."""
    return "." in name or name[0].isupper() or name[0] == "_"
