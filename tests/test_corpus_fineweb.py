"""corpus fineweb10B: which shards the tasks of a sweep ask for."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from speedrun import specs
from speedrun.adapters import hydra_config


@pytest.fixture(scope="module")
def fineweb(repository: Path) -> dict[str, Any]:
    option = hydra_config.option(repository / "config", "corpus", "fineweb10B")
    rows = [
        {"task": "r01-r02", "train_tokens": 6_400_000_000},
        {"task": "r88-r89", "train_tokens": 340_000_000},
        {"task": "r02-r03"},
        {"task": "r11-r12", "train_tokens": 3_250_000_000},
    ]
    return {"corpus": option, "track": {"tasks": rows, "probe_sets": 0}, "tasks": ["r88-r89"]}


def test_only_the_shards_that_the_tasks_read_are_asked_for(fineweb: dict[str, Any]) -> None:
    late = specs.corpus(fineweb)["shards"]
    assert late["fineweb_holdout_000000.bin"] == "fineweb_train_000103.bin"
    assert specs.train_shards(fineweb) == 14 and len(late) == 16
    assert specs.train_shards({**fineweb, "tasks": ["r01-r02"]}) == 102
    assert specs.train_shards({**fineweb, "tasks": ["r88-r89", "r11-r12"]}) == 42
    assert specs.train_shards({**fineweb, "tasks": ["r88-r89", "r02-r03"]}) == 102
    given = {**fineweb, "corpus": {**fineweb["corpus"], "train_shards": 3}}
    assert specs.shard_names(given) == [
        "fineweb_val_000000.bin",
        *(f"fineweb_train_00000{index}.bin" for index in (1, 2, 3)),
    ]


def test_the_holdout_is_never_a_training_shard(fineweb: dict[str, Any]) -> None:
    greedy = {**fineweb, "corpus": {**fineweb["corpus"], "train_shards": 999}}
    shards = specs.corpus(greedy)["shards"]
    assert len(shards) == 104 == len(set(shards.values()))
    assert "fineweb_holdout_000000.bin" not in specs.shard_names(greedy)
    assert fineweb["corpus"]["holdout"] not in specs.shard_names(greedy)
