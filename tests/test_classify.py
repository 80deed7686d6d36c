"""classify: a whole pass, faults, refusals, a kill, and that the prompt is blind."""

from __future__ import annotations

import csv
import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, reject
from hypothesis import strategies as st

import model_server as ms
from model_server import ModelServer, model_config
from speedrun import classification, cli, files, material
from speedrun.adapters.ledger import Ledger
from speedrun.cli import classify as verb
from speedrun.files import SpeedrunError
from speedrun.registry import load
from speedrun.stages import classify
from speedrun.stages.classify import sheet
from upstream_repo import Built, edited

STEPS = range(2, 14)
LABEL_MARK = "a committed reason that no reader may see"
GOOD = {
    "depth": "shallow", "provenance": "imported", "kind": "hyperparameter", "adopted_by": "",
    "adopted_source": "", "evidence": "learning_rate is tuned", "confidence": "high",
}  # fmt: skip


def block(**changes: Any) -> str:
    return f"I looked.\n\n```json\n{json.dumps(GOOD | changes)}\n```\n"


def number_of(body: dict[str, Any]) -> int:
    found = re.search(r"^# Step to record (\d+)$", body["messages"][-1]["content"], re.M)
    assert found
    return int(found[1])


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working directory with a rubric, labels that differ in one step, and the model's key."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv(ms.KEY_VARIABLE, ms.KEY)
    labels = {
        n: classification.label_of(
            {"record": str(n), **GOOD, "evidence": LABEL_MARK}
            | ({"depth": "deep"} if n == 5 else {})
        )
        for n in STEPS
    }
    classify.write(tmp_path / "labels" / "labels.csv", labels)
    (tmp_path / "labels" / "rubric.md").write_text("# The rubric\nOne word a field.\n")
    return tmp_path


def arguments(place: Path, built: Built, url: str, *more: str) -> list[str]:
    config = model_config(url, base_url="http://127.0.0.1:9/v1")
    (place / "config" / "model").mkdir(parents=True, exist_ok=True)
    (place / "config" / "model" / "m.yaml").write_text(json.dumps(config))
    return [
        "classify", "--model", "m", "--registry", str(built.registry),
        "--repo", str(built.repository), "--labels", "labels",
        "--set", f"models.m.base_url={url}", "--out", "pass.csv", *more,
    ]  # fmt: skip


def test_a_whole_pass(place: Path, built: Built, capsys: pytest.CaptureFixture[str]) -> None:
    with ModelServer(block()) as server:
        assert cli.main(arguments(place, built, server.url)) == 0
        asked = [number_of(request.body) for request in server.requests]
    said = capsys.readouterr().out
    assert asked == list(STEPS)
    assert "pass.csv: 12 read, 0 unread" in said
    assert "depth: 11 of 12 equal, kappa 0.00 (0.00)" in said
    assert "kind: 12 of 12 equal, kappa undefined" in said
    read = classification.load(Path("pass.csv"), STEPS)
    assert read[7].evidence == "learning_rate is tuned" and read[7].depth == "shallow"
    assert (
        Ledger(Path("store/ledger.db")).spent("classify/nanogpt/m.s0", "classify/nanogpt").usd > 0
    )
    keys = [json.loads(one.read_text())["key"] for one in Path("store/replies").glob("*/*.json")]
    assert {(key["purpose"], key["seed"]) for key in keys} == {("classify", 0)}
    assert sorted(key["node"] for key in keys) == list(STEPS)


def test_no_label_and_no_contributor_is_shown(place: Path, built: Built, tmp_path: Path) -> None:
    people = {"contributors": ["grower", "fernbear77"], "ai_system": "Locus"}
    title = {
        "title": "by @stranger and Fernbear, with Claude Code; https://x.com/grower/1 https://arxiv.org/abs/1"
    }
    registry = edited(built, tmp_path, r12=people | title, r10=people)
    with ModelServer(block()) as server:
        words = arguments(place, built, server.url, "--registry", str(registry))
        assert cli.main(words) == 0
        prompts = server.prompts
    for prompt in prompts:
        shown = prompt.lower()
        assert not re.search(r"someone|grower|fernbear|stranger|locus|claude|ai system", shown)
        assert LABEL_MARK not in prompt and "no record: number" not in prompt
        assert "One word a field." in prompt
    tenth = prompts[list(STEPS).index(10)]
    assert "one optimiser" in tenth and "pull request 200" in tenth and "+++ train_gpt.py" in tenth
    assert "Time before: 7.17 minutes; after: 6.05 minutes" in tenth
    twelfth = prompts[list(STEPS).index(12)]
    assert "- Title: by (name) and (name), with (name); (link) https://arxiv.org/abs/1\n" in twelfth


def test_a_malformed_reply_is_asked_once_more(place: Path, built: Built) -> None:
    replies = ["no block", block(depth="very deep"), block(extra="x"), block(depth="moderate")]
    with ModelServer(replies) as server:
        assert cli.main(arguments(place, built, server.url, "--records", "4")) == 0
        assert cli.main(arguments(place, built, server.url, "--records", "3,4")) == 0
        prompts = server.prompts
    assert len(prompts) == 4  # both turns of 4 come from the store
    assert "expected one fenced json block, found 0" in prompts[1]
    assert "is no object of depth, provenance" in prompts[3]
    assert "could not be read" not in prompts[0] + prompts[2]
    assert classification.load(Path("pass.csv"), [3])[3].depth == "moderate"


def rows(file: Path) -> list[int]:
    with file.open(newline="") as text:
        return [int(row["record"]) for row in csv.DictReader(text)]


@pytest.mark.parametrize("fault", [ms.REFUSAL, ms.FILTERED, ms.too_long()])
def test_a_step_without_an_answer_is_unread(
    place: Path, built: Built, fault: ms.Fault, capsys: pytest.CaptureFixture[str]
) -> None:
    with ModelServer(block(), faults=[fault]) as server:
        assert cli.main(arguments(place, built, server.url, "--records", "2,3")) == 0
        assert len(server.requests) == 2
    said = capsys.readouterr().out
    assert "2: unread: the " in said and "1 read, 1 unread" in said
    assert rows(Path("pass.csv")) == [3]


@pytest.mark.slow  # a process of its own imports all
def test_a_killed_pass_goes_on_where_it_stopped(place: Path, built: Built) -> None:
    with ModelServer(
        block(), fault_of=lambda number, body: ms.hang() if number == 3 else None
    ) as server:
        words = arguments(place, built, server.url, "--records", "2,3,4,5,6")
        child = subprocess.Popen(
            [sys.executable, "-m", "speedrun", *words], stdout=subprocess.DEVNULL
        )
        while len(server.requests) < 4 and child.poll() is None:
            time.sleep(0.02)
        os.kill(child.pid, signal.SIGKILL)
        assert child.wait() == -signal.SIGKILL
        assert rows(Path("pass.csv")) == [2, 3, 4]
        assert cli.main(words) == 0
        asked = [number_of(request.body) for request in server.requests]
    assert asked == [2, 3, 4, 5, 5, 6]
    assert rows(Path("pass.csv")) == [2, 3, 4, 5, 6]


def test_passes_are_not_mixed(
    place: Path, built: Built, capsys: pytest.CaptureFixture[str]
) -> None:
    with ModelServer(block()) as server:
        words = arguments(place, built, server.url, "--records", "2")
        assert cli.main(words) == 0
        assert cli.main([*words, "--records", "3"]) == 0
        assert rows(Path("pass.csv")) == [2, 3]
        assert cli.main([*words, "--seed", "1"]) == 1
        assert cli.main([*words, "--seed", "1", "--out", "other.csv"]) == 0
        assert cli.main([*words, "--out", "labels/labels.csv"]) == 1
        assert len(server.requests) == 3  # another seed is another sample
    said = capsys.readouterr().err
    assert "pass.csv is a pass with another seed" in said
    assert "labels.csv was not written by this verb" in said
    assert LABEL_MARK in Path("labels/labels.csv").read_text()


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (["--repo", "gone"], "gone is no folder and no URL"),
        (["--repo", "file:///gone.git", "--mirror", "mirror.git"], "file:///gone.git"),
        (["--records", "99"], "--records 99: no step ends there; they end at 2 to 13"),
        (["--model", "k"], "unknown model 'k'; nearest is 'm'"),
        (["--labels", "gone"], "rubric.md cannot be read"),
        (["--set", "models.m.temperature=1"], "unknown key 'temperature'"),
        (["--set", "budget.sweep.usd=0.000001"], "budget.sweep.usd = 1e-06"),
        (["--set", "budget.sweep.usd=many"], "must be a number above 0"),
    ],
)
def test_an_error_is_one_line(
    place: Path, built: Built, more: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with ModelServer(block()) as server:
        assert cli.main([*arguments(place, built, server.url), *more]) == 1
        assert server.requests == []
    lines = capsys.readouterr().err.splitlines()
    assert said in lines[-1]
    assert all(line.startswith("fetching ") for line in lines[:-1])  # a mirror is announced


def test_the_sources_come_through_a_mirror(place: Path, built: Built) -> None:
    with ModelServer(block()) as server:
        words = arguments(place, built, server.url, "--records", "10", "--repo", "")
        assert cli.main([*words, "--mirror", "mirror.git"]) == 0
        assert cli.main([*words, "--repo", str(built.repository), "--seed", "1", "--out", "b"]) == 0
        assert server.prompts[0] == server.prompts[1]
    assert Path("mirror.git/HEAD").is_file()


def test_a_long_change_loses_its_context_first() -> None:
    lines = [f" unchanged {n}\n+changed {n}" for n in range(1000)]
    assert sheet.bounded("\n".join(lines)) == "\n".join(lines)
    wide = "\n".join(f" {'u' * 60}\n+changed {n}" for n in range(1000))
    shown = sheet.bounded(wide)
    assert "uuu" not in shown and "+changed 999\n..." in shown
    shown = sheet.bounded("\n".join(f"+{'c' * 99}" for _ in range(400)))
    assert len(shown) < sheet.DIFF_CHARS + 100
    assert shown.endswith("... 103 further changed lines and all unchanged lines are left out")


def test_a_name_is_a_word_of_its_own(built: Built, tmp_path: Path) -> None:
    people = {"contributors": ["kellerjordan0", "_dj"], "ai_system": "Recursive"}
    named = sheet.names(load(edited(built, tmp_path, r12=people)).records)
    text = "KellerJordan, @kellerjordan0 and _dj; Recursive calls recursive=True, adj_dj"
    expected = "(name), (name) and (name); (name) calls recursive=True, adj_dj"
    assert named.sub(sheet.HIDDEN, text) == expected


@given(st.text() | st.recursive(st.none() | st.text(), lambda kids: st.lists(kids)))
def test_the_parser_raises_its_own_error_alone(value: Any) -> None:
    for text in (str(value), f"```json\n{value}\n```", block(evidence=value), block(depth=value)):
        try:
            label = classify.parse(text, 7)
        except material.ReplyError:
            continue
        assert label.record == 7 and label.evidence.strip() and label.evidence.isprintable()
        assert label.depth in classification.DEPTHS


@given(st.text(min_size=1, max_size=300), st.sampled_from(classification.KINDS))
def test_what_is_written_is_read_again(evidence: str, kind: str) -> None:
    try:
        label = classify.parse(block(evidence=evidence, kind=kind), 7)
    except material.ReplyError:
        reject()  # too many of these fail the test
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "pass.csv"
        classify.write(file, {7: label})
        assert classification.load(file, [7]) == {7: label}


def test_the_card_names_what_made_a_pass(place: Path, built: Built) -> None:
    with ModelServer(block()) as server:
        assert cli.main(arguments(place, built, server.url, "--records", "2")) == 0
    card = files.read_json(Path("pass.pass.json"))
    assert card["commit"] == built.commit and card["model"]["model"] == "m"
    assert card["rubric"] == files.digest_file(Path("labels/rubric.md"))
    with pytest.raises(SpeedrunError, match="write KEY=VALUE"):
        verb.operational(["budget"], "m")
