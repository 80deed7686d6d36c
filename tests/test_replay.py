"""replay: a recorded reply or search in place of a model, and recordings that are broken."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from agent_coders import shipped as config
from speedrun import files
from speedrun.adapters.coders import make_coder
from speedrun.adapters.coders.replay import drift
from speedrun.files import SpeedrunError
from speedrun.schema import Outcome
from speedrun.stages.generate import CoderRequest, build_request
from trial_builder import START, Trial

SOURCE = START["train.py"]


@pytest.fixture
def trial(tmp_path: Path) -> Trial:
    return Trial(tmp_path).start()


@pytest.fixture
def request_(trial: Trial) -> CoderRequest:
    return build_request(trial.inputs(1))


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
