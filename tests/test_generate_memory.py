"""Scratchpads and summaries: what later nodes read of earlier ones, and that nothing else leaks."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from speedrun import cli, files, schema
from speedrun.files import SpeedrunError
from speedrun.schema import Outcome, Parent
from speedrun.stages.generate import Attempt, print_prompt
from speedrun.stages.generate.history import MEMOS_CHARS, render_memos
from trial_builder import FLAT, HINTS, START, Trial

REPOSITORY = Path(__file__).resolve().parents[1]


@pytest.fixture
def trial(tmp_path: Path) -> Trial:
    return Trial(tmp_path).start()


def _remember(trial: Trial, node: int, memo: str) -> None:
    folder = trial.folder / f"node_{node}"
    parent = schema.load(Parent, folder / "parent.json")
    schema.save(folder / "parent.json", Parent(**{**parent.__dict__, "memo": memo}))


def _leave(trial: Trial, node: int, mark: str) -> None:
    """A finished node whose every file bears its mark."""
    solution = {"train.py": START["train.py"] + f"solution_{mark} = 1\n"}
    trial.add(node, 0, Outcome.OK, 8.0 + node / 10, 3.4, solution, note=f"note-{mark}")
    _remember(trial, node, f"memo-{mark}")
    folder = trial.folder / f"node_{node}"
    for name in ("prompt.md", "replies/turn_0.md", "calls.jsonl", "summary.md", "coder.log"):
        files.write_text(folder / name, f"file-{mark}\n")
    files.write_text(folder / "digest_model.md", f"summary-{mark}\n")


def test_nothing_leaks_between_nodes(tmp_path: Path) -> None:
    """Two trials with other histories, asked in turn: each prompt holds its own, as told, alone."""
    trials = {mark: Trial(tmp_path / mark).start() for mark in ("red", "blue")}
    for mark, trial in trials.items():
        for node in (1, 2, 3):
            _leave(trial, node, f"{mark}{node}")
    first = {mark: print_prompt(trial.inputs(3)) for mark, trial in trials.items()}
    assert [first[mark] for mark in ("red", "blue")] == [
        print_prompt(trial.inputs(3)) for trial in trials.values()
    ]  # whatever was asked in between
    assert "solution_red1" in first["red"] and "blue" not in first["red"]
    assert "solution_blue1" in first["blue"] and "red1" not in first["blue"]
    for never in ("red2", "red3", "note-", "memo-", "file-", "summary-"):
        assert never not in first["red"]  # its own generation, and what is not to be told


def test_memory_and_summaries_are_shown_where_the_arm_has_them(trial: Trial) -> None:
    for node in (1, 2, 3, 4):
        _leave(trial, node, f"m{node}")
    with_memory = print_prompt(trial.inputs(3, memory=True))
    assert "## Scratchpad" in with_memory and "memo-m1" in with_memory
    assert "memo-m2" not in with_memory and "### MEMO" in with_memory
    later = print_prompt(trial.inputs(5, memory=True))
    assert later.index("memo-m1") < later.index("memo-m2") < later.index("memo-m4")
    assert "summary-m1" in print_prompt(trial.inputs(3, summary=True))
    assert "summary-m1" not in with_memory
    agent = print_prompt(trial.inputs(3, memory=True, style="files"))
    assert "`MEMO.md`" in agent and "### MEMO" not in agent
    assert "## Scratchpad" not in print_prompt(Trial(trial.base, FLAT).inputs(1, memory=True))


def test_a_summary_that_is_missing_is_named(trial: Trial) -> None:
    trial.add(1, 0, Outcome.REFUSED)
    with pytest.raises(SpeedrunError, match=r"digest_model.md is missing: run `speedrun summarize"):
        print_prompt(trial.inputs(2, summary=True))


def test_a_scratchpad_is_bounded_and_keeps_the_latest() -> None:
    root = Attempt(0, 0, Outcome.OK, "", 10.0, 3.4, "", {})
    memos = [
        Attempt(node, 0, Outcome.OK, "", 9.0, 3.4, "", {}, memo=f"memo {node} " + "m" * 1900)
        for node in range(1, 21)
    ]
    shown = render_memos([root, *memos])
    assert len(shown) < MEMOS_CHARS + 1000 and "memo 20 " in shown and "memo 1 " not in shown
    assert render_memos([root]) == ""


def test_print_prompt_shows_all_that_the_arm_has(
    trial: Trial, capsys: pytest.CaptureFixture[str]
) -> None:
    """The command line: knowledge, passages, scratchpad, summaries and history in one prompt."""
    for node in (1, 2, 3, 4):
        _leave(trial, node, f"m{node}")
    arm = {
        "coder": {"name": "replay"},
        "hints": ["l1"],
        "model": {"name": "none", "kind": "none"},
        "scaffold": {"name": "tree", "n_initial": 1, "n_branch": 3},
        "mode": "reproduce",
        "knowledge": ["knowledge/micro/muon.md"],
        "retrieval": {"folder": "knowledge/nanogpt", "top_k": 1},
        "memory": "scratchpad",
        "summary": "model",
    }
    words = {"public": trial.base / "public", "trial": trial.folder, "node": 5, "seed": 0}
    words |= {"root-analysis": trial.base / "root.json", "repository": REPOSITORY}
    given = [word for name, value in words.items() for word in (f"--{name}", str(value))]
    assert cli.main(["generate", *given, "--arm", json.dumps(arm), "--print-prompt"]) == 0
    shown = capsys.readouterr().out
    muon = (REPOSITORY / "knowledge/micro/muon.md").read_text()
    for part in (HINTS["hints/l1.md"], f"## Document: muon.md\n\n{muon}", "memo-m4", "summary-m1"):
        assert part in shown
    assert shown.count("### From flexattention.md") == 1 and str(REPOSITORY) not in shown
    assert not (trial.folder / "node_5").exists()
