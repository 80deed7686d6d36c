"""Coders without a model: null, oracle, tuner (blind search) and replay (recorded replies)."""

from __future__ import annotations

import dataclasses
import math
from dataclasses import replace
from pathlib import Path
from statistics import fmean

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from speedrun import files, schema
from speedrun.adapters.coders import make_coder
from speedrun.adapters.coders.constants import find_constants, set_constants
from speedrun.adapters.coders.replay import drift
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


def config(repository: Path, name: str) -> dict[str, object]:
    """A coder's shipped YAML."""
    loaded = yaml.safe_load((repository / "config" / "coder" / f"{name}.yaml").read_text())
    assert isinstance(loaded, dict)
    return loaded


def test_null_changes_nothing(repository: Path, request_: CoderRequest) -> None:
    assert make_coder(config(repository, "null"))(request_).files == START


def test_oracle_gives_the_target(repository: Path, request_: CoderRequest, tmp_path: Path) -> None:
    files.write_tree(tmp_path / "private" / "target", {"train.py": "fast = True\n"})
    oracle = make_coder(config(repository, "oracle"), tmp_path / "private")
    assert oracle(request_).files == {"train.py": "fast = True\n"}
    with pytest.raises(SpeedrunError, match="pass --private"):
        make_coder(config(repository, "oracle"))
    with pytest.raises(SpeedrunError, match="run `speedrun task`"):
        make_coder(config(repository, "oracle"), tmp_path / "lost")(request_)


def test_factory_refuses_unknown_names_and_the_private_folder_for_others(
    repository: Path, tmp_path: Path
) -> None:
    with pytest.raises(SpeedrunError, match="no coder 'oracel': did you mean 'oracle'"):
        make_coder({"name": "oracel"})
    with pytest.raises(SpeedrunError, match="tuner must not be given the private folder"):
        make_coder(config(repository, "tuner"), tmp_path)
    with pytest.raises(SpeedrunError, match="unknown key 'mooves'"):
        make_coder({"name": "tuner", "mooves": 2})


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


REPLY = """\
Fewer steps.

### EDIT: train.py
<<<<<<< SEARCH
SEED = 1337
=======
SEED = 1
>>>>>>> REPLACE
"""


def record(base: Path, turn: int, prompt: str, reply: str, meta: str, hints: str = "none") -> Path:
    """Write a recording of node 1 of seed 0."""
    folder = base / "replies" / "micro" / "r02-r03" / hints / f"s0_n1_t{turn}"
    files.write_tree(folder, {"prompt.md": prompt, "reply.md": reply, "meta.yaml": meta})
    return folder


META = "date: 2026-11-22\nmodel_family: some family\n"


def test_replay_answers_with_the_recorded_reply(
    repository: Path, request_: CoderRequest, tmp_path: Path
) -> None:
    record(tmp_path, 0, request_.prompt, REPLY, META)
    replay = make_coder(config(repository, "replay"), replies=tmp_path / "replies")
    proposal = replay(request_)
    assert proposal.files == {"train.py": SOURCE.replace("1337", "1")}
    [call] = proposal.calls
    assert (call.tokens_in, call.tokens_out, call.cost_usd) == (None, None, None)
    assert call.source == "replay" and call.prompt_drift == 0.0
    assert proposal.replies == [REPLY]


def test_replay_is_keyed_by_hints_and_reports_drift(trial: Trial, tmp_path: Path) -> None:
    request = build_request(trial.inputs(1, ("l1", "l2")))
    recorded = request.prompt.replace("10.00 s", "11.20 s")
    record(tmp_path, 0, recorded, REPLY, META + "tokens_in: 1200\ncost_usd: 0.01\n", "l1+l2")
    proposal = make_coder({"name": "replay"}, replies=tmp_path / "replies")(request)
    [call] = proposal.calls
    assert (call.tokens_in, call.tokens_out, call.cost_usd) == (1200, None, 0.01)
    assert call.prompt_drift is not None and 0 < call.prompt_drift < 0.01
    assert drift("all other words", request.prompt) > 0.9


def test_replay_asks_again_only_where_that_was_recorded(
    request_: CoderRequest, tmp_path: Path
) -> None:
    replay = make_coder({"name": "replay"}, replies=tmp_path / "replies")
    record(tmp_path, 0, request_.prompt, "I would use Muon.\n", META)
    assert replay(request_).outcome is Outcome.CANDIDATE_ERROR
    record(tmp_path, 1, "again", REPLY, META)
    proposal = replay(request_)
    assert proposal.files is not None and [call.turn for call in proposal.calls] == [0, 1]


def test_replay_keeps_a_recorded_refusal(request_: CoderRequest, tmp_path: Path) -> None:
    record(tmp_path, 0, request_.prompt, "No.\n", META + "refused: true\n")
    replay = make_coder({"name": "replay"}, replies=tmp_path / "replies")
    assert replay(request_).outcome is Outcome.REFUSED


def test_a_missing_or_broken_recording_is_our_error(request_: CoderRequest, tmp_path: Path) -> None:
    replay = make_coder({"name": "replay"}, replies=tmp_path / "replies")
    with pytest.raises(SpeedrunError, match=r"r02-r03/none/s0_n1_t0/reply.md.*--print-prompt"):
        replay(request_)
    folder = record(tmp_path, 0, request_.prompt, REPLY, "date: 2026-11-22\n")
    with pytest.raises(SpeedrunError, match=r"meta.yaml: .*model_family"):
        replay(request_)
    (folder / "meta.yaml").write_text(META + "tokens_in: many\n")
    with pytest.raises(SpeedrunError, match=r"meta.yaml: tokens_in: expected int"):
        replay(request_)
    (folder / "meta.yaml").write_text(META)
    (folder / "prompt.md").unlink()
    with pytest.raises(SpeedrunError, match=r"prompt.md is missing"):
        replay(request_)


def test_a_recorded_search_lies_in_a_folder_of_its_own(
    repository: Path, request_: CoderRequest, tmp_path: Path
) -> None:
    other = record(tmp_path, 0, request_.prompt, REPLY, META)
    files.write_tree(
        other.parent / "aide" / other.name,
        {"reply.md": REPLY.replace("SEED = 1\n", "SEED = 2\n"), "meta.yaml": META},
    )
    asked = {**config(repository, "recorded_search"), "recording": "aide"}
    proposal = make_coder(asked, replies=tmp_path / "replies")(request_)
    assert proposal.files == {"train.py": SOURCE.replace("1337", "2")}
    assert proposal.calls[0].prompt_drift is None


def test_a_recorded_search_reads_a_reply_against_its_recorded_parent(
    request_: CoderRequest, tmp_path: Path
) -> None:
    search = tmp_path / "replies" / "micro" / "r02-r03" / "none" / "aide"
    later = REPLY.replace("SEED = 1337", "SEED = 1").replace(
        "=======\nSEED = 1", "=======\nSEED = 9"
    )
    for node, reply, parent in ((1, REPLY, 0), (2, REPLY, 0), (3, later, 2)):
        meta = f"{META}parent: {parent}\n"
        files.write_tree(search / f"s0_n{node}_t0", {"reply.md": reply, "meta.yaml": meta})
    replay = make_coder({"name": "replay", "recording": "aide"}, replies=tmp_path / "replies")
    third = replay(dataclasses.replace(request_, node=3))  # the policy's parent is the start here
    assert third.files == {"train.py": SOURCE.replace("1337", "9")}
    (search / "s0_n2_t0" / "reply.md").write_text("I would use Muon.\n")
    with pytest.raises(SpeedrunError, match=r"s0_n3_t0/meta.yaml: parent 2 gave no files"):
        replay(dataclasses.replace(request_, node=3))


def test_config_is_values_with_a_node_limit(repository: Path) -> None:
    limits = {name: config(repository, name)["max_nodes"] for name in ("null", "oracle")}
    assert limits == {"null": 1, "oracle": 1}
    for name in ("null", "oracle", "tuner", "replay"):
        assert config(repository, name)["name"] == name
    settings = {
        k: v for k, v in config(repository, "tuner").items() if k not in ("name", "max_nodes")
    }
    assert schema.from_dict(Settings, settings).exclude
