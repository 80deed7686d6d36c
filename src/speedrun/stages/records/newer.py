"""Upstream's table in a newer commit beside the registry: which rows are new, changed or gone."""

from __future__ import annotations

from collections.abc import Iterator

from speedrun.files import SpeedrunError
from speedrun.registry import Record, Registry
from speedrun.stages.records.sources import Repository
from speedrun.stages.records.table import TableRow, printable, read_rows
from speedrun.stages.records.verify import fact_changes

TEXTS = ("description", "contributors")  # compared with the pinned page: ours are our own words


def compare(repository: Repository, registry: Registry, commit: str) -> Iterator[str]:
    """Yield a line for every row of ``commit``'s table that the registry does not have as it is.

    Rows are matched by number and, of a number that occurs more than once, by order. A row that
    cannot be read is a line too.
    """
    rows, faults = _rows(repository, registry, commit)
    newer = _keyed(rows)
    pinned = _pinned(repository, registry)
    ours = _keyed_records(registry)
    for key, row in newer.items():
        if key not in ours:
            yield f"new     {_told(row)}"
        else:
            yield from _changes(ours[key], row, pinned.get(key))
    for key, record in ours.items():
        if key not in newer:
            yield f"gone    {record.id}: {record.date}, {record.time_minutes:g} minutes"
    yield from (f"unread  {printable(fault)}" for fault in faults)


def _changes(record: Record, row: TableRow, pinned: TableRow | None) -> Iterator[str]:
    facts = dict(fact_changes(record, row))
    for name in TEXTS if pinned else ():
        before, now = getattr(pinned, name), getattr(row, name)
        if before != now:
            facts[name] = (before, now)
    for name, (before, now) in facts.items():
        yield f"changed {record.id}: {name} {before!r} -> {now!r}"


def _told(row: TableRow) -> str:
    link = f"#{row.pull_request}" if row.pull_request else "no pull request"
    facts = f"{row.date}, {row.time_minutes:g} minutes, {link}, log {row.log or 'none'}"
    return printable(f"{row.number}: {facts}: {row.description}")


def _rows(
    repository: Repository, registry: Registry, commit: str
) -> tuple[list[TableRow], list[str]]:
    page = repository.read(commit, registry.upstream.readme).decode("utf-8", "replace")
    return read_rows(page, registry.upstream.table)


def _pinned(repository: Repository, registry: Registry) -> dict[tuple[int, int], TableRow]:
    """Return the pinned commit's rows, or none where it is not at hand."""
    try:
        return _keyed(_rows(repository, registry, registry.upstream.commit)[0])
    except SpeedrunError:
        return {}


def _keyed(rows: list[TableRow]) -> dict[tuple[int, int], TableRow]:
    numbers = [row.number for row in rows]
    return {(row.number, numbers[:at].count(row.number)): row for at, row in enumerate(rows)}


def _keyed_records(registry: Registry) -> dict[tuple[int, int], Record]:
    numbers = [record.number for record in registry.records]
    return {
        (record.number, numbers[:at].count(record.number)): record
        for at, record in enumerate(registry.records)
    }
