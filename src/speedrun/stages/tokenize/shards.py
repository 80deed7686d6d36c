"""Shards in the speedrun's own .bin format: written whole or not at all, checked when read.

256 int32 header words (magic, version, token count, zeros), then the tokens as little-endian
uint16.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import BinaryIO

import numpy as np
import numpy.typing as npt

from speedrun import files
from speedrun.files import SpeedrunError

MAGIC = 20240520
VERSION = 1
HEADER_WORDS = 256
HEADER_BYTES = 4 * HEADER_WORDS

Tokens = npt.NDArray[np.uint16]


def header(count: int) -> bytes:
    """Return the header of a shard of ``count`` tokens."""
    words = np.zeros(HEADER_WORDS, dtype="<i4")
    words[:3] = MAGIC, VERSION, count
    return words.tobytes()


def write_shard(path: Path, tokens: Tokens) -> None:
    """Write tokens (n,) as one .bin shard."""
    files.write_bytes(path, header(len(tokens)) + tokens.astype("<u2").tobytes())


def read_shard(path: Path) -> Tokens:
    """Return the tokens (n,) of a .bin shard; a corrupt one is an error that names it."""
    check_shard(path)
    return np.fromfile(path, dtype="<u2", offset=HEADER_BYTES)


def map_shard(path: Path) -> Tokens:
    """Return the tokens (n,) of a .bin shard as a view of the file, which stays on the disk."""
    count = check_shard(path)
    return np.memmap(path, dtype="<u2", mode="r", offset=HEADER_BYTES, shape=(count,))


def check_shard(path: Path) -> int:
    """Return the token count of a whole shard; a corrupt one is an error that names it."""
    with path.open("rb") as file:
        words = np.frombuffer(file.read(HEADER_BYTES), dtype="u1")
    head = words[: len(words) // 4 * 4].view("<i4")
    if len(head) < HEADER_WORDS or head[0] != MAGIC or head[1] != VERSION:
        raise SpeedrunError(f"{path} is no token shard (wrong magic): delete it and run again")
    count = (path.stat().st_size - HEADER_BYTES) / 2
    if count != head[2]:
        raise SpeedrunError(
            f"{path} is truncated ({count:g} of {head[2]} tokens): delete it and run again"
        )
    return int(head[2])


class Series:
    """Shards of one split, filled one after another as tokens come; memory holds none of them.

    A shard takes its name when it is whole. Use as a context manager: what is open when an error
    comes is deleted.
    """

    def __init__(self, name: Callable[[int], Path], shard_tokens: int, limit: int | None = None):
        """``name`` gives the path of the n-th shard from 0; ``limit`` is in tokens."""
        self.name, self.shard_tokens, self.limit = name, shard_tokens, limit
        self.paths: list[Path] = []
        self.tokens = 0
        self._filled = 0  # tokens in the open shard
        self._file: BinaryIO | None = None

    def __enter__(self) -> Series:
        """Return the series."""
        return self

    def __exit__(self, kind: type[BaseException] | None, *rest: object) -> None:
        """Finish the last shard, or delete it after an error."""
        if kind is None and self._file:
            self._finish()
        elif self._file:
            with contextlib.suppress(OSError):  # what is buffered may not fit on the disk either
                self._file.close()
            self._part.unlink(missing_ok=True)

    def write(self, tokens: Tokens) -> None:
        """Append tokens; beyond ``limit`` they are left out."""
        if self.limit is not None:
            tokens = tokens[: self.limit - self.tokens]
        self.tokens += len(tokens)
        for piece in self._pieces(tokens):
            file = self._file or self._open()
            file.write(piece.astype("<u2", copy=False).data)
            self._filled += len(piece)
            if self._filled == self.shard_tokens:
                self._finish()

    def _pieces(self, tokens: Tokens) -> Iterator[Tokens]:
        """Cut tokens where shards end; ``_filled`` moves between the pieces."""
        while len(tokens):
            room = self.shard_tokens - self._filled
            yield tokens[:room]
            tokens = tokens[room:]

    @property
    def _part(self) -> Path:
        path = self.name(len(self.paths))
        return path.with_name(f".{path.name}.part")

    def _open(self) -> BinaryIO:
        self._part.parent.mkdir(parents=True, exist_ok=True)
        self._file = self._part.open("wb")
        self._file.write(header(0))
        return self._file

    def _finish(self) -> None:
        assert self._file
        self._file.seek(0)
        self._file.write(header(self._filled))
        self._file.flush()
        os.fsync(self._file.fileno())
        self._file.close()
        part, path = self._part, self.name(len(self.paths))
        part.replace(path)
        self.paths.append(path)
        self._file, self._filled = None, 0
