"""What a sweep needs that is not there: said in plain words by a dry run, before any job.

What the workflow itself fetches or builds is only named; what no rule can make, a graphics card
or a model's key, stops a run that would need it.
"""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from speedrun import plan, registry, specs
from speedrun.adapters.git_command import without_credentials
from speedrun.files import SpeedrunError

Config = dict[str, Any]
TRAINING, ASKING, CODING = (
    ("preflight", "train", "train_reference", "audit"),
    ("draft", "generate", "judge", "review", "summarize"),
    ("draft", "generate"),
)


@dataclass(frozen=True)
class Gap:
    """Something that is not there. No rule makes it for the rules that it ``stops``."""

    text: str
    stops: tuple[str, ...] = ()


def say_not_run(config: Config) -> None:
    """Print the tasks that this hardware cannot run faithfully."""
    for row in config["not_run"]:
        _say(f"not run: {row['task']}: {row['reason']}")


def say(config: Config, facts: registry.Registry | None, local: bool) -> None:
    """Print what is missing, for a dry run: whatever a job would stop at, and what comes.

    ``local``: as in require.
    """
    for gap in gaps(config, facts, local):
        _say(f"missing: {gap.text}")


def say_agents(config: Config) -> None:
    """Print which coding agents are not installed: a plan counts their nodes all the same."""
    for gap in _agents(config):
        if gap.stops:
            _say(f"missing: {gap.text}")


def require(
    config: Config, facts: registry.Registry | None, rules: Collection[str], local: bool
) -> None:
    """Stop a run before its first job if one of its rules lacks what no rule can make.

    ``local``: the jobs run on this machine, not on a cluster's. Errors: SpeedrunError naming it.
    """
    for gap in gaps(config, facts, local):
        if set(gap.stops) & set(rules):
            raise SpeedrunError(f"missing: {gap.text}")


def _say(text: str) -> None:
    print(f"speedrun: {text}", file=sys.stderr)


def gaps(config: Config, facts: registry.Registry | None, local: bool) -> Iterator[Gap]:
    """Yield what is not there, relative to the working directory and on this machine."""
    if facts:
        yield from _upstream(config, facts)
    if specs.corpus_kind(config) == "text":
        yield from _texts(config["corpus"]["paths"])
    if specs.corpus_kind(config) != "distributions":
        yield from _shards(config)
    yield from _environments(config)
    if config["hardware"]["trainer"] == "real":
        yield from _interpreter(config["hardware"]["python"], local)
        yield from _cards(config["hardware"], local)
        if any(task.setting.downloads for task in plan.tasks(config)):
            yield from _downloads(config["hardware"], local)
    yield from _agents(config)
    yield from _keys(config)


def _upstream(config: Config, facts: registry.Registry) -> Iterator[Gap]:
    """A repository on this machine is read where it lies; any other goes into the mirror."""
    upstream = config["track"]["upstream"]
    here = [path for path in (upstream["repository"], upstream["mirror"]) if path]
    if not any(Path(path).is_dir() for path in here):
        source = without_credentials(upstream["repository"] or facts.upstream.url)
        yield Gap(
            f"the upstream records ({upstream['mirror']}): the workflow fetches commit "
            f"{facts.upstream.commit[:12]} from {source}"
        )


def _texts(paths: list[str]) -> Iterator[Gap]:
    absent = [path for path in paths if not Path(path).exists()]
    if absent:
        yield Gap(f"corpus.paths: {absent[0]} is not there: correct corpus.paths", ("corpus",))


def _shards(config: Config) -> Iterator[Gap]:
    corpus, names = config["corpus"]["name"], specs.shard_names(config)
    folder = Path(plan.RESULTS, "shards", corpus, "public")
    absent = [name for name in names if not (folder / name).is_file()]
    if absent:
        yield Gap(
            f"shards: {len(absent)} of {len(names)} of corpus {corpus}, from {folder / absent[0]} "
            "on: the workflow makes them"
        )


def _environments(config: Config) -> Iterator[Gap]:
    eras = dict.fromkeys(task.setting.era for task in plan.tasks(config))
    folders = {era: specs.built_environment(config["hardware"], era) for era in eras}
    absent = [
        era for era, path in folders.items() if path and not Path(path, "bin/python").exists()
    ]
    if absent:
        yield Gap(f"environments of the eras {', '.join(absent)}: the workflow builds them")


def _agents(config: Config) -> Iterator[Gap]:
    """A coding agent's environment is built by its first node, its other tools are not."""
    for coder in {arm["coder"]["name"]: arm["coder"] for arm in config["arms"].values()}.values():
        absent = [folder for folder in coder.get("shown", []) if not Path(folder).is_dir()]
        if absent:
            how = coder.get("install") or "put it there, or correct the coder's shown"
            yield Gap(f"tools of coder {coder['name']} ({absent[0]}): {how}", CODING)
    yield from _agents_environments(config)


def _agents_environments(config: Config) -> Iterator[Gap]:
    needed = {
        arm["coder"]["name"]: Path(specs.ENVIRONMENTS, "coders", Path(wanted).stem)
        for arm in config["arms"].values()
        if (wanted := arm["coder"].get("requirements"))
    }
    absent = [name for name, folder in needed.items() if not (folder / "bin/python").exists()]
    if absent:
        yield Gap(f"environments of the coders {', '.join(absent)}: their first nodes build them")


def _interpreter(python: str, local: bool) -> Iterator[Gap]:
    if python and local and shutil.which(python) is None:
        yield Gap(f"interpreter {python}: set hardware.python to one that exists", TRAINING)


def _cards(hardware: Config, local: bool) -> Iterator[Gap]:
    """A cluster's nodes have their own cards, so that this machine's say nothing there."""
    if hardware["device"] == "cpu" or not local:
        return
    wanted, there = hardware.get("world_size", 1), len(list(Path("/dev").glob("nvidia[0-9]*")))
    if there < wanted:
        yield Gap(
            f"GPU: hardware {hardware['name']} needs {wanted}, this machine shows {there}: run on "
            "such a machine, or on a cluster with --profile slurm",
            TRAINING,
        )


def _downloads(hardware: Config, local: bool) -> Iterator[Gap]:
    """The same folder may hold the corpus's shards, which are no download of a script."""
    folder = hardware.get("hub_cache", "")
    filled = any(Path(folder, name).is_dir() for name in ("huggingface", "tiktoken"))
    if folder and local and not filled:
        yield Gap(
            f"downloads {folder}: fill it as docs/hardware.md says, or set hardware.hub_cache='' "
            "to run only what downloads nothing",
            TRAINING,
        )


def _keys(config: Config) -> Iterator[Gap]:
    """A key that several arms need is one gap."""
    users: dict[str, list[str]] = {}
    for name, arm in config["arms"].items():
        users.setdefault(arm["model"]["name"], []).append(f"arm {name}")
    if "model" in config["judge"]:
        users.setdefault(config["judge"]["model"]["name"], []).append("the judge")
    if config["review"]["reviewer"]:
        users.setdefault(config["review"]["reviewer"]["name"], []).append("the reviewer")
    for model, wanted in users.items():
        variable = config["models"].get(model, {}).get("api_key_env")
        if variable and not os.environ.get(variable):
            more = f" and {len(wanted) - 1} more" if len(wanted) > 1 else ""
            yield Gap(
                f"key of model {model} ({wanted[0]}{more}): the environment variable {variable} is "
                "not set: export the endpoint's key in it (any text for a server without keys)",
                ASKING,
            )
