"""transcript: a trial on the screen, whole, half-made or hostile."""

from __future__ import annotations

import dataclasses
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from speedrun import cli, files, schema, trials
from speedrun.files import SpeedrunError
from speedrun.runner.log import encode
from speedrun.schema import Analysis, Call, Outcome, Parent, StageRecord
from speedrun.stages.transcript import page, transcript

START = {"train.py": "steps = 10\nlr = 1\n"}
CALL = Call(0, "p", "r", 1200, 345, 0.25, 12.5, "model")


def analysis(outcome: Outcome, time_s: float | None = None, reason: str = "") -> Analysis:
    digest = f"outcome: {outcome}"
    return Analysis(outcome, reason, 3.4, time_s, None, None, [], None, 20.0, digest)


class Folder:
    """A trial in a results folder, with its task's start files."""

    def __init__(self, base: Path) -> None:
        """Make results/tasks and an empty trial."""
        self.trial = base / "results" / "trials" / "micro" / "r01-r02" / "a-1a2b3c4d" / "s0"
        self.trial.mkdir(parents=True)
        files.write_tree(base / "results/tasks/micro/r01-r02/public/start", START)

    def proposed(self, node: int, parent: int, action: str = "draft", **changes: Any) -> Path:
        """Write what generate leaves."""
        folder = self.trial / f"node_{node}"
        solution = {"train.py": f"steps = 10\nlr = {node + 1}\n"}
        written = Parent(node, parent, 1 + (parent > 0), action, None, "", "d", 1, 1, why="best")
        files.write_tree(folder / "solution", solution)
        files.write_tree(folder / "replies", {"turn_0.md": f"I reply as {node}.\n"})
        files.write_text(folder / "prompt.md", "the whole prompt\n")
        files.write_text(folder / "calls.jsonl", json.dumps(schema.to_dict(CALL)) + "\n")
        params = {"coder": "direct", "model": "m", "scaffold": "aide", "hints": "l1+l2"}
        schema.save(
            folder / "generate.record.json", StageRecord("generate", "", params, {}, {}, [])
        )
        schema.save(folder / "parent.json", dataclasses.replace(written, **changes))
        return folder

    def finished(self, node: int, parent: int, found: Analysis, action: str = "draft") -> Path:
        """Write a node that is done."""
        folder = self.proposed(node, parent, action)
        files.write_text(folder / "run" / "exit.json", "{}")
        schema.save(folder / "analysis.json", found)
        return folder


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    return Folder(tmp_path)


@pytest.fixture
def whole(folder: Folder) -> Folder:
    folder.finished(1, 0, analysis(Outcome.MISSED_TARGET, reason="3.6 above 3.5"))
    folder.finished(2, 0, analysis(Outcome.OK, 8.0))
    folder.finished(3, 2, analysis(Outcome.OK, 7.0), "improve")
    folder.finished(4, 1, analysis(Outcome.OK, 7.0), "debug")
    return folder


def test_head_and_tree(whole: Folder) -> None:
    head = transcript(whole.trial).split("====", 1)[0].splitlines()
    assert head == [
        "Trial micro/r01-r02/a-1a2b3c4d/s0",
        "coder direct, model m, scaffold aide, hints l1+l2",
        "4 nodes: 1 missed_target, 3 ok",
        "Best: node 3",
        "4 calls, tokens 4,800 in, 1,380 out, USD 1.0000, 50.0 s",
        "",
        "start record",
        "├── node 1: draft, missed_target, val_loss 3.4000",
        "│   └── node 4: debug, ok, 7.00 s, val_loss 3.4000",
        "└── node 2: draft, ok, 8.00 s, val_loss 3.4000",
        "    └── node 3: improve, ok, 7.00 s, val_loss 3.4000  <== best",
        "",
    ]


def test_one_node(whole: Folder) -> None:
    assert transcript(whole.trial, 4).splitlines() == [
        "=" * 78,
        "Node 4",
        "=" * 78,
        "generation: 2",
        "action:     debug, from node 1",
        "why:        best",
        "told:       hints l1+l2, a prompt of 17 characters",
        "outcome:    ok, 7.00 s, val_loss 3.4000",
        "device:     20.0 s of its time",
        "cost:       1 call, tokens 1,200 in, 345 out, USD 0.2500, 12.5 s",
        "",
        "--- reply 0 ---",
        "I reply as 4.",
        "",
        "--- change: +1 -1 lines ---",
        "--- a/train.py",
        "+++ b/train.py",
        "@@ -1,2 +1,2 @@",
        " steps = 10",
        "-lr = 2",
        "+lr = 5",
        "",
        "--- digest ---",
        "outcome: ok",
    ]


def test_the_first_generation_changes_the_start_record(whole: Folder) -> None:
    assert "-lr = 1\n+lr = 3\n" in transcript(whole.trial, 2)


def test_all_nodes_stand_in_order_and_the_best_is_marked(whole: Folder) -> None:
    lines = transcript(whole.trial).splitlines()
    titles = [line for line in lines if line.startswith("Node ")]
    assert titles == ["Node 1", "Node 2", "Node 3  (best)", "Node 4"]
    assert "outcome:    missed_target: 3.6 above 3.5, val_loss 3.4000" in lines


def test_long_texts_are_cut_unless_all_is_wanted(whole: Folder) -> None:
    reply = "\n".join(f"line {index}" for index in range(100))
    files.write_text(whole.trial / "node_1" / "replies" / "turn_10.md", reply)
    files.write_text(whole.trial / "node_1" / "replies" / "turn_2.md", "second")
    short, full = (transcript(whole.trial, 1, wanted) for wanted in (False, True))
    assert "line 39\n... 60 more lines: see --full" in short
    assert "the whole prompt" not in short
    assert "line 99" in full
    assert "--- prompt ---\nthe whole prompt" in full
    assert "more lines" not in full
    assert full.index("reply 0") < full.index("second") < full.index("line 0")


def test_an_agents_log_stands_for_its_replies(whole: Folder) -> None:
    lines = [{"wall_s": 1.0, "cpu_s": 1.0, "line": f"step {index}"} for index in range(50)]
    torn = b'{"wall_s": 1.0, "cpu'
    log = b"".join(map(encode, lines)) + torn
    (whole.trial / "node_1" / "coder.log").write_bytes(log)
    shown = transcript(whole.trial, 1)
    assert "--- end of the agent's log ---\n... 10 more lines: see --full\nstep 10\n" in shown
    assert "step 49" in shown
    assert "I reply" not in shown
    assert "I reply" in transcript(whole.trial, 1, full=True)


def test_memo_summary_and_preflight_are_shown(whole: Folder) -> None:
    path = whole.trial / "node_1"
    parent = schema.load(Parent, path / "parent.json")
    schema.save(path / "parent.json", dataclasses.replace(parent, memo="try\nMuon"))
    files.write_text(path / "digest_model.md", "The model says.\n")
    call = dataclasses.replace(CALL, purpose="summary", cost_usd=None, stored=True)
    files.write_text(path / "digest_model.calls.jsonl", json.dumps(schema.to_dict(call)))
    files.write_json(path / "draft" / "preflight.json", {"reason": "exit code 1", "finding": "oh"})
    shown = transcript(whole.trial, 1)
    for text in (
        "memo:       try Muon", "--- summary by a model ---\nThe model says.",
        "preflight:  exit code 1", "--- preflight ---\noh",
        "2 calls, tokens 2,400 in, 690 out, USD 0.2500 (unknown for 1), 25.0 s, 1 from the store",
    ):  # fmt: skip
        assert text in shown


# --- unfinished trials ---


def test_what_is_unfinished_is_said(whole: Folder) -> None:
    whole.proposed(5, 3, "improve")
    files.write_text(whole.proposed(6, 3, "improve") / "run" / "exit.json", "{}")
    files.write_text(whole.trial / "node_7" / "prompt.md", "asked\n")
    shown = transcript(whole.trial)
    head = shown.split("====", 1)[0]
    assert "node 5 is unfinished, node 6 is unfinished, node 7 is unfinished" in head
    assert "        ├── node 5: improve, its code has not been run to its end" in head
    assert "        └── node 6: improve, its run has not been analysed" in head
    assert "\nnode 7: the coder has not answered\n" in head
    assert "unfinished: the coder has not answered\ntold:       a prompt of 6 characters" in shown


def test_a_draft_that_waits_for_its_preflight_is_shown(folder: Folder) -> None:
    made = folder.proposed(1, 0)
    draft = folder.trial / "node_2" / "draft"
    draft.parent.mkdir()
    made.rename(draft)
    shown = transcript(folder.trial, 2)
    assert "unfinished: the coder has not answered" in shown
    assert "I reply as 1." in shown


def test_a_node_without_code_has_no_change(folder: Folder) -> None:
    made = folder.proposed(
        1, 0, outcome=Outcome.REFUSED, reason="the model declined", solution_digest=""
    )
    files.write_tree(made / "solution", {})
    shown = transcript(folder.trial, 1)
    assert "outcome:    refused: the model declined" in shown
    assert "--- change" not in shown


def test_start_files_elsewhere(folder: Folder, tmp_path: Path) -> None:
    folder.finished(1, 0, analysis(Outcome.OK, 8.0))
    moved = tmp_path / "t/elsewhere/s0"
    moved.parent.mkdir(parents=True)
    folder.trial.rename(moved)
    assert "are not at hand: give --start" in transcript(moved)
    files.write_tree(tmp_path / "start", START)
    assert "-lr = 1" in transcript(moved, start=tmp_path / "start")


def test_a_cumulative_trial_starts_from_its_own(whole: Folder) -> None:
    link = trials.Link("results/before/s0", 3, False, "node 3 of before, 9.00 s")
    files.write_json(whole.trial / "start" / "chain.json", link.to_json())
    files.write_tree(whole.trial / "start" / "solution", {"train.py": "mine = 1\n"})
    shown = transcript(whole.trial)
    assert "Starts from the task before: node 3 of before, 9.00 s" in shown
    assert "\nthe trial's own start\n" in shown
    assert "-mine = 1" in shown


def test_a_chain_that_has_ended(folder: Folder) -> None:
    link = trials.Link("results/before/s0", None, True, "none of 2 nodes reached the target")
    files.write_json(folder.trial / "start" / "chain.json", link.to_json())
    shown = transcript(folder.trial)
    assert "The chain has ended: none of 2 nodes" in shown
    assert "0 nodes\nBest: no node reached the target\n" in shown


# --- what cannot be shown, and what must not be ---


def test_a_folder_that_is_no_trial(tmp_path: Path) -> None:
    with pytest.raises(SpeedrunError, match=r"holds no node: give a trial's folder"):
        transcript(tmp_path / "nothing")


def test_a_node_that_is_not_there(whole: Folder) -> None:
    with pytest.raises(SpeedrunError, match=r"has no node 9: it has 1, 2, 3, 4"):
        transcript(whole.trial, 9)


@given(st.text())
def test_nothing_that_a_terminal_acts_on_is_printed(text: str) -> None:
    shown = page.plain(text)
    assert len(shown) == len(text)
    assert all(char.isprintable() or char in "\n\t\u00a0" for char in shown)
    assert all(a == b or b == "\N{REPLACEMENT CHARACTER}" for a, b in zip(text, shown, strict=True))


def test_hostile_replies_cannot_recolour_the_terminal(whole: Folder) -> None:
    hostile = "\x1b[2J\x1b]0;title\x07[bold red]hello[/bold red]\u202egnp\r"
    (whole.trial / "node_1" / "replies" / "turn_0.md").write_text(hostile, newline="")
    found = analysis(Outcome.CANDIDATE_ERROR, reason=hostile)
    schema.save(whole.trial / "node_1" / "analysis.json", found)
    shown = transcript(whole.trial)
    assert not set("\x1b\x07\r\u202e") & set(shown)
    assert "[bold red]hello[/bold red]" in shown


def test_the_command_line(whole: Folder, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["transcript", str(whole.trial), "--node", "2", "--full"]) == 0
    assert "Node 2" in capsys.readouterr().out
    assert cli.main(["transcript", str(whole.trial / "node_1")]) == 1
    assert "holds no node" in capsys.readouterr().err


def test_a_pager_that_is_closed_is_no_error(whole: Folder) -> None:
    reply = whole.trial / "node_1" / "replies" / "turn_0.md"
    reply.write_text("x" * 10**6)  # more than a pipe holds
    words = [sys.executable, "-m", "speedrun", "transcript", str(whole.trial)]
    with subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as running:
        assert running.stdout is not None
        assert running.stderr is not None
        running.stdout.read(10)
        running.stdout.close()
        assert running.stderr.read() == b""
    assert running.returncode == 0
