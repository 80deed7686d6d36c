"""The whole registry against the repository: every row, source, hash and log.

A problem is a line; the rest is checked all the same, so that one run tells of all of them.
"""

from __future__ import annotations

import ast
import warnings
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from speedrun import trainlog
from speedrun.files import SpeedrunError
from speedrun.registry import Record, Registry, Transition
from speedrun.stages.records import extract
from speedrun.stages.records.sources import Repository
from speedrun.stages.records.table import TableRow, printable, read_table

LOG_SUFFIXES = (".txt", ".log")


@dataclass
class Verified:
    """What was found right, and a line for everything that was not."""

    records: int = 0
    tasks: int = 0
    strict: int = 0
    logs: int = 0
    problems: list[str] = field(default_factory=list)

    def counts(self) -> str:
        """Return the line of counts."""
        return (
            f"records {self.records}, tasks {self.tasks}, strict {self.strict}, "
            f"logs {self.logs}, problems {len(self.problems)}"
        )


def verify(repository: Repository, registry: Registry, known: Path | None = None) -> Verified:
    """Check everything. ``known`` may hold earlier extractions, which show what lines differ."""
    done = Verified()
    commit = registry.upstream.commit
    if not repository.has_commit(commit):
        done.problems.append(f"commit {commit} is not in the repository: correct --repo")
        return done
    repository.prefetch(wanted_files(repository, registry))
    done.problems += _table_problems(repository, registry)
    good = _check_records(repository, registry, known, done)
    _check_tasks(registry, good, done)
    _check_logs(repository, registry, done)
    done.problems = [printable(problem) for problem in done.problems]  # they name upstream's paths
    return done


def wanted_files(repository: Repository, registry: Registry) -> dict[str, list[str]]:
    """Return ``{commit: paths}`` of all that is read: page, sources and logs."""
    wanted = source_files(registry)
    wanted[registry.upstream.commit] += log_files(repository, registry)
    return {commit: paths for commit, paths in wanted.items() if repository.has_commit(commit)}


def source_files(registry: Registry) -> dict[str, list[str]]:
    """Return ``{commit: paths}`` of the page with the table and of every record's source."""
    wanted: dict[str, list[str]] = {registry.upstream.commit: [registry.upstream.readme]}
    for record in registry.records:
        for commit, paths in extract.wanted_files(registry, record).items():
            wanted.setdefault(commit, []).extend(paths)
    return wanted


def log_files(repository: Repository, registry: Registry) -> list[str]:
    """Return the logs in all folders of logs, each once."""
    folders = dict.fromkeys(record.log_folder for record in registry.records if record.log_folder)
    found = (repository.tree(registry.upstream.commit, folder) for folder in folders)
    paths = dict.fromkeys(path for listed in found for path in listed)
    return [path for path in paths if path.endswith(LOG_SUFFIXES)]


def _table_problems(repository: Repository, registry: Registry) -> Iterator[str]:
    upstream = registry.upstream
    try:
        page = repository.read(upstream.commit, upstream.readme).decode("utf-8", "replace")
        rows = read_table(page, upstream.table)
    except SpeedrunError as error:
        yield str(error)
        return
    if len(rows) != len(registry.records):
        yield f"upstream's table has {len(rows)} rows, the registry {len(registry.records)}"
    for record, row in zip(registry.records, rows, strict=False):
        for name, (ours, theirs) in fact_changes(record, row).items():
            yield f"{record.id}: {name} is {ours!r} in the registry, {theirs!r} in upstream's table"


def fact_changes(record: Record, row: TableRow) -> dict[str, tuple[object, object]]:
    """Return ``{fact: (registry's, table's)}`` where the two differ.

    A pull request may be known though the table links none.
    """
    pairs: dict[str, tuple[object, object]] = {
        "number": (record.number, row.number),
        "time_minutes": (record.time_minutes, row.time_minutes),
        "date": (record.date, row.date),
        "log": (record.log, row.log),
    }
    if row.pull_request is not None:
        pairs["pull_request"] = (record.pull_request, row.pull_request)
    return {name: pair for name, pair in pairs.items() if pair[0] != pair[1]}


def _check_records(
    repository: Repository, registry: Registry, known: Path | None, done: Verified
) -> dict[str, dict[str, str]]:
    """Return the files of the records without a problem."""
    good: dict[str, dict[str, str]] = {}
    for record in registry.records:
        try:
            found = extract.sources(repository, registry, record)
        except SpeedrunError as error:
            done.problems.append(str(error))
            continue
        earlier = extract.read_known(known / record.id / "files") if known else {}
        problems = extract.differences(record, found, earlier) + _syntax_problems(record, found)
        done.problems += problems
        if not problems:
            good[record.id] = found
    done.records = len(good)
    return good


def _syntax_problems(record: Record, found: Mapping[str, str]) -> list[str]:
    problems = []
    for name, text in found.items():
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # upstream's old scripts have odd escapes
                ast.parse(text)
        except (SyntaxError, ValueError) as error:
            problems.append(f"{record.id}: {name} is no Python source: {error}")
    return problems


def _check_tasks(registry: Registry, good: Mapping[str, object], done: Verified) -> None:
    for task in registry.tasks:
        pair = (task.start.id, task.target.id)
        if any(name not in good for name in pair):
            continue  # the record's own problem is told already
        problem = _task_problem(task, *(good[name] for name in pair))
        done.problems += [problem] if problem else []
        done.tasks += not problem
        done.strict += not problem and task.strict


def _task_problem(task: Transition, start: object, target: object) -> str:
    if start == target and task.start.arguments == task.target.arguments:
        return f"{task.task}: start and target are the same source: exclude it, or correct one"
    if task.gain_percent <= 0:
        return f"{task.task}: the target is not faster than the start"
    return ""


def _check_logs(repository: Repository, registry: Registry, done: Verified) -> None:
    """Parse every log that is there; the linked ones must be."""
    commit = registry.upstream.commit
    paths = log_files(repository, registry)
    for record in registry.records:
        done.problems += _link_problems(repository, commit, record)
    gone = repository.unreadable(commit, paths)
    done.problems += gone.values()
    for path, content in repository.read_many(commit, [path for path in paths if path not in gone]):
        try:
            trainlog.parse(content.decode("utf-8", "replace"))
        except ValueError as error:
            done.problems.append(f"{path} does not parse: {error}")
        else:
            done.logs += 1


def _link_problems(repository: Repository, commit: str, record: Record) -> list[str]:
    """Return what is wrong with the record's links: a log or a folder that is not there."""
    listed = repository.tree(commit, record.log_folder) if record.log_folder else []
    if record.log_folder and not listed:
        return [f"{record.id}: {record.log_folder} is not in commit {commit[:12]}: correct it"]
    linked = not record.log or record.log == record.log_folder
    if linked or any(path == record.log or path.startswith(f"{record.log}/") for path in listed):
        return []
    reasons = repository.unreadable(commit, [record.log])
    return [f"{record.id}: {reason}" for reason in reasons.values()]
