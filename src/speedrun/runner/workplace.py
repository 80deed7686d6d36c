"""The place of one run: a fresh copy of its solution, small data copied too, and what it left.

The solution is frozen: a run gets a copy that matches the digest, and the source must still match
afterwards. What is in the place goes with it, so that no cache of one run is found by the next.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import shutil
import stat
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from speedrun import files
from speedrun.files import SpeedrunError
from speedrun.runner import disk

# Data of so many bytes together is copied for each run, so that an open seen is this run's own.
# Micro's 10 MB take 3 to 10 ms; a shard of upstream's is 200 MB.
COPIED_BYTES = 64 * 2**20
CHANGED_NAMES = 100  # that are recorded at most
# What a solution may be at most, since every run of it is digested and copied: text, a few files.
SOLUTION_BYTES = 64 * 2**20
SOLUTION_DEPTH = 32  # of folders; Python 3.11's os.walk recurses


@dataclass(frozen=True)
class Place:
    """Folders of one run. ``data``: name under data/ -> the file that is shown."""

    root: Path
    data: Mapping[str, Path]
    shared: bool  # the data is where every run finds it

    @property
    def work(self) -> Path:
        """The run's own folder, which alone it may write to."""
        return self.root / "work"

    @property
    def scratch(self) -> Path:
        """For temporary files where the sandbox has no memory-backed folder for them."""
        return self.root / "scratch"


def misfit(solution: Path) -> str:
    """Return why a solution cannot be digested and copied, "" if it can.

    It is a candidate's: sparse, nested or locked, it must neither hold us up nor end us.
    """
    total, folders = 0, [(0, str(solution))]
    while folders:
        depth, folder = folders.pop()
        for path, status in _entries(folder):
            total += max(status.st_size if status else 0, disk.ENTRY_BYTES)
            if status is None or not os.access(path, os.R_OK, follow_symlinks=False):
                return f"solution holds {os.path.basename(path)!r}, which cannot be read"
            if total > SOLUTION_BYTES or depth > SOLUTION_DEPTH:
                return f"solution holds more than {SOLUTION_BYTES} bytes or {SOLUTION_DEPTH} levels"
            if stat.S_ISDIR(status.st_mode):
                folders.append((depth + 1, path))
    return ""


def _entries(folder: str) -> Iterator[tuple[str, os.stat_result | None]]:
    """Yield paths below a folder; without a status what cannot be looked at, the folder too."""
    try:
        with os.scandir(folder) as entries:
            for entry in entries:
                yield entry.path, entry.stat(follow_symlinks=False)
    except OSError:
        yield folder, None


@contextlib.contextmanager
def fresh(solution: Path, digest: str, inputs: Mapping[str, Path]) -> Iterator[Place]:
    """Yield a new place for a run of ``solution`` on ``inputs`` (name under data/ -> file).

    Raises SpeedrunError if ``solution`` is not what ``digest`` says, before the run or after it.
    """
    with disk.own_folder() as root:
        with files.disk_errors(root.with_suffix(".full")):  # of the folder that is named
            place = _fill(root, solution, inputs)
        _demand(place.work, solution, digest)
        yield place
        _demand(solution, solution, digest)


def _fill(root: Path, solution: Path, inputs: Mapping[str, Path]) -> Place:
    for name in ("work", "data", "scratch"):
        (root / name).mkdir()
    for path in files.tree_files(solution):
        _copy(solution / path, root / "work" / path)
    size = sum(path.stat().st_size for path in inputs.values())
    if size > COPIED_BYTES:
        return Place(root, {name: path.resolve() for name, path in inputs.items()}, True)
    for name, path in inputs.items():
        _copy(path, root / "data" / name)
    return Place(root, {name: root / "data" / name for name in inputs}, False)


def _copy(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(source, target)


def _demand(folder: Path, solution: Path, digest: str) -> None:
    if files.digest_tree(folder) != digest:
        raise SpeedrunError(f"{solution} changed while it was run: run it again")


def link(folder: Path, data: Mapping[str, Path]) -> None:
    """Show the data as links; without a sandbox nothing keeps the script from writing to it."""
    for name, path in data.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).symlink_to(path)


def changed(solution: Path, work: Path) -> list[str]:
    """Return the solution's files that the ended run changed or removed in its own copy."""
    names = (
        str(path)
        for path in files.tree_files(solution)
        if not _holds(work, path, (solution / path).read_bytes())
    )
    return list(itertools.islice(names, CHANGED_NAMES))


def _holds(work: Path, path: Path, content: bytes) -> bool:
    """Say whether ``path`` still is a file of the work folder with this content."""
    with contextlib.suppress(OSError, RuntimeError):  # links that lead nowhere or in a circle
        own = (work / path).parent.resolve() == (work.resolve() / path).parent
        return own and read_plain(work / path, len(content)) == content
    return False


def read_plain(path: Path, limit_bytes: int) -> bytes | None:
    """Return a regular file's content; None for a longer one, and for anything else.

    Untrusted code left it: a link could point at any file of ours, a pipe would never end.
    """
    try:
        handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    except OSError:  # none, or a link
        return None
    try:
        status = os.fstat(handle)
        bearable = stat.S_ISREG(status.st_mode) and status.st_size <= limit_bytes
        return os.read(handle, limit_bytes) if bearable else None
    finally:
        os.close(handle)
