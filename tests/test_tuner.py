"""tuner: the constants of a source, and the blind search over them."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from statistics import fmean

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from speedrun.adapters.coders.constants import find_constants, set_constants
from speedrun.adapters.coders.tuner import Settings, Tuner, params_of
from speedrun.files import SpeedrunError
from speedrun.schema import Outcome
from speedrun.stages.generate import CoderRequest, build_request, generate
from trial_builder import FLAT, START, Trial

SOURCE = START["train.py"]
EXCLUDE = ["seed"]


@pytest.fixture
def trial(tmp_path: Path) -> Trial:
    return Trial(tmp_path).start()


@pytest.fixture
def request_(trial: Trial) -> CoderRequest:
    return build_request(trial.inputs(1))


def test_constants_are_found_by_name_and_place() -> None:
    found = find_constants(SOURCE, EXCLUDE)
    values = {name: constant.value for name, constant in found.items()}
    assert values == {
        "LEARNING_RATE": 0.001,
        "STEPS": 600,
        "WARMUP": 20,
        "FLOOR": 0.25,
        "Config.width": 64,
        "Config.decay": 0.01,
    }
    assert "SEED" in find_constants(SOURCE)
    assert list(find_constants("x = 1\nx = 2\n")) == ["x", "x#2"]
    assert find_constants("x = 1e999\ny = 0\nz = not 1\na, b = 1, 2\nc = d = 3\ne = True\n") == {}


def test_setting_constants_leaves_every_other_byte() -> None:
    found = find_constants(SOURCE, EXCLUDE)
    assert set_constants(SOURCE, found, {name: c.value for name, c in found.items()}) == SOURCE
    moved = set_constants(
        SOURCE, found, {"STEPS": 1200, "WARMUP": 7, "FLOOR": 0.5, "Config.decay": 0.02}
    )
    assert moved == (
        SOURCE.replace("600", "1200")
        .replace("= 20\n", "= 7\n")
        .replace("-0.25", "-0.5")
        .replace("1e-2", "0.02")
    )


@settings(deadline=None)
@given(st.dictionaries(st.sampled_from(["é", "b", "c"]), st.integers(1, 10**9), min_size=1))
def test_set_constants_are_found_again(values: dict[str, int]) -> None:
    source = "# ünïcode\né = 1_000; b = 0x10  # 漢字\nclass C:\n    x: int = 3\nc = +5\n"
    found = find_constants(source)
    again = find_constants(set_constants(source, found, values))
    assert {name: again[name].value for name in values} == values
    assert again["C.x"].value == 3


def test_tuner_moves_few_constants_within_range(trial: Trial) -> None:
    flat, tuner = Trial(trial.base, FLAT), Tuner(Settings(exclude=EXCLUDE))
    found = find_constants(SOURCE, EXCLUDE)
    proposals = [tuner(build_request(flat.inputs(node))) for node in range(1, 16)]
    for proposal in proposals:
        assert proposal.files is not None
        params = proposal.notes["params"]
        assert 1 <= sum(params[name] != found[name].value for name in found) <= 2
        written = find_constants(proposal.files["train.py"], EXCLUDE)
        assert {name: constant.value for name, constant in written.items()} == params
        for name, constant in found.items():
            assert constant.value / 2 <= params[name] <= constant.value * 2
            assert type(params[name]) is type(constant.value)
    assert len({str(proposal.notes) for proposal in proposals}) == 15  # no two alike
    assert tuner(build_request(flat.inputs(1))) == proposals[0]  # and the same again


def test_tuner_goes_on_from_the_best_node(trial: Trial) -> None:
    tuner = Tuner(Settings(exclude=EXCLUDE))
    first = generate(trial.inputs(1), tuner, trial.folder / "node_1")
    won = {**first.notes["params"], "STEPS": 400}
    solution = set_constants(SOURCE, find_constants(SOURCE, EXCLUDE), won)
    trial.add(1, 0, Outcome.OK, 6.0, 3.49, {"train.py": solution}, params=won)
    second = generate(trial.inputs(2), tuner, trial.folder / "node_2")
    assert second.parent == 1
    changed = [name for name in won if second.notes["params"][name] != won[name]]
    assert len(changed) <= 2


def _told(request: CoderRequest, seed: int, steps: list[int]) -> CoderRequest:
    """The request after nodes that differ in STEPS alone, with times proportional to it."""
    root = request.history[0]
    params = {name: c.value for name, c in find_constants(SOURCE, EXCLUDE).items()}
    earlier = [
        replace(root, node=node, time_s=value / 60, notes={"params": params | {"STEPS": value}})
        for node, value in enumerate(steps, start=1)
    ]
    return replace(request, history=[root, *earlier], seed=seed)


def test_tuner_learns_from_the_nodes_before(request_: CoderRequest) -> None:
    tuner = Tuner(Settings(exclude=EXCLUDE, moves=6))

    def mean_steps(told: list[int]) -> float:
        proposals = [tuner(_told(request_, seed, told)) for seed in range(12)]
        return fmean(proposal.notes["params"]["STEPS"] for proposal in proposals)

    slower_when_more = list(range(310, 1190, 40))
    assert mean_steps(slower_when_more) < 500 < 600 < mean_steps([])


def test_tuner_objective_ranks_ok_before_missed_and_tells_failures(request_: CoderRequest) -> None:
    tuner, root = Tuner(Settings()), request_.history[0]

    def objective(outcome: Outcome, time_s: float | None, loss: float | None) -> float | None:
        changed = {**root.__dict__, "outcome": outcome, "time_s": time_s, "val_loss": loss}
        return tuner._objective(type(root)(**changed), request_)

    ok, near = objective(Outcome.OK, 10.0, 3.4), objective(Outcome.MISSED_TARGET, None, 3.6)
    far = objective(Outcome.MISSED_TARGET, None, 4.6)
    assert ok is not None and near is not None and far is not None
    assert ok < near < far and far - near == pytest.approx(1.0)
    assert objective(Outcome.CANDIDATE_ERROR, None, None) is None
    assert objective(Outcome.MISSED_TARGET, None, math.nan) is None


def test_tuner_refuses_what_it_cannot_move(trial: Trial, request_: CoderRequest) -> None:
    with pytest.raises(SpeedrunError, match=r"r02: train.py has no constant"):
        Tuner(Settings(exclude=["e", "t", "w", "f"]))(request_)
    trial.add(1, 0, Outcome.OK, 9.0, 3.4, START, params={"OTHER": 1})
    history = build_request(trial.inputs(2)).history
    with pytest.raises(SpeedrunError, match="another start record or tuner setting"):
        params_of(history[1], find_constants(SOURCE))
