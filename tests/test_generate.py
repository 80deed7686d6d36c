"""generate: the replies of a model, and what a node's folder holds afterwards."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from speedrun import files, schema
from speedrun.files import SpeedrunError
from speedrun.schema import Call, Outcome, Parent, Proposal
from speedrun.stages.generate import (
    Answer,
    CoderRequest,
    build_request,
    converse,
    generate,
    print_prompt,
)
from speedrun.stages.generate import node as node_module
from speedrun.stages.generate.prompt import QUOTED_CHARS
from trial_builder import START, Trial

EDIT = """\
### EDIT: train.py
<<<<<<< SEARCH
SEED = 1337
=======
SEED = 1
X = 2
>>>>>>> REPLACE
"""


@pytest.fixture
def trial(tmp_path: Path) -> Trial:
    return Trial(tmp_path).start()


def answering(request: CoderRequest, *texts: str | None) -> Proposal:
    """What converse makes of scripted replies; None ends them."""
    asked: list[str] = []

    def answer(turn: int, prompt: str) -> Answer | None:
        asked.append(prompt)
        text = texts[turn]
        call = Call(turn, files.digest_text(prompt), "", None, None, None, None, "scripted")
        return None if text is None else Answer(text, call, refused=text == "REFUSED")

    return converse(request, answer)


def test_node_folder_is_complete(trial: Trial) -> None:
    out = trial.folder / "node_1"
    reply = EDIT
    parent = generate(trial.inputs(1), lambda request: answering(request, reply), out)
    assert parent == schema.load(Parent, out / "parent.json")
    assert (parent.node, parent.parent, parent.generation, parent.action) == (1, 0, 1, "draft")
    assert (parent.lines_added, parent.lines_removed, parent.outcome) == (2, 1, None)
    assert parent.solution_digest == files.digest_tree(out / "solution")
    assert "SEED = 1\nX = 2\n" in (out / "solution" / "train.py").read_text()
    assert (out / "replies" / "turn_0.md").read_text() == reply
    prompt = (out / "prompt.md").read_text()
    [call] = [json.loads(line) for line in (out / "calls.jsonl").read_text().splitlines()]
    assert call["prompt_sha256"] == files.digest_text(prompt)
    assert prompt == print_prompt(trial.inputs(1))
    assert not [path for path in out.iterdir() if path.name.startswith(".")]


@pytest.mark.parametrize(
    ("texts", "outcome", "reason"),
    [
        (["REFUSED"], Outcome.REFUSED, "the model declined"),
        (["no code", None], Outcome.CANDIDATE_ERROR, "unreadable reply: the reply holds no"),
        (["no code", "REFUSED"], Outcome.REFUSED, "the model declined"),
        (["no code", "### FILE: ../x\n```\n```"], Outcome.CANDIDATE_ERROR, "no file name inside"),
        (["lone \ud800 surrogate", None], Outcome.CANDIDATE_ERROR, "unreadable reply"),
    ],
)
def test_a_reply_without_code_is_an_outcome(
    trial: Trial, texts: list[str | None], outcome: Outcome, reason: str
) -> None:
    out = trial.folder / "node_1"
    files.write_tree(out / "solution", {"train.py": "of a run that was killed\n"})
    parent = generate(trial.inputs(1), lambda request: answering(request, *texts), out)
    assert parent.outcome is outcome and reason in parent.reason
    assert parent.solution_digest == ""
    assert list((out / "solution").iterdir()) == []
    assert len(list((out / "replies").iterdir())) == len([text for text in texts if text])


def test_an_unreadable_reply_is_shown_to_the_model_once(trial: Trial) -> None:
    request = build_request(trial.inputs(1))
    proposal = answering(request, "no code", "### FILE: train.py\n```\nx = 1\n```")
    assert proposal.files == {"train.py": "x = 1\n"}
    assert [call.turn for call in proposal.calls] == [0, 1]
    second = print_prompt(trial.inputs(1), "no code")
    assert second.startswith(request.prompt) and "the reply holds no `### FILE" in second
    assert proposal.calls[1].prompt_sha256 == files.digest_text(second)
    with pytest.raises(SpeedrunError, match="no second question"):
        print_prompt(trial.inputs(1), "### FILE: train.py\n```\nx = 1\n```")


def test_a_coder_that_fails_leaves_nothing(trial: Trial) -> None:
    def unreachable(request: CoderRequest) -> Proposal:
        raise SpeedrunError("the endpoint does not answer")

    with pytest.raises(SpeedrunError, match="the endpoint does not answer"):
        generate(trial.inputs(1), unreachable, trial.folder / "node_1")
    assert not (trial.folder / "node_1").exists()
    with pytest.raises(SpeedrunError, match="neither files nor an outcome"):
        generate(trial.inputs(1), lambda request: Proposal(None), trial.folder / "node_1")


def test_seeds_differ_by_node_and_not_by_place(trial: Trial, tmp_path: Path) -> None:
    elsewhere = Trial(tmp_path / "elsewhere").start()
    trial.add(1, 0, Outcome.REFUSED)
    assert build_request(trial.inputs(1)).seed == build_request(elsewhere.inputs(1)).seed
    assert build_request(trial.inputs(1)).seed != build_request(trial.inputs(2)).seed


def test_line_counts() -> None:
    before, after = {"a": "1\n2\n3\n", "b": "x\n"}, {"a": "1\n3\n4\n5\n", "c": "y"}
    assert node_module.count_lines(before, after) == (3, 2)
    assert node_module.count_lines(before, before) == (0, 0)


def _hearing(request: CoderRequest, *heard: tuple[str, str]) -> tuple[Proposal, list[str]]:
    """What converse makes of (reply, finish_reason) pairs, and what it asked."""
    asked: list[str] = []

    def answer(turn: int, prompt: str) -> Answer:
        asked.append(prompt)
        text, finish = heard[turn]
        return Answer(text, Call(turn, "", "", 1, 1, None, None, "model", finish_reason=finish))

    return converse(request, answer), asked


def test_a_reply_that_was_cut_off_is_told_so(trial: Trial) -> None:
    request = build_request(trial.inputs(1))
    cut = "### FILE: train.py\n```\nx = 1\n"
    proposal, [_, second] = _hearing(request, (cut, "length"), (EDIT, "stop"))
    assert "it was cut off at the limit of tokens" in second and "never closed" in second
    assert proposal.files is not None and proposal.outcome is None
    proposal, [_, second] = _hearing(request, (cut, "stop"), (cut, "length"))
    assert "limit of tokens" not in second
    assert proposal.outcome is Outcome.CANDIDATE_ERROR and "limit of tokens" in proposal.reason


def test_a_reply_that_is_whole_counts_even_if_it_was_cut_off_behind(trial: Trial) -> None:
    proposal, asked = _hearing(build_request(trial.inputs(1)), (EDIT + "And I thi", "length"))
    assert proposal.files is not None and len(asked) == 1


def test_an_empty_reply_is_asked_for_again(trial: Trial) -> None:
    request = build_request(trial.inputs(1))
    proposal, [_, second] = _hearing(request, ("", "length"), ("", "stop"))
    assert "(It was empty.)" in second and "the limit of tokens (thinking counts too)" in second
    assert proposal.outcome is Outcome.CANDIDATE_ERROR
    assert proposal.reason == "unreadable reply: the reply is empty"
    assert len(proposal.calls) == 2


def test_a_huge_reply_is_kept_whole_and_quoted_in_part(trial: Trial) -> None:
    request, huge = build_request(trial.inputs(1)), "### FILE: x\n" + "y" * 2**20
    proposal, [_, second] = _hearing(request, (huge, "stop"), (huge, "stop"))
    assert len(second) < len(request.prompt) + QUOTED_CHARS + 1000
    assert proposal.replies == [huge, huge] and len(proposal.reason) < 200
    generate(trial.inputs(1), lambda _: proposal, trial.folder / "node_1")
    assert (trial.folder / "node_1" / "replies" / "turn_1.md").read_text() == huge


def test_several_files_go_all_the_way(trial: Trial, tmp_path: Path) -> None:
    files.write_tree(tmp_path / "public" / "start", {**START, "layers/norm.py": "EPS = 1\n"})
    reply = EDIT + EDIT.replace("train.py", "layers/norm.py").replace("SEED = 1337", "EPS = 1")
    reply += "### FILE: new.py\n```\nz = 3\n```\n"
    assert "### FILE: layers/norm.py" in print_prompt(trial.inputs(1))
    parent = generate(
        trial.inputs(1), lambda request: answering(request, reply), trial.folder / "node_1"
    )
    written = files.read_tree(trial.folder / "node_1" / "solution")
    assert sorted(written) == ["layers/norm.py", "new.py", "train.py"]
    assert written["layers/norm.py"] == "SEED = 1\nX = 2\n" and written["new.py"] == "z = 3\n"
    assert (parent.lines_added, parent.lines_removed) == (5, 2)


MEMO = "### MEMO\nTry Muon next.\n"


@pytest.mark.parametrize(("memory", "kept"), [(True, "Try Muon next."), (False, "")])
def test_a_memo_is_kept_where_the_arm_has_a_scratchpad(
    trial: Trial, memory: bool, kept: str
) -> None:
    out = trial.folder / "node_1"
    inputs = trial.inputs(1, memory=memory)
    parent = generate(inputs, lambda request: answering(request, EDIT + MEMO), out)
    assert parent.memo == kept == schema.load(Parent, out / "parent.json").memo
    assert "Muon" not in (out / "solution" / "train.py").read_text()


@pytest.mark.parametrize(
    ("memory", "left"), [(True, ["train.py"]), (False, ["MEMO.md", "train.py"])]
)
def test_an_agents_memo_is_taken_out_of_its_files(
    trial: Trial, memory: bool, left: list[str]
) -> None:
    proposal = Proposal({**START, "MEMO.md": "m" * 10**5})
    inputs = trial.inputs(1, memory=memory, style="files")
    parent = generate(inputs, lambda _: proposal, trial.folder / "node_1")
    assert sorted(files.read_tree(trial.folder / "node_1" / "solution")) == left
    assert bool(parent.memo) is memory and len(parent.memo) < 3000
    assert parent.solution_digest == files.digest_tree(trial.folder / "node_1" / "solution")


@pytest.mark.parametrize("name", ["../out.py", "/etc/passwd", "data/train.bin", "a\n"])
def test_no_coder_can_leave_other_names(trial: Trial, name: str) -> None:
    proposal = Proposal({**START, name: "x = 1\n"})
    parent = generate(trial.inputs(1), lambda _: proposal, trial.folder / "node_1")
    assert parent.outcome is Outcome.CANDIDATE_ERROR and parent.solution_digest == ""
    assert list((trial.folder / "node_1" / "solution").iterdir()) == []
