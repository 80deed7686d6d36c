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
import tempfile
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


@contextlib.contextmanager
def fresh(solution: Path, digest: str, inputs: Mapping[str, Path], out: Path) -> Iterator[Place]:
    """Yield a new place for the run folder ``out``; what a killed run of it left goes first.

    Raises SpeedrunError if ``solution`` is not what ``digest`` says, before the run or after it.
    """
    prefix = f"speedrun-{files.digest_text(str(out.resolve()))[:16]}-"
    for stale in Path(tempfile.gettempdir()).glob(f"{prefix}*"):
        disk.remove(stale)
    root = Path(tempfile.mkdtemp(prefix=prefix))
    try:
        with files.disk_errors(root.with_suffix(".full")):  # of the folder that is named
            place = _fill(root, solution, inputs)
        _demand(place.work, solution, digest)
        yield place
        _demand(solution, solution, digest)
    finally:
        disk.remove(root)


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
