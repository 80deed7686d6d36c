"""The folders that untrusted code writes to: made, measured meanwhile, and removed.

A folder is locked while it is used, so that the next program can tell those that a killed one left.
"""

from __future__ import annotations

import contextlib
import fcntl
import math
import os
import subprocess
import tempfile
import time
from collections.abc import Collection, Iterable, Iterator
from pathlib import Path

from speedrun import files

INTERVAL_S = 1.0  # between two looks: a walk costs the harness a few ms for a thousand files
BLOCK_BYTES = 512  # the unit of st_blocks
# What an entry counts at least: empty files use up a file system too, and slow the walk down.
ENTRY_BYTES = 4096
# In TMPDIR. What follows is random: the code inside can read the path, and a name that came from
# the run folder's would tell it a search from an audit.
PREFIX, UNLOCKED = "speedrun-place-", "speedrun-new-"


@contextlib.contextmanager
def own_folder() -> Iterator[Path]:
    """Yield a new folder that is removed afterwards; what killed programs left goes first.

    SpeedrunError: the disk is full.
    """
    base = Path(tempfile.gettempdir())
    for left in base.glob(f"{PREFIX}*"):
        with _locked(left) as ours:
            if ours:
                remove(left)
    with files.disk_errors(base / f"{UNLOCKED}full"):
        new = Path(tempfile.mkdtemp(prefix=UNLOCKED, dir=base))
    with _locked(new):
        root = new.rename(base / new.name.replace(UNLOCKED, PREFIX))  # now others may look at it
        try:
            yield root
        finally:
            remove(root)


@contextlib.contextmanager
def _locked(folder: Path) -> Iterator[bool]:
    """Say whether ``folder`` is this user's and now locked by us; the kernel unlocks for the dead.

    In a shared TMPDIR the name may be another user's, or a link. Where folders cannot be locked
    (NFS) none is, and what killed programs leave stays.
    """
    try:
        handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError:
        yield False
        return
    try:
        yield os.fstat(handle).st_uid == os.getuid() and _lock(handle)
    finally:
        os.close(handle)


def _lock(handle: int) -> bool:
    with contextlib.suppress(OSError):
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return True
    return False


class WorkFolder:
    """Says whether a work folder has outgrown its limit, looking at most once an interval."""

    def __init__(self, limit_mb: int, *folders: Path) -> None:
        """Watch ``folders`` together, on the file systems they are on now."""
        self._folders, self._limit_bytes = folders, limit_mb * 2**20
        self._devices = {memory_device(), *(folder.stat().st_dev for folder in folders)}
        self._looked_s = time.monotonic()

    def overfull(self, pids: Iterable[int]) -> bool:
        """Look, if it is time again; ``pids`` may hold files open that have no name any more."""
        if time.monotonic() - self._looked_s < INTERVAL_S:
            return False
        self._looked_s = time.monotonic()
        used = sum(named_bytes(folder, self._limit_bytes) for folder in self._folders)
        return used + nameless_bytes(pids, self._devices) > self._limit_bytes


def named_bytes(folder: Path, enough_bytes: int) -> float:
    """Return the space that the entries below ``folder`` take, a hard link counted as a file.

    Counting stops above ``enough_bytes``. A folder that cannot be listed (without permission, or
    nested too deeply) hides its content and so counts as infinite; links are not followed.
    """
    total, folders = 0, [str(folder)]
    while folders:
        try:
            with os.scandir(folders.pop()) as entries:
                for entry in entries:
                    total += _entry_bytes(entry)
                    if total > enough_bytes:
                        return total
                    if entry.is_dir(follow_symlinks=False):
                        folders.append(entry.path)
        except (FileNotFoundError, NotADirectoryError):  # deleted meanwhile
            continue
        except OSError:
            return math.inf
    return total


def _entry_bytes(entry: os.DirEntry[str]) -> int:
    try:
        blocks = entry.stat(follow_symlinks=False).st_blocks
    except FileNotFoundError:  # deleted meanwhile
        return 0
    return max(blocks * BLOCK_BYTES, ENTRY_BYTES)


def memory_device() -> int:
    """Return the device of files that are in memory and never had a name: no RSS counts them."""
    handle = os.memfd_create("")
    try:
        return os.fstat(handle).st_dev
    finally:
        os.close(handle)


def nameless_bytes(pids: Iterable[int], devices: Collection[int]) -> int:
    """Return the space of the files without a name on ``devices`` that ``pids`` hold open."""
    found: dict[tuple[int, int], int] = {}
    for pid in pids:
        with contextlib.suppress(OSError):  # the process has ended
            for handle in os.listdir(f"/proc/{pid}/fd"):
                with contextlib.suppress(OSError):
                    status = os.stat(f"/proc/{pid}/fd/{handle}")
                    if status.st_nlink == 0 and status.st_dev in devices:
                        found[status.st_dev, status.st_ino] = status.st_blocks * BLOCK_BYTES
    return sum(found.values())


def remove(folder: Path) -> None:
    """Delete what untrusted code left, however deeply it nested it and whatever it locked.

    Python's own ``shutil.rmtree`` recurses once a level, so that a deep tree would end us.
    """
    for command in (["chmod", "-R", "u+rwx"], ["rm", "-rf"]):
        subprocess.run([*command, "--", str(folder)], capture_output=True, check=False)
