"""One record's source files, from the commit or the log that the registry names, and their check.

A source is hashed, written and run as trainlog.normalised leaves it: UTF-8, LF, no blank lines
before it, one newline at its end.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from pathlib import Path, PurePosixPath
from typing import Any

from speedrun import files, schema, trainlog
from speedrun.files import SpeedrunError
from speedrun.registry import LOG_SOURCE, Record, Registry
from speedrun.stages.records.sources import Repository

ARGUMENTS = "arguments.txt"  # the entry file's arguments, one a line, beside it


def extract(repository: Repository, registry: Registry, name: str, out: Path) -> None:
    """Write one record: its sources to ``out/files``, its card to ``out/record.json``.

    The card is kept apart because it tells what agents must not see: title, time, provenance.
    Errors: SpeedrunError when a file cannot be read or is not what the registry says.
    """
    record = registry.record(name)
    found = sources(repository, registry, record)
    known = read_known(out / "files")
    for problem in differences(record, found, known):
        raise SpeedrunError(problem)
    arguments = "".join(f"{argument}\n" for argument in record.arguments)
    files.write_tree(out / "files", found | ({ARGUMENTS: arguments} if arguments else {}))
    files.write_json(out / "record.json", card(registry, record))


def card(registry: Registry, record: Record) -> dict[str, Any]:
    """Return what is known about a record, with the repository that it is from."""
    facts: dict[str, Any] = schema.to_dict(record)
    return {"track": registry.track, "upstream": schema.to_dict(registry.upstream), **facts}


def sources(repository: Repository, registry: Registry, record: Record) -> dict[str, str]:
    """Return the record's normalised files by their names under files/; the first is the entry.

    Errors: SpeedrunError that names the record and what cannot be read.
    """
    try:
        if record.source.kind == LOG_SOURCE:
            found = _from_log(repository, registry.upstream.commit, record.source.log)
        else:
            found = _from_commit(repository, record)
    except SpeedrunError as error:
        raise SpeedrunError(f"{record.id}: {error}") from error
    return _with_entry(found, registry.entry)


def wanted_files(registry: Registry, record: Record) -> dict[str, list[str]]:
    """Return ``{commit: paths}`` that the record's source is read from."""
    if record.source.kind == LOG_SOURCE:
        return {registry.upstream.commit: [record.source.log]}
    return {record.source.commit: list(record.source.paths)}


def _from_log(repository: Repository, commit: str, path: str) -> dict[str, str]:
    text = repository.read(commit, path).decode("utf-8", "replace")
    try:
        found = trainlog.parse(text).files
    except ValueError as error:
        raise SpeedrunError(f"{path} does not parse: {error}; correct source.log") from error
    if not found:
        raise SpeedrunError(f"{path} embeds no source: correct source.log")
    return found


def _from_commit(repository: Repository, record: Record) -> dict[str, str]:
    read = repository.read_many(record.source.commit, record.source.paths)
    return {PurePosixPath(path).name: _decoded(path, content) for path, content in read}


def _decoded(path: str, content: bytes) -> str:
    try:
        return trainlog.normalised(content.decode("utf-8"))
    except UnicodeDecodeError as error:
        raise SpeedrunError(f"{path} is not UTF-8 text ({error}): correct source.paths") from error


def _with_entry(found: Mapping[str, str], entry: str) -> dict[str, str]:
    """Give the main file, which is the first, the track's entry name."""
    (_, main), *others = found.items()
    return {entry: main, **dict(others)}


def differences(
    record: Record, found: Mapping[str, str], known: Mapping[str, str] | None = None
) -> list[str]:
    """Return a line for every file that is not what the registry says.

    ``known`` are files of an earlier extraction: one that has the expected hash shows which line
    differs. Without it only the hashes and the size can be told.
    """
    if not record.sha256:
        return [f"{record.id}: the registry has no hashes: run `speedrun records --pin`"]
    lacking = [name for name in record.sha256 if name not in found]
    unknown = [name for name in found if name not in record.sha256]
    lines = [f"{record.id}: {name} is missing from {_place(record)}" for name in lacking]
    lines += [f"{record.id}: {name} of {_place(record)} has no hash" for name in unknown]
    return lines + [
        _mismatch(record, name, text, (known or {}).get(name, ""))
        for name, text in found.items()
        if name in record.sha256 and files.digest_text(text) != record.sha256[name]
    ]


def _mismatch(record: Record, name: str, text: str, known: str) -> str:
    expected = record.sha256[name]
    size = f"{len(text.splitlines())} lines, {len(text.encode())} bytes"
    return (
        f"{record.id}: {name} of {_place(record)} ({size}) has SHA-256 {files.digest_text(text)}, "
        f"the registry expects {expected}; {_first_difference(text, known, expected)}"
    )


def _first_difference(text: str, known: str, expected: str) -> str:
    """Return the first changed lines of a unified diff from the expected text, on one line."""
    if files.digest_text(known) != expected:
        return "which lines differ cannot be told, for the expected text is not at hand"
    pair = (known.splitlines(), text.splitlines())
    hunk = list(difflib.unified_diff(*pair, n=0, lineterm=""))[2:]
    changed = [hunk[0], *(line for line in hunk[1:3] if not line.startswith("@@"))]
    return "first difference: " + " ".join(f"{line[:160]!r}" for line in changed)


def _place(record: Record) -> str:
    if record.source.kind == LOG_SOURCE:
        return record.source.log
    return f"commit {record.source.commit[:12]}"


def read_known(folder: Path) -> dict[str, str]:
    """Return the files of an earlier extraction; {} where there is none that can be read."""
    try:
        return files.read_tree(folder) if folder.is_dir() else {}
    except UnicodeDecodeError:
        return {}
