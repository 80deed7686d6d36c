"""Prompts: recorded ones are unchanged, variants say what they must, and nothing else leaks in."""

from __future__ import annotations

import dataclasses
import json
import re
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from speedrun import cli, files, schema
from speedrun.adapters.coders.replay import drift
from speedrun.files import SpeedrunError
from speedrun.schema import Outcome, Parent, TaskFacts
from speedrun.search import Choice, Scaffold
from speedrun.stages.generate import (
    Attempt,
    NodeInputs,
    build_request,
    print_prompt,
    retrieval_query,
    template_digest,
)
from speedrun.stages.generate.history import (
    DIGEST_CHARS,
    HISTORY_CHARS,
    LINE_CHARS,
    MEMOS_CHARS,
    render_history,
    render_memos,
)
from speedrun.stages.generate.prompt import QUOTED_CHARS, render_hints, render_prompt, render_retry
from speedrun.stages.generate.templates import MODES, read_template
from trial_builder import FACTS, FLAT, HINTS, START, Trial, analysis

REPOSITORY = Path(__file__).resolve().parents[1]
RECORDED = sorted((REPOSITORY / "replies" / "coder").glob("micro/*/*/s*_n*_t0"))
AIDE = Scaffold("aide", 1, 1, p_debug=1.0, max_debug_depth=5)
FASTER = {"train.py": START["train.py"].replace("600", "300")}


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


@pytest.mark.parametrize(
    ("outcome", "loss", "said"),
    [
        (Outcome.MISSED_TARGET, 3.7, "ran to its end but missed the target"),
        (Outcome.CANDIDATE_ERROR, None, "which gave no result"),
        (Outcome.OOM, None, "which gave no result"),
    ],
)
def test_a_debug_step_is_told_what_to_mend(
    trial: Trial, outcome: Outcome, loss: float | None, said: str
) -> None:
    aide = Trial(trial.base, AIDE)
    aide.add(1, 0, outcome, None, loss, FASTER)
    request = build_request(aide.inputs(2))
    assert request.choice.action == "debug" and request.base == FASTER
    prompt = request.prompt
    assert "## Mend this attempt first" in prompt and said in prompt
    assert prompt.count("#### Attempt 1, from the start record") == 1  # not in the history too
    assert f"{outcome}, no time" in prompt and "digest 1" in prompt
    assert "    +STEPS: int = 300; WARMUP = 20" in prompt
    assert "Earlier attempts" not in prompt


def test_an_improvement_names_the_best(trial: Trial) -> None:
    trial.add(1, 0, Outcome.OK, 7.5, 3.49, FASTER)
    prompt = print_prompt(trial.inputs(2))
    assert "Attempt 1 is the fastest attempt up to now: ok, 7.50 s, loss 3.4900" in prompt
    assert "Mend" not in prompt and "Go on from" not in print_prompt(trial.inputs(1))


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


def _long(node: int, outcome: Outcome, size: int) -> Attempt:
    body = "".join(f"x_{node}_{line} = {'y' * size}\n" for line in range(200))
    loss = 3.4 if outcome is Outcome.OK else None
    time_s = 9.0 - node / 100 if outcome is Outcome.OK else None
    digest = f"digest of {node}: " + "z" * size * 10
    return Attempt(node, 0, outcome, "", time_s, loss, digest, {"train.py": body})


@settings(deadline=None, max_examples=30)
@given(
    st.lists(st.sampled_from(list(Outcome)), max_size=20),
    st.integers(0, 3000),
)
def test_a_history_is_bounded_and_the_first_of_each_kind_are_served_first(
    outcomes: list[Outcome], size: int
) -> None:
    root = Attempt(0, 0, Outcome.OK, "", 10.0, 3.4, "", dict(START))
    history = [root, *(_long(node, outcome, size) for node, outcome in enumerate(outcomes, 1))]
    shown = render_history(history)
    assert len(shown) < HISTORY_CHARS + 3000
    assert len(shown) == 0 or max(map(len, shown.split("\n"))) <= max(DIGEST_CHARS, LINE_CHARS + 4)
    headings = re.findall(r"#### Attempt (\d+),", shown)
    assert len(headings) == len(set(headings)) >= min(len(outcomes), 3)
    best = re.search(r"### Better: \d+, showing \d+\n\n#### Attempt (\d+),", shown)
    assert best is None or f"+x_{best[1]}_0" in shown  # the best always with its change


def test_what_does_not_fit_is_said() -> None:
    root = Attempt(0, 0, Outcome.OK, "", 10.0, 3.4, "", dict(START))
    outcomes = [Outcome.OK] * 3 + [Outcome.TIMEOUT] * 3
    shown = render_history([root, *(_long(n, o, 3000) for n, o in enumerate(outcomes, 1))])
    assert "(There is more of it, which does not fit here.)" in shown
    assert "characters are left out here" in shown  # of a digest


@pytest.mark.parametrize("digest", ["outcome: timeout\nreason: took 60 s\n", "no word of it", ""])
def test_a_reason_is_told_once(digest: str) -> None:
    root = Attempt(0, 0, Outcome.OK, "", 10.0, 3.4, "", {})
    failed = Attempt(1, 0, Outcome.TIMEOUT, "took 60 s", None, None, digest, {})
    shown = render_history([root, failed])
    assert shown.count("took 60 s") == 1 and digest.strip() in shown


def test_of_a_file_written_anew_the_new_lines_are_shown() -> None:
    old = {"train.py": "".join(f"old {line}\n" for line in range(500))}
    root = Attempt(0, 0, Outcome.OK, "", 10.0, 3.4, "", old)
    anew = {"train.py": "".join(f"new {line}\n" for line in range(500))}
    shown = render_history([root, Attempt(1, 0, Outcome.TIMEOUT, "", None, None, "", anew)])
    assert "    -old 4\n" in shown and "-old 5" not in shown and "+new 40" in shown
    assert "    (495 more lines removed)\n" in shown and "more lines)" in shown


def test_a_track_says_how_far_below_the_target_to_stay(trial: Trial) -> None:
    assert "by about 0.5 %" in print_prompt(trial.inputs(1))
    facts = dataclasses.replace(FACTS, margin_percent=0.1)
    schema.save(trial.base / "public" / "task.json", facts)
    for style in ("reply", "files"):
        assert "by about 0.1 %" in print_prompt(trial.inputs(1, style=style))


def test_a_scratchpad_is_bounded_and_keeps_the_latest() -> None:
    root = Attempt(0, 0, Outcome.OK, "", 10.0, 3.4, "", {})
    memos = [
        Attempt(node, 0, Outcome.OK, "", 9.0, 3.4, "", {}, memo=f"memo {node} " + "m" * 1900)
        for node in range(1, 21)
    ]
    shown = render_memos([root, *memos])
    assert len(shown) < MEMOS_CHARS + 1000 and "memo 20 " in shown and "memo 1 " not in shown
    assert render_memos([root]) == ""


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


DOCUMENTS = sorted((REPOSITORY / "knowledge").rglob("*.md"))


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # PyTorch's own, as it compiles
@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.stem)
def test_the_examples_of_our_documents_run(document: Path) -> None:
    blocks = re.findall(r"^```python\n(.*?)^```$", document.read_text(), re.MULTILINE | re.DOTALL)
    assert blocks
    exec(compile("\n\n".join(blocks), document.name, "exec"), {})


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.stem)
def test_our_documents_name_their_sources(document: Path) -> None:
    text = document.read_text()
    assert "## Sources" in text and "https://arxiv.org/abs/" in text
    assert max(map(len, text.split("\n"))) <= 120
