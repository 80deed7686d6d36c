"""summarize: what a model is shown of a run, and what is kept of its answer."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

import sweep_files
from speedrun import files, schema
from speedrun.files import SpeedrunError
from speedrun.runner.log import encode
from speedrun.schema import Call, CurvePoint, Outcome
from speedrun.stages import summarize

CALL = Call(0, "p", "r", 900, 80, 0.5, 1.0, "model", purpose="summary")


@dataclass
class Model:
    """Answers with a text, and keeps what it was asked."""

    text: str = "It diverged at step 40."
    refused: bool = False
    prompt: str = ""
    call: Call = CALL

    def __call__(self, prompt: str) -> Model:
        assert not self.prompt, "asked twice"
        self.prompt = prompt
        return self


def node(folder: Path, lines: list[str], outcome: Outcome = Outcome.CANDIDATE_ERROR) -> Path:
    made = folder / "node_1"
    sweep_files.node(made, "code", sweep_files.analysis(outcome, 5.0))
    stamped = [encode({"wall_s": 1.0, "cpu_s": 1.0, "line": line}) for line in lines]
    files.write_bytes(made / "run" / "log.jsonl", b"".join(stamped))
    return made


def test_a_run_is_summarised_once_with_its_cost(tmp_path: Path) -> None:
    model, made = Model(), node(tmp_path, ["loading", "ValueError: no such shape"])
    assert summarize.summarize(made, 3.28, model) == [CALL]
    assert (made / "digest_model.md").read_text() == "It diverged at step 40.\n"
    [line] = (made / "digest_model.calls.jsonl").read_text().splitlines()
    assert schema.from_dict(Call, json.loads(line)) == CALL
    for part in (
        "3.28",
        "candidate_error for a test",
        "    ValueError: no such shape",
        "300 words",
    ):
        assert part in model.prompt
    assert "$" not in model.prompt


def test_the_curve_and_the_time_are_shown(tmp_path: Path) -> None:
    model = Model()
    summarize.summarize(node(tmp_path, [], Outcome.OK), 3.28, model)
    assert "    target reached after 5.00 s" in model.prompt
    assert (
        "    step 100 of 100: 3.4000 after 4.5 s of training, 5.0 s after the start" in model.prompt
    )
    assert "    nothing was printed" in model.prompt


def test_a_node_that_never_ran_costs_no_call(tmp_path: Path) -> None:
    made = tmp_path / "node_1"
    sweep_files.node(made, None, sweep_files.analysis(Outcome.REFUSED, None))
    assert summarize.summarize(made, 3.28, lambda prompt: pytest.fail("asked")) == []
    assert (made / "digest_model.md").read_text() == ""
    assert (made / "digest_model.calls.jsonl").read_text() == ""


def test_a_refusal_is_said(tmp_path: Path) -> None:
    made = node(tmp_path, ["x"])
    assert summarize.summarize(made, 3.28, Model("", refused=True)) == [CALL]
    assert "declined" in (made / "digest_model.md").read_text()


def test_what_cannot_be_reached_leaves_no_summary(tmp_path: Path) -> None:
    def down(prompt: str) -> Model:
        raise SpeedrunError("the endpoint is down")

    made = node(tmp_path, ["x"])
    with pytest.raises(SpeedrunError, match="down"):
        summarize.summarize(made, 3.28, down)
    assert not (made / "digest_model.md").exists()


@given(
    output=st.lists(st.text(max_size=2000), max_size=90),
    points=st.integers(0, 200),
    reply=st.text(),
)
def test_nothing_printed_or_replied_grows_or_leaves_its_block(
    tmp_path_factory: pytest.TempPathFactory, output: list[str], points: int, reply: str
) -> None:
    made = node(tmp_path_factory.mktemp("node"), output)
    curve = [CurvePoint(step, 200, 3.0, step, 1.0, 1.0) for step in range(points)]
    schema.save(made / "analysis.json", sweep_files.analysis(Outcome.OK, 5.0, curve=curve))
    model = Model(reply)
    summarize.summarize(made, 3.28, model)
    quoted = model.prompt.split("## Outcome\n")[1].split("\n")
    headings = ("", "## Validation loss", "## The end of the output")
    assert all(line.startswith("    ") or line in headings for line in quoted)
    shown = summarize.LOG_LINES + summarize.CURVE_POINTS + 12
    assert len(quoted) <= shown
    assert all(len(line) <= summarize.LOG_COLUMNS + 4 for line in quoted)


@given(st.integers(0, 2000))
def test_a_long_summary_is_cut(words: int) -> None:
    text = summarize._shown(Model(" ".join(["word"] * words)))
    assert len(text.split()) == (words if words <= 600 else 601)
    assert ("(cut)" in text) is (words > 600)
