"""Which jobs take a core. What Snakemake makes of it is tested in test_scaffold_trials.py."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from speedrun.adapters import scheduling
from speedrun.adapters.scheduling import BUSY, PLACES_A_CORE, WAITING

MODEL, NO_MODEL = {"kind": "openai_compatible"}, {"kind": "none"}
DIRECT, AGENT = {"name": "direct"}, {"name": "aider", "kind": "command"}


@pytest.mark.parametrize(
    ("coder", "model", "clock", "busy", "waiting"),
    [
        (DIRECT, MODEL, "cpu", 0, 1),
        (DIRECT, MODEL, "train_time", 0, 1),
        ({"name": "mine", "kind": "direct"}, MODEL, "cpu", 0, 1),
        (AGENT, MODEL, "cpu", 1, 0),
        (AGENT, MODEL, "train_time", 0, PLACES_A_CORE),
        ({"name": "tuner"}, NO_MODEL, "cpu", 1, 0),
        ({"name": "oracle"}, NO_MODEL, "train_time", 1, 0),
    ],
)
def test_who_asks_decides_what_a_question_takes(
    coder: dict[str, Any], model: dict[str, Any], clock: str, busy: int, waiting: int
) -> None:
    config = {"track": {"clock": clock}}
    taken = scheduling.asking(config, {"coder": coder, "model": model})
    assert taken == {BUSY: busy, WAITING: waiting}


def made(
    cores: int | None, main: bool = True, local: bool = True, cluster: bool = False, **given: int
) -> Any:
    """Return a workflow, as far as it matters here, after room was made in it."""
    settings = SimpleNamespace(cores=cores, max_threads=None)
    rules = [SimpleNamespace(resources={"_cores": 1}), SimpleNamespace(resources={BUSY: 0})]
    workflow = SimpleNamespace(
        resource_settings=settings,
        rules=rules,
        is_main_process=main,
        local_exec=local,
        is_local=lambda rule: not cluster,
        global_resources={"_cores": cores, **given},
    )
    scheduling.make_room(workflow)
    return workflow


@pytest.mark.parametrize(("cores", "places"), [(1, 8), (2, 16), (16, 64)])
def test_places_are_added_to_the_cores_that_were_given(cores: int, places: int) -> None:
    workflow = made(cores)
    everything = {"_cores": cores + places, BUSY: cores, WAITING: places}
    assert workflow.global_resources == everything
    assert workflow.resource_settings.cores == cores + places
    assert workflow.resource_settings.max_threads == cores
    computing, waiting = (rule.resources[BUSY] for rule in workflow.rules)
    assert (computing(None, threads=3), waiting) == (3, 0)


def test_a_training_on_a_cluster_takes_no_core_of_this_machine() -> None:
    """While the rules are read Snakemake says of every workflow that it runs here."""
    computing = made(64, cluster=True).rules[0].resources[BUSY]
    assert computing(None, threads=64) == 0


def test_what_the_command_line_says_stands() -> None:
    assert made(2, waiting=3).global_resources[WAITING] == 3


@pytest.mark.parametrize("how", [{"main": False}, {"local": False}])
def test_elsewhere_nothing_is_changed(how: dict[str, bool]) -> None:
    assert made(4, **how).global_resources == {"_cores": 4}
    assert made(None).global_resources == {"_cores": None}
