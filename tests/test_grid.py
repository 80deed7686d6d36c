"""Grids of arms, and the cells that ``only`` picks of a sweep."""

from __future__ import annotations

import math
import re
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from speedrun import plan, specs
from speedrun.adapters import grid
from speedrun.files import SpeedrunError
from written_arms import ASKS, load, message, own_configuration


@pytest.fixture(scope="module")
def own(repository: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return own_configuration(repository, tmp_path_factory.mktemp("own"))


GRID = "grid={coder: direct, model: [ollama, vllm], scaffold: [flat, aide], hints: [none, 'l1+l2']}"


def test_a_grid_is_every_combination(own: Path) -> None:
    found = load(own, "grid={coder: direct, model: [ollama, vllm], hints: [none, 'l1+l2']}")["arms"]
    names = {"ollama_none", "ollama_l1+l2", "vllm_none", "vllm_l1+l2"}
    assert set(found) - names == {"oracle", "null", "tuner", "replay_none", "replay_l1"}
    for name in names:
        model, _, hints = name.partition("_")
        assert found[name]["model"]["name"] == model
        assert "+".join(found[name]["hints"]) == hints.replace("none", "")


def test_an_arm_of_a_grid_is_the_same_as_one_written_out(own: Path) -> None:
    config = load(
        own, GRID, "+arms.aide={coder: direct, model: vllm, scaffold: aide, hints: l1+l2}"
    )
    assert config["arms"]["vllm_aide_l1+l2"] == config["arms"]["aide"]


VALUES = st.lists(st.text("aB-_+ 1", min_size=1, max_size=3) | st.none(), max_size=3)


@given(listed=st.dictionaries(st.sampled_from(grid.DIMENSIONS), VALUES, max_size=3))
def test_any_grid_is_all_its_combinations_or_one_line(listed: dict[str, list[Any]]) -> None:
    """Never fewer arms than combinations: two of one name would be one trial counted twice."""
    try:
        found = grid.expand({"arms": {"own": {}}, "grid": listed})
    except SpeedrunError as error:
        assert "\n" not in str(error)
    else:
        combinations = math.prod(len(values) for values in listed.values())
        assert len(found) == 1 + (combinations if listed else 0)
        assert all(re.fullmatch(plan.ARM_NAME, name) for name in found)


@pytest.mark.parametrize(
    ("override", "expected"),
    [
        (
            "grid={coder: direct, modell: [ollama]}",
            "unknown key 'modell' in grid; nearest is 'mode",
        ),
        ("grid={coder: direct, model: []}", "grid.model lists nothing"),
        ("grid={coder: direct, model: ollama}", "grid lists nothing: write e.g."),
        ("grid=[ollama]", "grid must hold keys and values"),
        ("grid={coder: [oracle, tuner], scaffold: tree}", "two arms are called 'oracle'"),
        ("grid={coder: direct, model: [ollama, olama]}", "unknown model 'olama'; nearest is"),
    ],
)
def test_a_wrong_grid_is_one_line(own: Path, override: str, expected: str) -> None:
    assert expected in message(own, override)


@pytest.mark.parametrize(
    ("only", "expected"),
    [
        ("{model: vllm}", 4),
        ("{model: [vllm, ollama], hints: [l1+l2]}", 4),
        ("{arm: [vllm_aide_none, tuner]}", 2),
        ("{arm: null}", 1),
        ("\"model == 'vllm' and hints != 'none'\"", 2),
        ("\"coder == 'tuner' or scaffold == 'flat' and model == 'ollama'\"", 3),
    ],
)
def test_only_picks_cells(own: Path, only: str, expected: int) -> None:
    config = load(own, GRID, f"only={only}")
    assert len(config["arms"]) == expected
    whole = load(own, GRID)
    assert {trial.folder for trial in plan.trials(config)} < {t.folder for t in plan.trials(whole)}
    assert config["name"] != whole["name"]
    assert specs.operation(config) == {
        **specs.operation(whole),
        "models": specs.operation(config)["models"],
    }


@pytest.mark.parametrize(
    ("only", "expected"),
    [
        ("{modell: vllm}", "unknown key 'modell' in only; nearest is 'model'"),
        ("{model: vlm}", "only.model: no arm has 'vlm'; nearest is 'vllm'"),
        ("{model: vllm, coder: tuner}", "no arm matches only="),
        ("\"modell == 'vllm'\"", "unknown column 'modell'; nearest is 'model'"),
        ("\"model == 'gpt'\"", "no arm matches only="),
        ("model", "it is not true or false for each arm"),
        ("3", "only must hold keys and values, got 3"),
    ],
)
def test_a_wrong_cell_is_one_line(own: Path, only: str, expected: str) -> None:
    assert expected in message(own, GRID, f"only={only}")


def test_a_sweep_may_build_on_another_and_pick_cells_of_it(own: Path) -> None:
    text = "# @package _global_\ndefaults: [paper_main, _self_]\nonly: model == 'o3_mini'\n"
    (own / "config/sweep/mine.yaml").write_text(text)
    config = load(own, name="mine")
    assert config["whole"] == "paper_main" != config["name"]
    assert {arm["model"]["name"] for arm in config["arms"].values()} == {"o3_mini"}
    assert len(config["arms"]) == 30


def test_cells_cover_a_sweep_once(own: Path) -> None:
    whole = {trial.folder for trial in plan.trials(load(own, GRID))}
    cells = [
        {trial.folder for trial in plan.trials(load(own, GRID, f"only={{model: {model}}}"))}
        for model in ("none", "ollama", "vllm")
    ]
    assert set.union(*cells) == whole and sum(map(len, cells)) == len(whole)


def test_every_column_of_an_arm_can_be_asked_about(own: Path) -> None:
    words = f"{ASKS}, memory: scratchpad, knowledge: knowledge/micro/matmul.md"
    config = load(own, f"+arms.x={{{words}}}", "only='knowledge and memory == \"scratchpad\"'")
    assert list(config["arms"]) == ["x"]
    assert set(grid.row("x", config["arms"]["x"])) >= {"arm", "coder", "model", "mode", "summary"}
