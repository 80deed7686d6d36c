"""The public side of a task holds nothing of later records: no file of theirs, no line, no log.

A line counts from 40 characters on. Lines of the start's own files are upstream's text and stay,
whatever they tell of later ideas; hints and rules are meant to be read.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

import upstream_repo
from speedrun import cli, files, registry, schema, specs
from speedrun.adapters import sweep
from speedrun.stages import task as task_stage

LONG = 40  # characters: a shorter line is nobody's own


@dataclass(frozen=True)
class Built:
    """A repository's records and every task's workspace, below one folder."""

    git: Path
    facts: registry.Registry
    records: Path  # RECORD/files as `speedrun records` left them
    tasks: Path  # TASK/public, TASK/private


def build(folder: Path, repository: Path, git: str, registry_file: Path) -> Built:
    """Extract every record and build every task, as the workflow's jobs do."""
    facts = registry.load(registry_file)
    source = ["--track", "nanogpt", "--registry", str(registry_file), "--repo", git]
    for record in facts.records:
        out = ["--record", record.id, "--out", str(folder / "records" / record.id)]
        assert cli.main(["records", *source, *out]) == 0
    overrides = [f"track.registry={registry_file}", "hardware.trainer=simulated"]
    config = sweep.load(repository / "config", "nanogpt", overrides)
    for pair in facts.tasks:
        build_task(repository, config, pair, folder)
    return Built(Path(git), facts, folder / "records", folder / "tasks")


def build_task(
    repository: Path, config: dict[str, Any], pair: registry.Transition, folder: Path
) -> None:
    rules = (repository / "tracks/nanogpt/rules.md").read_text(encoding="utf-8")
    facts = schema.from_dict(schema.TaskFacts, {**specs.task(config, pair.task), "rules": rules})
    start, target = (folder / "records" / side.id for side in (pair.start, pair.target))
    hints = repository / "hints/nanogpt" / pair.task
    task_stage.task(start, target, hints, folder / "tasks" / pair.task, facts)


def long_lines(text: str) -> set[str]:
    lines = (line.strip() for line in text.splitlines())
    return {line for line in lines if len(line) >= LONG}


def public_lines(public: Path) -> set[str]:
    """Return the lines that an agent can read, those inside JSON strings too."""
    texts = files.read_tree(public)
    told = texts.pop("task.json")
    values = files.read_json(public / "task.json").values()
    return set().union(*map(long_lines, [*texts.values(), told, *map(str, values)]))


def suspects(built: Built, pair: registry.Transition, repository: Path) -> set[str]:
    """Return the public lines that neither the start's files nor hints nor rules explain."""
    task, hints = built.tasks / pair.task, repository / "hints/nanogpt" / pair.task
    texts = list(files.read_tree(built.records / pair.start.id / "files").values())
    texts += files.read_tree(hints).values() if hints.is_dir() else []
    texts.append((repository / "tracks/nanogpt/rules.md").read_text(encoding="utf-8"))
    return public_lines(task / "public") - set().union(*map(long_lines, texts))


def later_texts(built: Built, record: registry.Record) -> Iterator[str]:
    """Yield a record's own files and every text of its log folder."""
    yield from files.read_tree(built.records / record.id / "files").values()
    if record.log_folder:
        yield from blobs(built.git, built.facts.upstream.commit, record.log_folder)


def blobs(git: Path, commit: str, folder: str) -> Iterator[str]:
    """Yield the files below a folder that the repository holds; some mirrors lack a few."""
    listed = _git(git, "ls-tree", "-r", "--format=%(objectname)", commit, f"{folder}/")
    batch = subprocess.Popen(
        ["git", "--git-dir", str(git), "cat-file", "--batch", "--buffer"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    with batch as process:
        assert process.stdin and process.stdout
        process.stdin.write(listed)
        process.stdin.close()
        while head := process.stdout.readline().split():
            if head[1] != b"missing":
                yield process.stdout.read(int(head[2]) + 1).decode("utf-8", "replace")


def _git(git: Path, *words: str) -> bytes:
    command = ["git", "--git-dir", str(git), *words]
    return subprocess.run(
        command, check=True, capture_output=True, env={**os.environ, "GIT_NO_LAZY_FETCH": "1"}
    ).stdout


def find_leaks(built: Built, suspected: dict[str, set[str]]) -> tuple[dict[str, set[str]], int]:
    """Return each task's suspects that stand in something later, and the lines looked through.

    Later is the target and all records after it, their logs, and the page with the table.
    """
    order = {record.id: index for index, record in enumerate(built.facts.records)}
    starts = {pair.task: order[pair.start.id] for pair in built.facts.tasks}
    leaks: dict[str, set[str]] = {task: set() for task in suspected}
    commit, looked = built.facts.upstream.commit, 0
    page = _git(built.git, "show", f"{commit}:{built.facts.upstream.readme}").decode()
    later = [(len(order), page)]
    sources = ((order[r.id], text) for r in built.facts.records for text in later_texts(built, r))
    for position, text in (*later, *sources):
        lines = long_lines(text)
        looked += len(lines)
        for task, lines_of_task in suspected.items():
            if position > starts[task]:
                leaks[task] |= lines_of_task & lines
    return leaks, looked


def check_files(built: Built, pair: registry.Transition, repository: Path) -> None:
    """Require that public/ holds the start's files, written hints and task.json, nothing else."""
    start = built.records / pair.start.id / "files"
    expected = {f"start/{path}" for path in files.tree_files(start)} | {"task.json"}
    hints = repository / "hints/nanogpt" / pair.task
    expected |= {
        f"hints/{level}.md"
        for level, name in task_stage.HINT_FILES.items()
        if (hints / name).is_file()
    }
    public = built.tasks / pair.task / "public"
    assert {str(path) for path in files.tree_files(public)} == expected
    assert files.read_tree(public / "start") == files.read_tree(start)
    assert not [path for path in public.rglob("*") if path.is_symlink()]


def check(built: Built, repository: Path) -> tuple[int, int]:
    """Check every task; return how many public lines were compared with how many later ones."""
    for pair in built.facts.tasks:
        check_files(built, pair, repository)
    suspected = {pair.task: suspects(built, pair, repository) for pair in built.facts.tasks}
    leaks, looked = find_leaks(built, suspected)
    assert {task: lines for task, lines in leaks.items() if lines} == {}
    tasks = [built.tasks / pair.task / "public" for pair in built.facts.tasks]
    return sum(len(public_lines(public)) for public in tasks), looked


@pytest.fixture(scope="module")
def generated(tmp_path_factory: pytest.TempPathFactory, repository: Path) -> Built:
    folder = tmp_path_factory.mktemp("workspace")
    made = upstream_repo.build(folder)
    return build(folder, repository, str(made.repository), made.registry)


def test_no_task_shows_anything_of_a_later_record(generated: Built, repository: Path) -> None:
    assert len(generated.facts.tasks) == upstream_repo.TASKS
    shown, looked = check(generated, repository)
    assert shown > 100 and looked > 100


@pytest.mark.parametrize("where", ["target", "log", "page", "json"])
def test_a_planted_line_is_found(generated: Built, repository: Path, where: str) -> None:
    """The check itself can fail: a line of something later, put where an agent would read it."""
    pair = next(pair for pair in generated.facts.tasks if pair.target.log_folder and pair.strict)
    target = files.read_tree(generated.records / pair.target.id / "files")
    own = long_lines("".join(files.read_tree(generated.records / pair.start.id / "files").values()))
    commit = generated.facts.upstream.commit
    texts = {
        "target": "".join(target.values()),
        "log": "".join(blobs(generated.git, commit, pair.target.log_folder)),
        "page": _git(generated.git, "show", f"{commit}:README.md").decode(),
        "json": "".join(target.values()),
    }
    line = min(long_lines(texts[where]) - own)
    task = generated.tasks / pair.task
    planted = task / "public/task.json" if where == "json" else task / "public/start/notes.txt"
    before = planted.read_text() if planted.is_file() else None
    try:
        if where == "json":
            facts = files.read_json(planted)
            files.write_json(planted, {**facts, "hardware": f"{facts['hardware']}\n{line}"})
        else:
            planted.write_text(f"    {line}\n")
        leaks, _ = find_leaks(generated, {pair.task: suspects(generated, pair, repository)})
        assert line in leaks[pair.task]
        if where != "json":
            with pytest.raises(AssertionError):
                check_files(generated, pair, repository)
    finally:
        planted.unlink() if before is None else planted.write_text(before)


@pytest.mark.network
@pytest.mark.slow
@pytest.mark.skipif("SPEEDRUN_UPSTREAM" not in os.environ, reason="SPEEDRUN_UPSTREAM is not set")
def test_no_task_of_the_real_track_shows_anything_later(tmp_path: Path, repository: Path) -> None:
    git = os.environ["SPEEDRUN_UPSTREAM"]
    built = build(tmp_path, repository, git, repository / "tracks/nanogpt/registry.yaml")
    assert len(built.facts.tasks) == 85
    shown, looked = check(built, repository)
    print(f"{shown} public lines of 85 tasks against {looked} later lines: none leaks")
