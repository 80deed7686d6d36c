"""Where the verb classify takes a step's sheet from: the repository of the track's registry."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from functools import cached_property
from typing import TYPE_CHECKING

from speedrun.files import SpeedrunError

if TYPE_CHECKING:
    from speedrun.adapters.upstream_git import GitRepository
    from speedrun.registry import Record, Registry, Transition
    from speedrun.stages.classify.sheet import Sheet


class Sources:
    """The sources, READMEs and table rows of a registry's records."""

    def __init__(self, repository: GitRepository, registry: Registry) -> None:
        """Read from ``repository``; nothing is read yet."""
        self.repository, self.registry = repository, registry
        self.commit = registry.upstream.commit

    def prefetch(self, steps: Iterable[Transition]) -> None:
        """Bring what the steps are read from in a few requests, not one a file."""
        wanted: dict[str, list[str]] = {}
        records = {one.id: one for pair in steps for one in (pair.start, pair.target)}
        for record in records.values():
            for commit, paths in self._wanted(record):
                wanted.setdefault(commit, []).extend(paths)
        self.repository.prefetch(wanted)

    def _wanted(self, record: Record) -> Iterator[tuple[str, list[str]]]:
        from speedrun.stages.records import extract

        yield from extract.wanted_files(self.registry, record).items()
        yield self.commit, self._readmes(record)

    def sheet(self, step: Transition) -> Sheet:
        """Return what is shown of a step. Errors: SpeedrunError for a source that is not there."""
        from speedrun.stages.classify import sheet

        pair = step.start, step.target
        before, after = map(self._checked, pair)
        row = self._rows.get(step.target.number, "")
        return sheet.make(self.registry, pair, (before, after), row, self._notes(step.target))

    def _checked(self, record: Record) -> dict[str, str]:
        from speedrun.stages.records import extract

        found = extract.sources(self.repository, self.registry, record)
        for problem in extract.differences(record, found):
            raise SpeedrunError(problem)
        return found

    def _notes(self, record: Record) -> str:
        """Return the record's READMEs, those that can be read."""
        wanted = self._readmes(record)
        gone = self.repository.unreadable(self.commit, wanted)
        texts = self.repository.read_many(self.commit, [one for one in wanted if one not in gone])
        return "\n\n".join(content.decode("utf-8", "replace") for _, content in texts)

    def _readmes(self, record: Record) -> list[str]:
        """Return the READMEs of a record's folder, its own before those one folder deeper."""
        if not record.log_folder:
            return []
        deepest = record.log_folder.rstrip("/").count("/") + 2
        files = self.repository.tree(self.commit, record.log_folder)
        found = [one for one in files if one.lower().endswith("/readme.md")]
        return sorted((one for one in found if one.count("/") <= deepest), key=_nearest_first)

    @cached_property
    def _rows(self) -> dict[int, str]:
        """What the table says of each number's first timing, its last column left out."""
        from speedrun.stages.records import table

        upstream = self.registry.upstream
        page = self.repository.read(self.commit, upstream.readme).decode("utf-8", "replace")
        lines: dict[int, str] = {}
        for row in table.read_rows(page, upstream.table)[0]:
            request = f", pull request {row.pull_request}" if row.pull_request else ""
            lines.setdefault(row.number, f"{row.description} ({row.date}{request})")
        return lines


def _nearest_first(path: str) -> tuple[int, str]:
    return path.count("/"), path
