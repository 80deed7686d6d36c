"""Verbs about machines: what a profile can run, and the environments that its runs need."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from speedrun import files
from speedrun.cli import options
from speedrun.cli.options import path, required


def add_verbs(verbs: Any) -> None:
    """Declare this module's verbs."""
    hardware = options.verb(
        verbs, "hardware", run_hardware, "list what a hardware profile can run, and why not"
    )
    required(hardware, profile=(str, "a file of config/hardware/, without its ending"))
    environment = options.verb(
        verbs, "environment", run_environment, "build the training environment of an era"
    )
    required(environment, era=(str, "an era of the registry"), out=(path, "results/envs/ERA"))
    environment.add_argument("--requirements", type=path, help="default: workflow/envs/ERA.txt")
    environment.add_argument("--python", help="version or path; default: the era's")
    environment.add_argument("--index", default="", help="replaces every package index")
    for parser in (hardware, environment):
        parser.add_argument("--track", default="nanogpt", help="default: nanogpt")
        parser.add_argument("--registry", type=path, help="default: tracks/TRACK/registry.yaml")
        parser.add_argument("--config", type=path, default=path("config"), help="default: config")


def run_hardware(given: argparse.Namespace) -> None:
    """Print every record and task with the reason why it cannot run, if there is one."""
    from speedrun import faithful
    from speedrun.adapters import hydra_config

    facts = _registry(given)
    profile = hydra_config.option(given.config, "hardware", given.profile)
    reasons = {one.id: faithful.unfaithful(one, profile) for one in facts.records}
    for record in facts.records:
        print(f"{record.id:10} {record.era:10} {_answer(reasons[record.id])}")
    tasks = {task.task: _first_reason(task, reasons) for task in facts.tasks}
    for task in facts.tasks:
        print(f"{task.task:10} {task.target.era:10} {_answer(tasks[task.task])}")
    counts = [f"{_able(one)} of {len(one)} {name}" for name, one in
              (("records", reasons), ("tasks", tasks))]  # fmt: skip
    print(f"{given.profile}: can run {', '.join(counts)}")


def _first_reason(task: Any, reasons: dict[str, str]) -> str:
    """Return the reason of a task's start or target, after its name."""
    found = (f"{one.id} {reasons[one.id]}" for one in (task.start, task.target) if reasons[one.id])
    return next(found, "")


def _able(reasons: dict[str, str]) -> int:
    return sum(not reason for reason in reasons.values())


def _answer(reason: str) -> str:
    return f"no: {reason}" if reason else "yes"


def run_environment(given: argparse.Namespace) -> None:
    """Build an era's environment unless it is there; write OUT.json beside it."""
    from speedrun.adapters import environments

    requirements, python = given.requirements, given.python
    if requirements is None or python is None:
        era = _era(given)
        requirements = requirements or Path("workflow/envs") / era.requirements
        python = python or era.python
    request = environments.Request(requirements, python, given.index)
    ready = environments.build(request, given.out)
    files.write_json(given.out.with_name(f"{given.out.name}.json"), ready)


def _era(given: argparse.Namespace) -> Any:
    eras = {era.id: era for era in _registry(given).eras}
    if given.era not in eras:
        raise files.SpeedrunError(f"no era {given.era!r}; the eras are {', '.join(eras)}")
    return eras[given.era]


def _registry(given: argparse.Namespace) -> Any:
    from speedrun import registry

    return registry.load(given.registry or Path("tracks") / given.track / "registry.yaml")
