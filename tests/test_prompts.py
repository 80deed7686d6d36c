"""Prompts: recorded ones are unchanged, variants say what they must, hints stand as written."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from speedrun import files, schema
from speedrun.adapters.coders.replay import drift
from speedrun.files import SpeedrunError
from speedrun.schema import Outcome, TaskFacts
from speedrun.search import Choice
from speedrun.stages.generate import (
    Attempt,
    NodeInputs,
    build_request,
    print_prompt,
    retrieval_query,
    template_digest,
)
from speedrun.stages.generate.prompt import QUOTED_CHARS, render_hints, render_prompt, render_retry
from speedrun.stages.generate.templates import MODES, read_template
from trial_builder import FACTS, FASTER, FLAT, HINTS, START, Trial, analysis

REPOSITORY = Path(__file__).resolve().parents[1]
RECORDED = sorted((REPOSITORY / "replies" / "coder").glob("micro/*/*/s*_n*_t0"))


@pytest.fixture
def trial(tmp_path: Path) -> Trial:
    return Trial(tmp_path).start()


@pytest.mark.parametrize("folder", RECORDED, ids=lambda path: "/".join(path.parts[-3:]))
def test_recorded_prompts_are_the_present_ones(folder: Path, tmp_path: Path) -> None:
    """To the byte, but for the start record's measured time, which is taken from the recording."""
    recorded = (folder / "prompt.md").read_text()
    task, hints = folder.parts[-3], folder.parts[-2]
    node = int(re.findall(r"_n(\d+)_", folder.name)[0])
    present = print_prompt(_recorded_inputs(task, hints, node, recorded, tmp_path))
    assert present + "\n" == recorded  # as --print-prompt prints it


def _recorded_inputs(task: str, hints: str, node: int, prompt: str, base: Path) -> NodeInputs:
    start, target = task.split("-")
    [time_s] = re.findall(r"takes\n([\d.]+) s on this hardware", prompt)
    [loss] = re.findall(r"at most ([\d.]+) nats", prompt)
    [hardware] = re.findall(r"^- Hardware: (.*)$", prompt, re.MULTILINE)
    rules = (REPOSITORY / "tracks" / "micro" / "rules.md").read_text()
    facts = TaskFacts("micro", task, start, target, "train.py", float(loss), hardware, rules)
    public = {
        "start/train.py": (REPOSITORY / f"tracks/micro/records/{start}/train.py").read_text(),
        "hints/l1.md": (REPOSITORY / f"hints/micro/{task}/l1_pseudocode.md").read_text(),
    }
    files.write_tree(base / "public", public)
    schema.save(base / "public" / "task.json", facts)
    schema.save(base / "root.json", analysis(Outcome.OK, float(time_s), 3.4, "digest"))
    levels = () if hints == "none" else (hints,)
    trial = base / "trials/micro" / task / "replay-1a2b3c4d/s0"
    return NodeInputs(base / "public", trial, node, FLAT, base / "root.json", 0, levels)


def test_the_recordings_are_found() -> None:
    assert len(RECORDED) >= 9
    assert drift(read_template("coder"), read_template("coder") + " more") > 0


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


EXACT = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=200)


@settings(deadline=None)
@given(EXACT, EXACT)
def test_hints_stand_in_the_prompt_byte_for_byte(first: str, second: str) -> None:
    shown = render_hints({"l1": first, "l2": second})
    assert f"### Hint: pseudocode\n\n{first}" in shown
    assert f"### Hint: description\n\n{second}" in shown


@pytest.mark.parametrize("text", ["a\r\nb\rc\n", "$entry ${rules} {x} %s \\n\n\n\n", "no line end"])
def test_hints_and_documents_keep_every_byte_from_file_to_prompt(
    trial: Trial, tmp_path: Path, text: str
) -> None:
    for path in (tmp_path / "public" / "hints" / "l1.md", tmp_path / "a" / "doc.md"):
        files.write_bytes(path, text.encode())
    files.write_text(tmp_path / "b" / "doc.md", "another document of the same name\n")
    both = (tmp_path / "a" / "doc.md", tmp_path / "b" / "doc.md")
    prompt = print_prompt(trial.inputs(1, ("l1",), knowledge=both))
    assert f"### Hint: pseudocode\n\n{text}" in prompt
    assert f"## Document: doc.md\n\n{text}" in prompt and "another document" in prompt


def test_a_hint_that_is_no_text_is_our_error(trial: Trial, tmp_path: Path) -> None:
    files.write_bytes(tmp_path / "public" / "hints" / "l1.md", b"\xff\xfe")
    with pytest.raises(SpeedrunError, match=r"l1.md is not UTF-8 text"):
        print_prompt(trial.inputs(1, ("l1",)))


def test_no_hints_ask_for_a_plan_first(trial: Trial) -> None:
    for style in ("reply", "files"):
        assert "Before you write code, name" in print_prompt(trial.inputs(1, style=style))
        hinted = print_prompt(trial.inputs(1, ("l1",), style=style))
        assert "Before you write code" not in hinted


@pytest.mark.parametrize("style", ["reply", "files"])
def test_optimize_has_no_step_in_mind(trial: Trial, style: str) -> None:
    prompt = print_prompt(trial.inputs(1, style=style, mode="optimize"))
    assert "No particular change is in\nmind" in prompt
    assert "people set" not in prompt and "The next one is" not in prompt


def test_reproduce_says_that_the_step_was_made(trial: Trial) -> None:
    blind = print_prompt(trial.inputs(1, style="files"))
    told = print_prompt(trial.inputs(1, ("l1",), style="files"))
    assert "has been made before. What it was is not told." in blind
    assert "has been made before. The hints tell of it." in told
    assert "tells how people made this step" in print_prompt(trial.inputs(1, ("l1",)))


def test_cumulative_starts_from_its_own_solution(trial: Trial, tmp_path: Path) -> None:
    own = tmp_path / "start"
    files.write_tree(own / "solution", {"train.py": "own = 1\n"})
    schema.save(own / "analysis.json", analysis(Outcome.OK, 6.25, 3.4, "own digest"))
    inputs = trial.inputs(1, ("l1",), mode="cumulative", start=own)
    request = build_request(inputs)
    assert request.base == request.start == {"train.py": "own = 1\n"}
    assert "6.25 s on this hardware" in request.prompt and "own = 1" in request.prompt
    assert "the chain is your own" in request.prompt
    assert "10.00 s" not in request.prompt and "LEARNING_RATE" not in request.prompt
    trial.add(1, 0, Outcome.OK, 8.0, 3.4, FASTER)  # slower than its own start: worse
    assert "### Worse: 1" in print_prompt(trial.inputs(2, mode="cumulative", start=own))
    with pytest.raises(SpeedrunError, match="run `speedrun chain`"):
        build_request(trial.inputs(1, mode="cumulative", start=tmp_path / "lost"))


@pytest.mark.parametrize("style", ["reply", "files"])
def test_a_chains_first_task_starts_from_the_human_record(trial: Trial, style: str) -> None:
    first = print_prompt(trial.inputs(1, ("l1",), mode="cumulative", style=style))
    assert first == print_prompt(trial.inputs(1, ("l1",), style=style))


def test_a_coding_agent_is_told_of_files_and_not_of_blocks(trial: Trial) -> None:
    prompt = print_prompt(trial.inputs(1, ("l1",), style="files"))
    for never in ("no tools", "### FILE", "SEARCH", "Text outside", "LEARNING_RATE"):
        assert never not in prompt
    for always in ("working folder", "- `train.py`", FACTS.rules.strip(), "10.00 s", "3.5 nats"):
        assert always in prompt
    assert "no tools" in print_prompt(trial.inputs(1, ("l1",)))


def test_unknown_styles_and_modes_are_named(trial: Trial) -> None:
    with pytest.raises(SpeedrunError, match=r"style 'reply' in mode 'win'; .*files/optimize"):
        print_prompt(trial.inputs(1, mode="win"))


def test_passages_are_shown_with_their_source(trial: Trial) -> None:
    passages = [("muon.md, Newton", "$five steps\n"), ("adam.txt", "two betas")]
    prompt = print_prompt(trial.inputs(1, passages=passages))
    assert "### From muon.md, Newton\n\n$five steps\n" in prompt and "two betas\n" in prompt
    assert "Passages" not in print_prompt(trial.inputs(1))


def test_the_search_for_passages_asks_what_the_prompt_shows(trial: Trial) -> None:
    hinted = retrieval_query(trial.inputs(1, ("l2", "l1")))
    assert hinted == HINTS["hints/l2.md"] + "\n" + HINTS["hints/l1.md"]
    trial.add(1, 0, Outcome.OK, 7.5, 3.49, FASTER)
    query = retrieval_query(trial.inputs(2))
    assert FACTS.rules in query and "digest 1" in query and FASTER["train.py"] in query
    assert "Muon" not in query


def test_a_track_says_how_far_below_the_target_to_stay(trial: Trial) -> None:
    assert "by about 0.5 %" in print_prompt(trial.inputs(1))
    facts = dataclasses.replace(FACTS, margin_percent=0.1)
    schema.save(trial.base / "public" / "task.json", facts)
    for style in ("reply", "files"):
        assert "by about 0.1 %" in print_prompt(trial.inputs(1, style=style))


def test_a_second_question_is_bounded() -> None:
    reply = "begin" + "x" * 10**6 + "end"
    question = render_retry("PROMPT", reply, "reason")
    assert len(question) < QUOTED_CHARS + 1000
    assert "begin" in question and "xend" in question and "characters are left out" in question
    assert "(It was empty.)" in render_retry("PROMPT", " \n", "the reply is empty")


def test_the_digest_of_the_templates_is_of_what_is_used(monkeypatch: pytest.MonkeyPatch) -> None:
    digests = {template_digest(style, mode) for style, mode in MODES}
    assert len(digests) == len(MODES)
    assert template_digest() == template_digest("reply", "reproduce")
    from speedrun.stages.generate import templates

    before = {style: template_digest(style) for style in ("reply", "files")}
    original = templates.read_template
    monkeypatch.setattr(
        templates, "read_template", lambda name: original(name) + "!" * (name == "coder_reply")
    )
    assert template_digest("reply") != before["reply"]
    assert template_digest("files") == before["files"]


def test_every_template_belongs_to_a_digest() -> None:
    from speedrun.stages.generate import templates

    styles = {name for style in templates.STYLES.values() for name in style.values()}
    modes = {name for names in MODES.values() for name in names}
    found = {path.stem for path in (REPOSITORY / "src/speedrun/prompts").glob("coder*.md")}
    found |= {"preflight"}  # not of the judge, nor of summaries
    assert found == styles | modes | set(templates.SHARED)


VARIANTS: list[dict[str, Any]] = [
    {"style": style, "mode": mode, "memory": memory}
    for style, mode in MODES
    for memory in (False, True)
]


@pytest.mark.parametrize("variant", VARIANTS, ids=str)
def test_no_variant_leaves_a_placeholder_or_gaps(variant: dict[str, Any]) -> None:
    root = Attempt(0, 0, Outcome.OK, "", 10.0, 3.4, "", {"train.py": "x = 1\n"})
    missed = Attempt(1, 0, Outcome.MISSED_TARGET, "", None, 3.6, "digest", {"train.py": "x = 2\n"})
    for action in ("draft", "improve", "debug"):
        choice = Choice(0 if action == "draft" else 1, action, 2)
        prompt = render_prompt(FACTS, [root, missed], choice, {}, [], **variant)
        assert not re.search(r"\$[a-z{]", prompt)
        assert not re.search(r"\n{3,}", prompt) and prompt.endswith("\n")
