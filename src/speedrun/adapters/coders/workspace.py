"""The folder that a coding agent works on: made fresh, and read back as what a stranger left.

The agent is dead by the time its folder is read, but what it left is not to be trusted: a link
could lead to any file of ours, a FIFO would hold us for ever. Folders and files are opened one by
one below a folder that is ours, and no link is followed.
"""

from __future__ import annotations

import fnmatch
import os
import stat
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from speedrun import files
from speedrun.stages.generate.reply import RESERVED

# What agents and their tools leave beside the work.
LITTER = (".git", ".gitignore", ".cache", ".venv", "__pycache__", "*.pyc", ".pytest_cache",
          ".mypy_cache", ".ruff_cache", "node_modules", "*.log")  # fmt: skip
DEPTH = 12  # folders below one another
ENTRIES = 10_000  # looked at, litter included
OPEN = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC


class WorkspaceError(Exception):
    """What an agent left is no solution; one line says why."""


@dataclass(frozen=True)
class Limits:
    """What of a workspace is left out, and how much of it may be a solution (units of 1024)."""

    ignore: Sequence[str]  # patterns of names of files and folders
    max_files: int
    max_file_kb: int
    max_total_kb: int


def write(folder: Path, base: Mapping[str, str]) -> None:
    """Make the folder with the parent's files."""
    files.write_tree(folder, base)


def read(folder: Path, limits: Limits, given: Collection[str] = ()) -> dict[str, str]:
    """Return the solution that an agent left, or raise WorkspaceError.

    Litter and what a run itself provides (data/, probe_logits.npy) are left out; the parent's
    files, ``given``, are no litter. Names are checked where every coder's are
    (stages.generate.node).
    """
    found: dict[str, str] = {}
    room = limits.max_total_kb * 1024
    with _Folder(folder, limits, given) as reader:
        for name, content in reader.contents():
            room -= len(content)
            if room < 0:
                raise WorkspaceError(f"the files are larger than {limits.max_total_kb} KiB in all")
            found[name] = _text(name, content)
            if len(found) > limits.max_files:
                raise WorkspaceError(f"there are more than {limits.max_files} files")
    return found


class _Folder:
    """A walk below one open folder, which bounds what it looks at."""

    def __init__(self, folder: Path, limits: Limits, given: Collection[str]) -> None:
        self._folder, self._limits, self._seen = folder, limits, 0
        self._given = {str(path) for name in given for path in [Path(name), *Path(name).parents]}

    def __enter__(self) -> _Folder:
        try:
            self._top = os.open(self._folder, OPEN | os.O_DIRECTORY)
        except OSError as error:
            raise WorkspaceError(f"the workspace is gone: {error.strerror}") from error
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self._top)

    def contents(self) -> Iterator[tuple[str, bytes]]:
        """Yield the name and the bytes of each file that is to be part of the solution."""
        return self._below(self._top, "", 0)

    def _below(self, place: int, prefix: str, depth: int) -> Iterator[tuple[str, bytes]]:
        for name in sorted(os.listdir(place)):
            self._seen += 1
            if self._seen > ENTRIES:
                raise WorkspaceError(f"there are more than {ENTRIES} entries")
            path = f"{prefix}{name}"
            if path not in self._given and self._is_left_out(name, depth):
                continue
            handle = _open(place, name, path)
            try:
                yield from self._entry(handle, path, depth)
            finally:
                os.close(handle)

    def _entry(self, handle: int, path: str, depth: int) -> Iterator[tuple[str, bytes]]:
        status = os.fstat(handle)
        if stat.S_ISDIR(status.st_mode) and depth < DEPTH:
            yield from self._below(handle, f"{path}/", depth + 1)
        elif stat.S_ISDIR(status.st_mode):
            raise WorkspaceError(f"folders are nested more than {DEPTH} deep")
        else:
            yield path, self._file(handle, status, path)

    def _is_left_out(self, name: str, depth: int) -> bool:
        own = depth == 0 and name in RESERVED
        return own or any(fnmatch.fnmatchcase(name, one) for one in self._limits.ignore)

    def _file(self, handle: int, status: os.stat_result, path: str) -> bytes:
        limit = self._limits.max_file_kb * 1024
        if not stat.S_ISREG(status.st_mode):
            raise WorkspaceError(f"{_shown(path)} is not a regular file")
        if status.st_nlink > 1:
            raise WorkspaceError(f"{_shown(path)} is a hard link")
        content = _read(handle, limit + 1)
        if len(content) > limit:
            raise WorkspaceError(f"{_shown(path)} is larger than {self._limits.max_file_kb} KiB")
        return content


def _open(place: int, name: str, path: str) -> int:
    """Open an entry, whatever it is but a link or a device, without waiting for anybody."""
    mode = os.lstat(name, dir_fd=place).st_mode
    if stat.S_ISLNK(mode):
        raise WorkspaceError(f"{_shown(path)} is a symbolic link")
    if not stat.S_ISREG(mode) and not stat.S_ISDIR(mode):
        raise WorkspaceError(f"{_shown(path)} is not a regular file")
    try:
        return os.open(name, OPEN, dir_fd=place)
    except OSError as error:
        raise WorkspaceError(f"{_shown(path)} cannot be read: {error.strerror}") from error


def _read(handle: int, size: int) -> bytes:
    with os.fdopen(os.dup(handle), "rb") as file:
        return file.read(size)


def _text(path: str, content: bytes) -> str:
    try:
        text = content.decode()
    except UnicodeDecodeError:
        raise WorkspaceError(f"{_shown(path)} is not UTF-8 text") from None
    if "\0" in text:
        raise WorkspaceError(f"{_shown(path)} holds a NUL character")
    return text


def _shown(path: str) -> str:
    """Return a name that a stranger chose, fit for one line."""
    return ascii(path[:100])
