"""Where solutions of a track meet: its configuration, its shards, and frozen copies of the code."""

from __future__ import annotations

import argparse
import difflib
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from speedrun import files, plan, schema, specs
from speedrun.cli.measure import Bench
from speedrun.cli.options import path
from speedrun.files import SpeedrunError

if TYPE_CHECKING:
    from speedrun.registry import Registry

SWEEP = "duel"
# Of a solution's folder these are no part of it: a card of facts, caches, a repository's own.
LEFT_OUT = ("record.yaml", "__pycache__", ".git")
LOG = Path("results/logs/duel/snakemake.log")


def add_options(parser: argparse.ArgumentParser) -> None:
    """Declare what says where solutions meet."""
    parser.add_argument("--track", default="micro", help="of both solutions; micro if absent")
    parser.add_argument(
        "--task", help="tracks with a registry: whose environment and shards, if no record says it"
    )
    parser.add_argument(
        "--set", action="append", default=[], metavar="KEY=VALUE",
        help="an override of config/, such as hardware.timeout_s=60; may be repeated",
    )  # fmt: skip
    parser.add_argument("--repository", type=path, default=Path(), help="where config/ lies")


@dataclass(frozen=True)
class Venue:
    """A track on this machine; paths are relative to the working directory."""

    repository: Path
    config: dict[str, Any]
    overrides: list[str]
    facts: Registry | None

    @cached_property
    def track(self) -> schema.TrackSpec:
        """The track's specification."""
        return schema.from_dict(schema.TrackSpec, specs.track(self.config))

    @cached_property
    def setting(self) -> specs.Setting:
        """What all runs here share: those of the first chosen task."""
        return plan.tasks(self.config)[0].setting

    @cached_property
    def spec(self) -> dict[str, Any]:
        """TrainSpec as JSON values."""
        return specs.train(self.config, self.setting)

    @cached_property
    def bench(self) -> Bench:
        """What times one program; the shards must be there."""
        corpus = self.config["corpus"]
        packages = "distributions" in corpus
        manifest = Path("results/corpus", corpus["name"], "manifest.json") if packages else None
        return Bench(Path("results/shards", corpus["name"]), manifest, self.spec, self.track)

    @property
    def records(self) -> list[str]:
        """The names of the track's records."""
        return list(self.facts.by_id) if self.facts else self.track.records

    def require(self, stages: Sequence[str]) -> None:
        """Raise SpeedrunError for what ``stages`` lack and no workflow makes, such as a GPU."""
        from speedrun.adapters import missing

        if self.track.clock == "cpu" and self.spec["threads"] != 1:
            raise SpeedrunError("one core a lane is pinned: set hardware.threads=1")
        missing.require(self.config, self.facts, stages, local=True)

    def make(self, records: Sequence[str] = ()) -> None:
        """Make shards, environment and fetched records where they are absent, by the workflow."""
        corpus = self.config["corpus"]["name"]
        wanted = [Path("results/shards", corpus, "meta.json")]
        if self.facts:
            wanted += [self._fetched(name) / self.track.entry for name in records]
        built = specs.built_environment(self.config["hardware"], self.setting.era)
        wanted += [Path(f"{built}.json")] if built else []
        if absent := [str(one) for one in wanted if not one.is_file()]:
            self._workflow(absent)

    def _workflow(self, targets: list[str]) -> None:
        print(f"making {', '.join(targets)} with snakemake; its log: {LOG}", file=sys.stderr)
        words = [sys.executable, "-m", "snakemake", "-s", str(self.repository / "Snakefile"), "-c1"]
        # Hints of reproduce's arm come from a file, not from a task: the workflow must not ask.
        overrides = [*self.overrides, "arms.reproduce.hints=none"]
        config = [f"sweep={SWEEP}", f"overrides={files.canonical_json(overrides)}"]
        LOG.parent.mkdir(parents=True, exist_ok=True)
        with LOG.open("w", encoding="utf-8") as log:
            ended = subprocess.run(
                [*words, *targets, "--config", *config], stdout=log, stderr=log, check=False
            )
        if ended.returncode:
            said = [line for line in LOG.read_text(encoding="utf-8").splitlines() if line.strip()]
            last = next((line for line in said if line.startswith("speedrun")), "".join(said[-1:]))
            raise SpeedrunError(f"snakemake could not make {targets[0]}: {last}; see {LOG}")

    def _fetched(self, name: str) -> Path:
        return Path("results/records", self.track.name, name, "files")

    def check(self, name: str) -> None:
        """Raise SpeedrunError as ``source`` does, unless ``make`` has the record yet to fetch."""
        if not (self.facts and name in self.records):
            self.source(name)

    def source(self, name: str) -> tuple[Path, bool]:
        """Return the folder that a name or path stands for, and whether it is a record.

        Errors: SpeedrunError for what is neither, or has no entry file.
        """
        record = name in self.records
        own = self.repository / "tracks" / self.track.name / "records" / name
        folder = (self._fetched(name) if self.facts else own) if record else Path(name)
        if not folder.is_dir():
            known = ", ".join(self.records[:8]) + (", ..." if len(self.records) > 8 else "")
            near = "".join(difflib.get_close_matches(name, self.records, n=1))
            raise SpeedrunError(
                f"{name!r} is neither a folder nor a record of {self.track.name}"
                f"{near and f'; nearest is {near!r}'} ({known})"
            )
        if not (folder / self.track.entry).is_file():
            raise SpeedrunError(f"{folder} has no {self.track.entry}: the file that is run")
        return folder, record


def open_venue(given: argparse.Namespace, names: Sequence[str], more: Sequence[str] = ()) -> Venue:
    """Return where solutions of ``given.track`` meet; ``names`` may be records of it.

    Errors: SpeedrunError in one line, also where this hardware cannot run the track's tasks.
    """
    from speedrun.adapters import hydra_config, sweep, task_table

    folder = given.repository / "config"
    if not folder.is_dir():
        raise SpeedrunError(f"no config/ in {given.repository}: go there, or give --repository")
    chosen = [f"track={given.track}", *more, *given.set]
    raw = hydra_config.load(folder, SWEEP, chosen)
    facts = task_table.registry_of(given.repository, raw["track"])
    task = given.task or (_task_of(facts, names) if facts else None)
    chosen += [f"tasks=[{task}]"] if task else []
    config = sweep.load(folder, SWEEP, chosen)
    return Venue(given.repository, config, chosen, facts)


def _task_of(facts: Registry, names: Sequence[str]) -> str:
    """Return the task whose target, or else start, is one of the records; the last named first."""
    for side in ("target", "start"):
        for name in reversed(names):
            for pair in facts.tasks:
                if getattr(pair, side).id == name:
                    return pair.task
    raise SpeedrunError(
        f"{facts.track} has several environments: say with --task whose environment and shards "
        f"these run in, e.g. --task {facts.tasks[-1].task}"
    )


def freeze(source: Path, folder: Path) -> Path:
    """Copy a solution below ``folder`` under its digest, once; return the copy.

    What happens to ``source`` from then on changes no run. Links are kept as links, which no run
    follows and the rules report. Errors: SpeedrunError for what cannot be copied, such as a pipe.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder, prefix=".copy.") as temporary:
        copy = Path(temporary) / "solution"
        try:
            shutil.copytree(source, copy, symlinks=True, ignore=shutil.ignore_patterns(*LEFT_OUT))
        except (OSError, shutil.Error) as error:
            raise SpeedrunError(f"{source} cannot be copied: {str(error)[:200]}") from error
        digest = _digest(copy)
        frozen = folder / digest[:16]
        if not frozen.is_dir() or _digest(frozen) != digest:
            shutil.rmtree(frozen, ignore_errors=True)
            copy.rename(frozen)
    return frozen


def _digest(folder: Path) -> str:
    links = {
        str(one.relative_to(folder)): os.readlink(one)
        for one in sorted(folder.rglob("*"))
        if one.is_symlink()
    }
    return files.digest_value([files.digest_tree(folder), links])
