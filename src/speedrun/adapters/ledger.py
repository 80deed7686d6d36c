"""What a sweep and its trials have spent: dollars, tokens and device hours, and the caps on them.

An entry is written before anything is paid for, at the most it can cost, and settled with the true
figures afterwards. An entry that a killed process left open stays counted at its worst case: when
its key is reserved again it is kept as ``lost``. Every statement is a transaction of its own that
is on disk before the call returns, so that a kill at any moment loses nothing, and any number of
processes may write. The rollback journal is used, not WAL, which network file systems cannot hold.
"""

from __future__ import annotations

import contextlib
import datetime
import json
import math
import sqlite3
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from speedrun.files import SpeedrunError

UNITS = ("usd", "tokens", "device_hours")
WAIT_S = 120.0  # for another process's transaction, which takes milliseconds
TABLE = """
create table if not exists entries (
  entry text primary key,   -- of one payment: the key of a reply or of a run
  sweep text not null,
  owner text not null,      -- the trial
  state text not null,      -- open | settled | lost
  usd real, tokens integer, device_hours real,  -- worst case while open or lost; null: not known
  unknown integer not null, -- 1: settled without the true figures, the worst case stands
  at text not null          -- ISO 8601, UTC: when it was reserved
);
create index if not exists by_sweep on entries (sweep);
create index if not exists by_owner on entries (owner);
"""
TOTALS = """
select coalesce(sum(usd), 0), coalesce(sum(tokens), 0), coalesce(sum(device_hours), 0),
  coalesce(sum(unknown or usd is null or tokens is null), 0), coalesce(sum(state = 'lost'), 0),
  coalesce(sum(case when state = 'open' then usd end), 0)
from entries where
"""


class BudgetExceeded(SpeedrunError):
    """A cap would be passed; nothing was paid. One line that says what to raise."""


@dataclass(frozen=True)
class Spent:
    """A sum over entries. Open and lost ones count at their worst case."""

    usd: float
    tokens: int
    device_hours: float  # GPUs x hours, or CPU hours on a CPU track
    unknown_cost_calls: int  # entries whose dollars or tokens are not known: bound or 0 counted
    lost_calls: int  # killed in flight: whether they were billed is not known
    reserved_usd: float  # of usd, not settled yet


@dataclass(frozen=True)
class Amount:
    """What one entry costs, or may cost at most. None is not known."""

    usd: float | None = 0.0
    tokens: int | None = 0
    device_hours: float | None = 0.0


class Ledger:
    """The file store/ledger.db; made when it is first used."""

    def __init__(self, path: Path) -> None:
        """Nothing is opened yet: every method opens and closes its own connection."""
        self.path = path

    def reserve(
        self,
        entry_key: str,
        sweep: str,
        owner: str,
        caps: Mapping[str, Any] | None = None,
        usd: float | None = 0.0,
        tokens: int | None = 0,
        device_hours: float | None = 0.0,
    ) -> bool:
        """Write down the most that ``entry_key`` can cost; True if an earlier attempt was lost.

        ``caps`` is {"trial": {unit: cap}, "sweep": {unit: cap}}; None is no cap. Only one process
        at a time may hold an entry. Errors: BudgetExceeded, and SpeedrunError for an amount that
        is not known under a cap on it; nothing is reserved then.
        """
        amount = Amount(usd, tokens, device_hours)
        with self._transaction() as database:
            lost = _set_aside(database, entry_key)
            for scope, name in (("trial", owner), ("sweep", sweep)):
                _check(database, scope, name, (caps or {}).get(scope) or {}, amount)
            values = (entry_key, sweep, owner, "open", usd, tokens, device_hours, 0, _now())
            database.execute("insert into entries values (?, ?, ?, ?, ?, ?, ?, ?, ?)", values)
        return lost

    def settle(
        self,
        entry_key: str,
        usd: float | None = 0.0,
        tokens: int | None = 0,
        device_hours: float | None = 0.0,
    ) -> None:
        """Replace an open entry's worst case by what it cost; settled before, nothing changes.

        What is None is not known: the worst case stays counted as its bound, if it had one.
        """
        with self._transaction() as database:
            database.execute(
                "update entries set state = 'settled', usd = coalesce(?, usd), tokens = "
                "coalesce(?, tokens), device_hours = coalesce(?, device_hours), unknown = ? "
                "where entry = ? and state = 'open'",
                (usd, tokens, device_hours, None in (usd, tokens, device_hours), entry_key),
            )

    def release(self, entry_key: str) -> None:
        """Take back an open entry of which nothing was paid."""
        with self._transaction() as database:
            database.execute("delete from entries where entry = ? and state = 'open'", (entry_key,))

    def lose(self, entry_key: str) -> None:
        """Keep an open entry at its worst case: whether it was billed will not be known."""
        with self._transaction() as database:
            _set_aside(database, entry_key)

    def holds(self, entry_key: str) -> bool:
        """Say whether there is such an entry, in whatever state."""
        if not self.path.is_file():
            return False
        with self._transaction() as database:
            found = database.execute("select 1 from entries where entry = ?", (entry_key,))
            return found.fetchone() is not None

    def open_entries(self, sweep: str) -> list[str]:
        """Return the keys of a sweep's entries that are neither settled nor lost."""
        if not self.path.is_file():
            return []
        with self._transaction() as database:
            rows = "select entry from entries where sweep = ? and state = 'open' order by entry"
            return [row[0] for row in database.execute(rows, (sweep,))]

    def spent(self, sweep: str | None = None, owner: str | None = None) -> Spent:
        """Return the sum over a sweep, a trial (in all sweeps), or both; over all without either.

        Errors: SpeedrunError for a file that is no ledger.
        """
        if not self.path.is_file():
            return Spent(0.0, 0, 0.0, 0, 0, 0.0)
        with self._transaction() as database:
            return _total(database, {"sweep": sweep, "owner": owner})

    @contextlib.contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        try:
            with contextlib.closing(_open(self.path)) as database, database:  # commit or roll back
                database.execute("begin immediate")
                yield database
        except sqlite3.Error as error:
            raise SpeedrunError(
                f"{self.path}: {error}: free the disk or move the file away, then run the same "
                "command again"
            ) from error


def _open(path: Path) -> sqlite3.Connection:
    database = sqlite3.connect(path, timeout=WAIT_S, isolation_level=None)
    try:
        database.execute("pragma synchronous = extra")
        if not database.execute("select 1 from sqlite_master where name = 'by_owner'").fetchone():
            database.executescript("begin immediate;" + TABLE + "commit;")
    except BaseException:
        database.close()
        raise
    return database


def _now() -> str:
    return datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")


def _set_aside(database: sqlite3.Connection, key: str) -> bool:
    """Keep an earlier attempt's entry under a name of its own; True if it was lost."""
    found = database.execute("select state from entries where entry = ?", (key,)).fetchone()
    if found is None:
        return False
    like = "select count(*) from entries where substr(entry, 1, ?) = ?"
    earlier = database.execute(like, (len(key) + 1, f"{key}#")).fetchone()[0]
    state = "lost" if found[0] == "open" else found[0]
    database.execute(
        "update entries set entry = ?, state = ? where entry = ?",
        (f"{key}#{earlier + 1}", state, key),
    )
    return state == "lost"


def _total(database: sqlite3.Connection, chosen: Mapping[str, str | None]) -> Spent:
    given = {column: value for column, value in chosen.items() if value is not None}
    where = " and ".join(f"{column} = ?" for column in given) or "1"
    row = database.execute(TOTALS + where, tuple(given.values())).fetchone()
    return Spent(*row)


def _check(
    database: sqlite3.Connection, scope: str, name: str, caps: Mapping[str, Any], amount: Amount
) -> None:
    capped = [unit for unit in UNITS if caps.get(unit) is not None and getattr(amount, unit) != 0]
    if not capped:
        return
    column = "owner" if scope == "trial" else "sweep"
    total = _total(database, {column: name})
    for unit in capped:
        cap, needed = caps[unit], getattr(amount, unit)
        if needed is None:
            raise SpeedrunError(
                f"budget.{scope}.{unit} is {cap:g}, but what this call can cost at most is not "
                f"known: give the model prices and max_tokens in its config/model file, or lift "
                f"the cap: overrides='[\"budget.{scope}.{unit}=null\"]'"
            )
        if getattr(total, unit) + needed > cap:
            spent = f"{getattr(total, unit):.6g} spent{_held(database, column, name, unit)}"
            least = max(2 * cap, getattr(total, unit) + needed)
            raise BudgetExceeded(_exceeded(scope, name, unit, cap, spent, needed, least))


def _held(database: sqlite3.Connection, column: str, name: str, unit: str) -> str:
    """Return how much of a sum is not spent yet, in words: that it may become free again."""
    query = f"select sum({unit}) from entries where state = 'open' and {column} = ?"
    held = database.execute(query, (name,)).fetchone()[0]
    return f" ({held:.4g} of it held by what is under way)" if held else ""


def _exceeded(
    scope: str, name: str, unit: str, cap: float, spent: str, needed: float, least: float
) -> str:
    override = f"budget.{scope}.{unit}={_rounded(least)}"
    return (
        f"budget.{scope}.{unit} = {cap:g} of {scope} {name} is used up: "
        f"{spent}, {needed:.4g} more may be needed: raise it with "
        f"overrides='{json.dumps([override])}' and run the same command again"
    )


def _rounded(value: float) -> str:
    """Return ``value`` rounded up to two digits, as a person would write it."""
    digits = 10.0 ** (math.floor(math.log10(value)) - 1) if value > 0 else 1.0
    return f"{math.ceil(value / digits - 1e-9) * digits:.10g}"
