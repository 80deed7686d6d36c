"""What attacks may have left behind: changed files, processes that are still alive.

After every run the stamps of all that no candidate may touch are looked at, and the processes of
its sandbox; their digests, and the repository's files, at the beginning and at the end.
"""

from __future__ import annotations

import os
import subprocess
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

from speedrun import files

from .candidate import RECORDS

REPOSITORY = RECORDS.parent
SELF = os.getpid()
TICKS = os.sysconf("SC_CLK_TCK")
LOOKS = 10  # of a tenth of a second, for what is about to end


class Watch:
    """Looks after each run at what is below ``root`` and at the processes of its sandbox."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.found: list[str] = []
        self.runs = 0
        self._begun: dict[int, float] = {}
        self._lock = threading.Lock()
        self._stamps = self._stamped()
        self._others = contained()  # of whoever ran something in this process before

    @contextmanager
    def run(self, name: str) -> Iterator[None]:
        """Look after the run within; beside another run a change is said of the one that ends."""
        me = threading.get_ident()
        self._begun[me] = time.clock_gettime(time.CLOCK_BOOTTIME)
        try:
            yield
        finally:
            del self._begun[me]
            with self._lock:
                self._look(name)

    def alive(self) -> dict[int, float]:
        """Return the processes of our runs' sandboxes that live, and when they began, seconds."""
        now = contained().items()
        return {pid: begun for pid, begun in now if self._others.get(pid) != begun}

    def begin(self) -> None:
        """Take what is there now for what has to stay."""
        self._stamps = self._stamped()

    def folders(self) -> dict[str, Path]:
        """Return what no candidate may change, by name."""
        names = {name: self.root / name for name in ("corpus", "shards", "tasks", "reviews")}
        nodes = sorted(self.root.glob("trials/*/*/*/*/node_1/solution"))
        return names | {f"{node.parts[-4]}'s solution": node for node in nodes}

    def _stamped(self) -> dict[str, tuple[int, int, int]]:
        found = {}
        for folder in self.folders().values():
            for path in [folder, *folder.rglob("*")]:
                with suppress(OSError):
                    seen = path.lstat()
                    found[str(path)] = (seen.st_ino, seen.st_size, seen.st_mtime_ns)
        return found

    def _look(self, name: str) -> None:
        now = self._stamped()
        self.runs += 1
        self.found += [f"after {name}: {text}" for text in changes(self._stamps, now)]
        self._stamps = now
        for _ in range(LOOKS):
            oldest = min(self._begun.copy().values(), default=float("inf"))
            alive = [pid for pid, begun in self.alive().items() if begun < oldest - 0.1]
            if not alive:
                return
            time.sleep(0.1)
        self.found += [f"after {name}: process {pid} is alive" for pid in alive]


def digests(watch: Watch) -> dict[str, str]:
    """Return the digests of all that no candidate may change, by name."""
    return {name: _tree(folder) for name, folder in watch.folders().items()} | _repository()


def _tree(folder: Path) -> str:
    """Return one digest of names, links and contents; files.digest_tree refuses some of these."""
    paths = sorted(path for path in folder.rglob("*"))
    parts = [(str(path.relative_to(folder)), _content(path)) for path in paths]
    return files.digest_value(parts)


def _content(path: Path) -> str:
    if path.is_symlink():
        return f"-> {os.readlink(path)}"
    return files.digest_file(path) if path.is_file() else "folder"


def _repository() -> dict[str, str]:
    """Return the digest of every file of the working tree that git tracks or would add."""
    command = ["git", "-C", str(REPOSITORY), "ls-files", "-z", "-co", "--exclude-standard"]
    listed = subprocess.run(command, capture_output=True, text=True, check=False)
    names = sorted({name for name in listed.stdout.split("\0") if name})
    paths = [REPOSITORY / name for name in names] or [p for p in RECORDS.rglob("*") if p.is_file()]
    there = [path for path in paths if path.is_symlink() or path.is_file()]
    return {f"repository: {path.relative_to(REPOSITORY)}": _content(path) for path in there}


def changes(before: Mapping[str, object], after: Mapping[str, object]) -> list[str]:
    """Return what differs, what is gone and what is new."""
    changed = [f"{name} changed" for name, value in before.items() if after.get(name) != value]
    return [*changed, *(f"{name} appeared" for name in after if name not in before)]


def contained() -> dict[int, float]:
    """Return the living processes of sandboxes below this process and when they began, seconds.

    This process adopts all orphans of its runs (runner.clock); a sandbox has its own numbering.
    """
    parents, begun = {}, {}
    for folder in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            status = (folder / "stat").read_text(encoding="utf-8", errors="replace")
            fields = status.rpartition(")")[2].split()
            if fields[0] != "Z":
                parents[int(folder.name)] = int(fields[1])
                begun[int(folder.name)] = int(fields[19]) / TICKS
    mine, grown = {SELF}, True
    while grown:
        more = {pid for pid, parent in parents.items() if parent in mine} - mine
        mine, grown = mine | more, bool(more)
    return {pid: begun[pid] for pid in mine - {SELF} if _apart(pid)}


def _apart(pid: int) -> bool:
    with suppress(OSError):
        return os.readlink(f"/proc/{pid}/ns/pid") != os.readlink("/proc/self/ns/pid")
    return False
