"""The verb that brings a track's records: from tracks/, or from the repository of its registry."""

from __future__ import annotations

import argparse
import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from speedrun.cli import options
from speedrun.cli.options import path
from speedrun.cli.provenance import recorded
from speedrun.files import SpeedrunError

if TYPE_CHECKING:
    from speedrun.adapters.upstream_git import GitRepository
    from speedrun.registry import Registry


def add_verbs(verbs: Any) -> None:
    """Declare the verb; its options are those of five uses."""
    parser = options.verb(
        verbs, "records", run_records, "copy, fetch or verify a track's records, or measure a chain"
    )
    parser.add_argument("--track", default="micro", help="default: micro")
    parser.add_argument("--record", help="the record's id")
    parser.add_argument("--out", type=path, help="results/records/TRACK/RECORD; with --stats: FILE")
    _add_local(parser)
    _add_measure(parser)
    _add_upstream(parser)


def _add_local(parser: argparse.ArgumentParser) -> None:
    local = parser.add_argument_group("a record of this repository")
    local.add_argument("--source", type=path, help="tracks/TRACK/records")
    local.add_argument("--entry", default="train.py", help="the file that is run")


def _add_measure(parser: argparse.ArgumentParser) -> None:
    measure = parser.add_argument_group("timing a chain")
    measure.add_argument("--measure", action="store_true", help="time all records, interleaved")
    measure.add_argument("--rounds", type=int, default=10, help="runs a record")
    measure.add_argument("--lanes", type=int, default=2, help="rounds side by side")
    measure.add_argument("--repository", type=path, default=Path(), help="this project's root")
    measure.add_argument("--fresh", action="store_true", help="time every run again, reuse none")
    measure.add_argument("--write", action="store_true", help="update each record.yaml")


def _add_upstream(parser: argparse.ArgumentParser) -> None:
    upstream = parser.add_argument_group("a track with a registry")
    add_sources(upstream)
    upstream.add_argument("--fetch", action="store_true", help="fetch all sources into the mirror")
    upstream.add_argument(
        "--verify", action="store_true", help="check every row, source, hash and log"
    )
    upstream.add_argument("--stats", action="store_true", help="statistics of the human runs")
    upstream.add_argument("--figure", type=path, help="with --stats: draw the paper's re-timings")
    upstream.add_argument(
        "--check-upstream",
        nargs="?",
        const="HEAD",
        metavar="COMMIT",
        help="list new and changed rows of a newer commit or branch",
    )
    upstream.add_argument(
        "--pin", action="store_true", help="write the hashes into the registry (maintainers)"
    )


def add_sources(group: Any) -> None:
    """Declare what says where the sources of a track with a registry lie."""
    group.add_argument("--registry", type=path, help="default: tracks/TRACK/registry.yaml")
    group.add_argument("--repo", default="", help="URL or local clone; default: the registry's")
    group.add_argument("--mirror", type=path, help="default: store/upstream/TRACK.git")


def run_records(given: argparse.Namespace) -> None:
    """Do what the options ask for; the first of them that is given."""
    if given.measure:
        from speedrun.cli import measure

        measure.run(given)
        return
    uses = [
        (given.source is not None, _copy),
        (given.verify, _verify),
        (given.stats, _stats),
        (given.check_upstream is not None, _check_upstream),
        (given.pin, _pin),
        (given.fetch, _fetch),
        (given.record is not None, _extract),
    ]
    chosen = [use for asked, use in uses if asked]
    if not chosen:
        raise SpeedrunError("nothing to do: give --record ID --out DIR, --verify, or see --help")
    with _disk_errors():
        chosen[0](given)


def _copy(given: argparse.Namespace) -> None:
    """Copy one record of this repository into results/."""
    from speedrun.stages import records

    _needs(given, "record", "out")
    with recorded("records", given.out / "records.record.json") as record:
        records.records(given.source, given.record, given.entry, given.out)
        record.params = {"record": given.record, "entry": given.entry}
        record.read(*sorted((given.out / "files").rglob("*.py")))
        record.artifacts = ["record.json", f"files/{given.entry}"]


def _extract(given: argparse.Namespace) -> None:
    """Take one record out of the registry's repository into results/."""
    from speedrun.stages.records import extract

    _needs(given, "out")
    registry = track_registry(given)
    one = registry.record(given.record)
    with recorded("records", given.out / "records.record.json") as record:
        extract.extract(open_sources(given, registry), registry, given.record, given.out)
        record.params = {"record": given.record, "source": one.source.kind}
        record.params |= {"commit": registry.upstream.commit}
        record.read(*sorted(file for file in (given.out / "files").rglob("*") if file.is_file()))
        record.artifacts = ["record.json", f"files/{registry.entry}"]


def _verify(given: argparse.Namespace) -> None:
    """Check everything; the last line counts, and the exit code is 1 with any problem."""
    from speedrun.stages.records import verify

    registry = track_registry(given)
    known = Path("results/records") / registry.track
    try:
        done = verify.verify(open_sources(given, registry), registry, known)
    except SpeedrunError as error:  # no repository, or no such commit in it
        done = verify.Verified(problems=[str(error)])
    print(*done.problems, done.counts(), sep="\n")
    if done.problems:
        raise SystemExit(1)


def _stats(given: argparse.Namespace) -> None:
    """Write the statistics of the human runs, or print them; or draw the paper's re-timings."""
    from speedrun.stages.records import statistics
    from speedrun.stages.records.table import printable

    if given.figure is not None:
        statistics.draw_paper_times(
            _registry_path(given).with_name("paper_times.csv"), given.figure
        )
        return
    registry = track_registry(given)
    runs = statistics.read(open_sources(given, registry), registry)
    rows = statistics.rows_of(registry, runs)
    if given.out is None:
        print(statistics.as_csv(rows), end="")
        return
    statistics.write(rows, given.out)
    failures = [printable(f"{path}: {reason}") for path, reason in runs.failures.items()]
    counts = f"{len(rows)} records, {runs.count} logs, {len(failures)} that do not parse"
    print(*failures, f"{given.out}: {counts}", sep="\n")


def _check_upstream(given: argparse.Namespace) -> None:
    """List what a newer commit's table has that the registry has not."""
    from speedrun.adapters import upstream_git
    from speedrun.stages.records import newer

    registry = track_registry(given)
    repository = given.repo or registry.upstream.url
    commit = upstream_git.resolve(repository, _mirror(given), given.check_upstream)
    opened = upstream_git.open_repository(repository, _mirror(given), [commit])
    lines = list(newer.compare(opened, registry, commit))
    print(*lines, f"commit {commit}: {len(lines)} differences", sep="\n")


def _pin(given: argparse.Namespace) -> None:
    """Write the hashes of what the repository holds into the registry."""
    from speedrun.stages.records import pin, verify

    registry = track_registry(given)
    opened = open_sources(given, registry)
    opened.prefetch(verify.source_files(registry))
    changed = pin.write_hashes(_registry_path(given), pin.hashes(opened, registry))
    print(f"{_registry_path(given)}: {len(changed)} records changed {' '.join(changed)}".rstrip())


def _fetch(given: argparse.Namespace) -> None:
    """Bring the pinned commit, and the contents of all sources, into the mirror."""
    from speedrun.stages.records import verify

    registry = track_registry(given)
    opened = open_sources(given, registry)
    fetched = opened.prefetch(verify.source_files(registry))
    print(f"commit {registry.upstream.commit} is in {opened.where}, {fetched} files fetched")


def open_sources(given: argparse.Namespace, registry: Registry) -> GitRepository:
    """Return the registry's repository, by the options of add_sources."""
    from speedrun.adapters import upstream_git

    repository = given.repo or registry.upstream.url
    return upstream_git.open_repository(repository, _mirror(given), [registry.upstream.commit])


def track_registry(given: argparse.Namespace) -> Registry:
    """Return the registry that --registry names, or the track's."""
    from speedrun import registry

    return registry.load(_registry_path(given))


def _registry_path(given: argparse.Namespace) -> Path:
    default = Path("tracks") / given.track / "registry.yaml"
    return default if given.registry is None else Path(given.registry)


def _mirror(given: argparse.Namespace) -> Path:
    default = Path("store/upstream") / f"{given.track}.git"
    return default if given.mirror is None else Path(given.mirror)


def _needs(given: argparse.Namespace, *names: str) -> None:
    for name in names:
        if getattr(given, name) is None:
            raise SpeedrunError(f"--{name} is missing: give it")


@contextlib.contextmanager
def _disk_errors() -> Iterator[None]:
    """Say a full disk or a forbidden folder in one line."""
    try:
        yield
    except OSError as error:
        where = error.filename or "this disk"
        raise SpeedrunError(
            f"{where}: {error.strerror}: free space, or correct the path"
        ) from error
