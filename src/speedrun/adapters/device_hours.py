"""Device hours in the ledger: the worst case before a node is asked for, the truth after its run.

Two kinds of entries. A node that is under way holds its worst case, so that no money is spent on
code that there is no device time for. A finished run holds what it cost, once: its entry is named
by the run's own key and clocks, so that a run which is restored, analysed again or shared with
another sweep is not counted twice, and one that was deleted and made again is. The sweep that was
first pays.
"""

from __future__ import annotations

import contextlib
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from speedrun import files, schema
from speedrun.adapters.ledger import Ledger

LEDGER = Path("store/ledger.db")
PREFIX = "device/"  # of every entry here; calls are named by digests
SECONDS = 3600.0


@dataclass(frozen=True)
class DeviceHours:
    """The device time of one trial, or of references; ``operation`` {} counts nothing."""

    operation: Mapping[str, Any]
    owner: str
    path: Path = LEDGER

    @contextlib.contextmanager
    def reserved(self, folder: Path, hours: float | None = None) -> Iterator[None]:
        """Hold the worst case of the run of ``folder``; let it go if the block fails.

        ``hours`` is that of a whole run if it is not given. Errors: BudgetExceeded, before the
        block begins. A run that is in the ledger already needs nothing more, unless the block
        replaces its code: then the new run is held after the block, with the same error.
        """
        held = self._hold(folder, hours)
        try:
            yield
            if not held:
                self._hold(folder, hours)
        except BaseException:
            self.release(folder)
            raise

    def _hold(self, folder: Path, hours: float | None) -> bool:
        """Reserve the worst case; False where nothing is counted, or this code's run is paid."""
        if not self.operation or self._paid(folder):
            return False
        worst = self.operation["device_hours_a_run"] if hours is None else hours
        sweep, caps = self.operation["sweep"], self.operation["budget"]
        self.release(folder)  # what an attempt that was killed left open: it ran nothing
        self._ledger.reserve(_pending(folder), sweep, self.owner, caps, device_hours=worst)
        return True

    def release(self, folder: Path) -> None:
        """Let the worst case of ``folder`` go: nothing will be run."""
        if self.operation:
            self._ledger.release(_pending(folder))

    def settle(self, folder: Path, seconds: float | None, devices: int = 1) -> None:
        """Write down what the finished run of ``folder`` cost, unless that was done before.

        ``seconds`` are those of one device; None, where they are not known, counts as the worst.
        """
        ended = _ended(folder)
        if not self.operation or ended is None:
            return
        self.release(folder)
        entry, sweep = _entry(folder, ended), self.operation["sweep"]
        if not ended.ran or self._ledger.holds(entry):
            return
        worst = self.operation["device_hours_a_run"]
        hours = worst if seconds is None else seconds * devices / SECONDS
        self._ledger.reserve(entry, sweep, self.owner, None, device_hours=hours)
        self._ledger.settle(entry, device_hours=hours)

    @property
    def _ledger(self) -> Ledger:
        return Ledger(self.path)

    def _paid(self, folder: Path) -> bool:
        """Say whether the run of the code that lies there now is in the ledger."""
        ended, solution = _ended(folder), folder / "solution"
        if ended is None or not self._ledger.holds(_entry(folder, ended)):
            return False
        return not solution.is_dir() or files.digest_tree(solution) == ended.solution_digest


def let_go(
    sweep: str, tasks: Collection[Path], nodes: Collection[Path], path: Path = LEDGER
) -> None:
    """Release what no run will settle: what a sweep's plan holds no longer, and killed audits.

    ``nodes`` are all that the plan has of the folders ``tasks``, .../trials/TRACK/TASK. Call it
    before a workflow's first job, when no other runs in the folder.
    """
    ledger, planned = Ledger(path), {_pending(node) for node in nodes}
    own = (f"{PREFIX}store/", *(f"{_pending(task)}/" for task in tasks))
    for entry in ledger.open_entries(sweep):
        if entry.startswith(own) and entry.removesuffix("/draft") not in planned:
            ledger.release(entry)


def _ended(folder: Path) -> schema.RunExit | None:
    """Return the finished run of a folder; train keeps a copy that a workflow does not delete."""
    for name in ("exit.json", "finished.json"):
        path = folder / "run" / name
        if path.is_file():
            return schema.load(schema.RunExit, path)
    return None


def _name(folder: Path) -> str:
    parts = folder.parts
    return "/".join(parts[parts.index("results") + 1 :] if "results" in parts else parts)


def _pending(folder: Path) -> str:
    return PREFIX + _name(folder)


def _entry(folder: Path, ended: schema.RunExit) -> str:
    run = files.digest_value([ended.key, ended.wall_s, ended.cpu_total_s])
    return f"{_pending(folder)}/{run[:16]}"
