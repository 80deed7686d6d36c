"""What a machine can run as the experiment that it was, and the profiles that say so."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from speedrun import cli, faithful, registry, schema
from speedrun.faithful import unfaithful
from speedrun.registry import Record

REPOSITORY = Path(__file__).parents[1]
FACTS = registry.load(REPOSITORY / "tracks" / "nanogpt" / "registry.yaml")
PROFILES: dict[str, dict[str, Any]] = {
    path.stem: yaml.safe_load(path.read_text())
    for path in sorted((REPOSITORY / "config" / "hardware").glob("*.yaml"))
}
GPUS = {name: profile for name, profile in PROFILES.items() if profile["device"] == "cuda"}
ALL = {"world_size": 8, "capabilities": list(faithful.NEEDS)}
RECORD = dataclasses.replace(FACTS.records[0], needs=[], world_sizes=[], world_size_reason="")


def _record(**changes: Any) -> Record:
    return dataclasses.replace(RECORD, **changes)


def test_a_record_that_needs_nothing_runs_anywhere() -> None:
    assert unfaithful(RECORD, {}) == ""
    assert unfaithful(_record(world_sizes=[1]), {"capabilities": []}) == ""


def test_a_missing_capability_is_named() -> None:
    record = _record(needs=["cuda", "fa3_source"])
    assert unfaithful(record, {"capabilities": ["cuda"]}) == (
        "needs FlashAttention 3 built from source (flash_attn_interface), which this profile does "
        "not declare"
    )
    assert unfaithful(record, {"capabilities": ["cuda", "fa3_source"]}) == ""


@pytest.mark.parametrize("need", ["kernel_hub", "tiktoken_download"])
def test_downloads_need_a_filled_folder(need: str) -> None:
    assert "(set hardware.hub_cache)" in unfaithful(_record(needs=[need]), {"hub_cache": ""})
    assert unfaithful(_record(needs=[need]), {"hub_cache": "store/hub"}) == ""


def test_another_number_of_gpus_is_another_experiment() -> None:
    record = _record(world_sizes=[8], world_size_reason="The batch shrinks on fewer.")
    assert unfaithful(record, {"world_size": 1}) == (
        "needs 8 GPUs, this profile has 1: the batch shrinks on fewer"
    )
    record = _record(world_sizes=[1, 2, 4])
    assert unfaithful(record, {"world_size": 8}) == "needs 1, 2 or 4 GPUs, this profile has 8"
    assert unfaithful(_record(world_sizes=[1]), {"world_size": 8}).startswith("needs 1 GPU, this")


@given(
    needs=st.lists(st.sampled_from(list(faithful.NEEDS)), unique=True),
    has=st.lists(st.sampled_from(list(faithful.NEEDS)), unique=True),
    sizes=st.lists(st.sampled_from([1, 2, 4, 8]), unique=True),
    size=st.sampled_from([1, 2, 4, 8]),
)
def test_more_of_anything_never_forbids(
    needs: list[str], has: list[str], sizes: list[int], size: int
) -> None:
    record = _record(needs=needs, world_sizes=sizes)
    reason = unfaithful(record, {"capabilities": has, "world_size": size})
    assert (reason == "") == (set(needs) <= set(has) and (not sizes or size in sizes))
    assert "\n" not in reason


def test_every_need_of_the_registry_has_words() -> None:
    assert {need for record in FACTS.records for need in record.needs} <= set(faithful.NEEDS)


# --- the profiles ---


@pytest.mark.parametrize("name", GPUS)
def test_a_profile_scales_the_hour_of_the_papers_machine(name: str) -> None:
    profile = GPUS[name]
    assert profile["name"] == name
    assert profile["timeout_s"] == pytest.approx(3600 * profile["slowdown"])
    assert set(profile["capabilities"]) <= set(faithful.NEEDS)
    fields = {item.name for item in dataclasses.fields(schema.TrainSpec)}
    spec = {key: value for key, value in profile.items() if key in fields}
    assert schema.from_dict(schema.TrainSpec, spec).world_size == profile["world_size"]
    assert set(GPUS["8xh100"]) == set(profile)


def test_the_papers_machine_runs_all_but_what_must_be_built() -> None:
    reasons = {one.id: unfaithful(one, GPUS["8xh100"]) for one in FACTS.records}
    refused = {name for name, reason in reasons.items() if reason}
    assert refused == {one.id for one in FACTS.records if "fa3_source" in one.needs}
    complete = {**GPUS["8xh100"], "capabilities": ALL["capabilities"]}
    assert not any(unfaithful(one, complete) for one in FACTS.records)


def test_records_that_shrink_their_batch_never_run_on_one_card() -> None:
    for number in range(21, 27):
        for record in (one for one in FACTS.records if one.number == number):
            one_card = {**GPUS["1xh200"], "capabilities": ALL["capabilities"]}
            assert "8 GPUs, this profile has 1" in unfaithful(record, one_card), record.id


def test_a_cpu_runs_no_record_of_the_real_speedrun() -> None:
    assert all("an NVIDIA GPU" in unfaithful(one, PROFILES["cpu"]) for one in FACTS.records)


def test_the_verb_lists_every_record_and_task(capsys: pytest.CaptureFixture[str]) -> None:
    config = ["--config", str(REPOSITORY / "config")]
    place = ["--registry", str(REPOSITORY / "tracks" / "nanogpt" / "registry.yaml")]
    assert cli.main(["hardware", "--profile", "1xh200", *config, *place]) == 0
    lines = capsys.readouterr().out.splitlines()
    names = [one.id for one in FACTS.records] + [one.task for one in FACTS.tasks]
    assert [line.split()[0] for line in lines[:-1]] == names
    numbers = [int(word) for word in lines[-1].split() if word.isdigit()]
    assert lines[-1].startswith("1xh200: can run ")
    assert numbers[1::2] == [len(FACTS.records), len(FACTS.tasks)]
    assert sum(line.split()[2] == "yes" for line in lines[:-1]) == numbers[0] + numbers[2] > 0
    refused = next(line for line in lines if line.startswith("r21c-r22"))
    assert "no: r21c needs 8 GPUs, this profile has 1: " in refused
