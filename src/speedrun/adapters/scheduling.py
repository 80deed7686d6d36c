"""Which jobs run side by side on one machine: one that waits for a model takes no core.

Snakemake 9.27 starts nothing while every core is taken, not even a job of zero threads, and has
room for five of those beside its cores. So its cores are made more than those that were asked
for with ``-c``; how many of them compute at a time is counted as a resource, which every job takes
but those that wait. On a cluster trainings run elsewhere and nothing of this is needed.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from speedrun.specs import Config

BUSY, WAITING = "busy_cores", "waiting"  # resources of a job
# Jobs that may wait for a model at one time: each has some 80 MB, and takes a CPU second to start.
PLACES_A_CORE, PLACES_MOST = 8, 64


def make_room(workflow: Any) -> None:
    """Let jobs wait beside the cores that Snakemake was given; call after all rules."""
    settings = workflow.resource_settings
    if not (workflow.is_main_process and workflow.local_exec and settings.cores):
        return
    for rule in workflow.rules:
        if BUSY not in rule.resources:
            rule.resources[BUSY] = _threads(workflow, rule)
    settings.max_threads = min(settings.max_threads or settings.cores, settings.cores)
    provided, places = workflow.global_resources, _places(settings.cores)
    for name, count in {BUSY: settings.cores, WAITING: places}.items():
        if name not in provided:  # of --resources
            provided[name] = count
    settings.cores += places
    provided["_cores"] = settings.cores


def _places(cores: int) -> int:
    return min(PLACES_MOST, PLACES_A_CORE * cores)


def _threads(workflow: Any, rule: Any) -> Callable[[Any, int], int]:
    """Only as the graph is built does Snakemake say where a rule's jobs run."""

    def busy(wildcards: Any, threads: int) -> int:
        return threads if workflow.is_local(rule) else 0

    return busy


def asking(config: Config, arm: Config) -> dict[str, int]:
    """Return the resources of a job that asks an arm's coder.

    A coding agent is a program of its own, busy between its questions: it takes the places of a
    core, and the core itself where CPU time is the clock.
    """
    if arm["model"]["kind"] == "none":
        return {BUSY: 1, WAITING: 0}
    if arm["coder"].get("kind", arm["coder"]["name"]) == "direct":
        return {BUSY: 0, WAITING: 1}
    if config["track"]["clock"] == "cpu":
        return {BUSY: 1, WAITING: 0}
    return {BUSY: 0, WAITING: PLACES_A_CORE}
