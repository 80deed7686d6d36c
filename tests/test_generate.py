"""generate: the parent, the prompt, and what a node's folder holds afterwards."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from speedrun import files, schema
from speedrun.files import SpeedrunError
from speedrun.schema import Call, Outcome, Parent, Proposal
from speedrun.stages.generate import (
    Answer,
    Attempt,
    CoderRequest,
    build_request,
    converse,
    generate,
    print_prompt,
)
from speedrun.stages.generate import node as node_module
from speedrun.stages.generate.history import SHOWN, render_history, sort_history
from speedrun.stages.generate.prompt import QUOTED_CHARS
from trial_builder import FACTS, HINTS, START, TREE, Trial

FASTER = {"train.py": START["train.py"].replace("600", "300")}
EDIT = """\
### EDIT: train.py
<<<<<<< SEARCH
SEED = 1337
=======
SEED = 1
X = 2
>>>>>>> REPLACE
"""
BROKEN = {"train.py": START["train.py"].replace("math.pi", "math.tau")}


@pytest.fixture
def trial(tmp_path: Path) -> Trial:
    return Trial(tmp_path).start()


@pytest.fixture
def grown(trial: Trial) -> Trial:
    """A tree's first two generations: node 1 is the best, node 2 crashed, 3 missed, 4 refused."""
    trial.add(1, 0, Outcome.OK, 7.5, 3.49, FASTER)
    trial.add(2, 1, Outcome.CANDIDATE_ERROR, solution=BROKEN)
    trial.add(3, 1, Outcome.MISSED_TARGET, loss=3.61, solution=FASTER)
    trial.add(4, 1, Outcome.REFUSED)
    return trial


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

    with pytest.raises(SpeedrunError):
        generate(trial.inputs(1), unreachable, trial.folder / "node_1")
    assert not (trial.folder / "node_1").exists()
    with pytest.raises(SpeedrunError, match="neither files nor an outcome"):
        generate(trial.inputs(1), lambda request: Proposal(None), trial.folder / "node_1")


def test_the_best_earlier_node_is_the_base(grown: Trial) -> None:
    request = build_request(grown.inputs(5))
    assert (request.choice.parent, request.choice.action, request.choice.generation) == (
        1,
        "improve",
        3,
    )
    assert request.base == FASTER and request.start == START
    assert [attempt.node for attempt in request.history] == [0, 1, 2, 3, 4]
    assert request.history[4].outcome is Outcome.REFUSED


def test_a_node_sees_nothing_of_its_own_generation(grown: Trial) -> None:
    assert [attempt.node for attempt in build_request(grown.inputs(3)).history] == [0, 1]


def test_seeds_differ_by_node_and_not_by_place(trial: Trial, tmp_path: Path) -> None:
    elsewhere = Trial(tmp_path / "elsewhere").start()
    trial.add(1, 0, Outcome.REFUSED)
    assert build_request(trial.inputs(1)).seed == build_request(elsewhere.inputs(1)).seed
    assert build_request(trial.inputs(1)).seed != build_request(trial.inputs(2)).seed


def test_prompt_shows_task_rules_files_and_time(trial: Trial) -> None:
    prompt = print_prompt(trial.inputs(1))
    for shown in (FACTS.rules.strip(), FACTS.hardware, "3.5 nats", "10.00 s", START["train.py"]):
        assert shown in prompt
    assert "## No hints" in prompt and "Earlier attempts" not in prompt
    assert "r03" not in prompt  # not even the target's id


def test_hints_and_documents_are_shown_exactly_as_written(trial: Trial, tmp_path: Path) -> None:
    (tmp_path / "flex.md").write_text("Document $body with ```fences```\n")
    inputs = trial.inputs(1, ("l1", "l2"), knowledge=(tmp_path / "flex.md",))
    prompt = print_prompt(inputs)
    assert HINTS["hints/l1.md"] in prompt and HINTS["hints/l2.md"] in prompt
    assert "Document $body with ```fences```\n" in prompt and "## No hints" not in prompt
    assert HINTS["hints/l2.md"] not in print_prompt(trial.inputs(1, ("l1",)))


def test_missing_inputs_are_named(trial: Trial, tmp_path: Path) -> None:
    with pytest.raises(SpeedrunError, match=r"hint l3 .*hints/l3.md is missing"):
        print_prompt(trial.inputs(1, ("l3",)))
    with pytest.raises(SpeedrunError, match=r"knowledge document .*lost.md is missing"):
        print_prompt(trial.inputs(1, knowledge=(tmp_path / "lost.md",)))
    with pytest.raises(SpeedrunError, match=r"node_1/parent.json is missing"):
        print_prompt(trial.inputs(2))
    (tmp_path / "public" / "start" / "train.py").unlink()
    with pytest.raises(SpeedrunError, match="run `speedrun task`"):
        print_prompt(trial.inputs(1))


def test_history_tells_better_worse_and_failed(grown: Trial) -> None:
    prompt = print_prompt(grown.inputs(5))
    assert "### Better: 1, showing 1" in prompt
    assert "#### Attempt 1, from the start record: ok, 7.50 s, loss 3.4900" in prompt
    assert "    +STEPS: int = 300; WARMUP = 20" in prompt and "digest 1" in prompt
    assert "#### Attempt 3, from attempt 1: missed_target, no time, loss 3.6100" in prompt
    assert "### Failed: 2, showing 2" in prompt and "the model declined" in prompt
    assert prompt.index("#### Attempt 4") < prompt.index("#### Attempt 2")  # latest first
    assert "## The files you change: attempt 1" in prompt


def _attempt(node: int, outcome: Outcome, time_s: float | None, loss: float | None) -> Attempt:
    return Attempt(node, 0, outcome, "", time_s, loss, "", {"train.py": f"x = {node}\n" * 200})


def test_history_rule_orders_and_caps() -> None:
    history = [
        _attempt(0, Outcome.OK, 10.0, 3.4),
        _attempt(1, Outcome.MISSED_TARGET, None, 3.9),
        _attempt(2, Outcome.OK, 12.0, 3.4),
        _attempt(3, Outcome.MISSED_TARGET, None, 3.6),
        _attempt(4, Outcome.OK, 10.0, 3.4),
        *[_attempt(node, Outcome.OK, 9.0 - node / 10, 3.4) for node in range(5, 10)],
        _attempt(10, Outcome.TIMEOUT, None, None),
        _attempt(11, Outcome.OOM, None, None),
        _attempt(12, Outcome.RULE_VIOLATION, None, 3.4),
        _attempt(13, Outcome.MISSED_TARGET, None, None),
    ]
    kinds = {kind: [a.node for a in found] for kind, found in sort_history(history).items()}
    assert kinds == {
        "better": [9, 8, 7, 6, 5],
        "worse": [4, 2, 3, 1, 13],
        "failed": [12, 11, 10],
    }
    shown = render_history(history)
    assert f"### Better: 5, showing {SHOWN}" in shown
    assert "Attempt 6," not in shown and "more lines)" in shown


def test_line_counts() -> None:
    before, after = {"a": "1\n2\n3\n", "b": "x\n"}, {"a": "1\n3\n4\n5\n", "c": "y"}
    assert node_module.count_lines(before, after) == (3, 2)
    assert node_module.count_lines(before, before) == (0, 0)


def test_scaffold_decides_the_parent(trial: Trial) -> None:
    assert trial.scaffold is TREE
    trial.add(1, 0, Outcome.MISSED_TARGET, loss=3.51, solution=FASTER)
    request = build_request(trial.inputs(2))
    assert request.choice.parent == 0 and request.base == START


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
