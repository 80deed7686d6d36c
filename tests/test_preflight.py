"""preflight: which drafts may go on, and what a coder is told of the others and makes of it."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pytest

import test_train_imports
from speedrun import files, schema
from speedrun.adapters.coders.drafted import Drafted, read_draft
from speedrun.files import SpeedrunError
from speedrun.schema import Call, Outcome, Parent, Proposal, RunExit
from speedrun.stages import analyze, preflight
from speedrun.stages.generate import CoderRequest, build_request, generate
from train_bench import LINE, SPEC, Bench
from trial_builder import START, Trial

ENDED = RunExit(True, "exited", 0, cpu_total_s=2.5, wall_s=9.0, device="cpu")
TRAIN_LINE = "step:1/9 train_loss:3.0 train_time:1ms step_avg:1ms"
CALL = Call(0, "p", "r", 100, 10, 0.5, 1.0, "model")


def draft(folder: Path, solution: dict[str, str] | None) -> Path:
    """Write a draft as generate leaves it."""
    outcome = None if solution is not None else Outcome.REFUSED
    parent = Parent(1, 0, 1, "draft", outcome, "", "d", 1, 1, {"lr": 1}, memo="noted")
    files.write_tree(folder / "solution", solution or {})
    schema.save(folder / "parent.json", parent)
    files.write_text(folder / "prompt.md", "the first question")
    files.write_tree(folder / "replies", {"turn_0.md": "first"})
    files.write_text(folder / "calls.jsonl", files.canonical_json(schema.to_dict(CALL)) + "\n")
    files.write_json(folder / "generate.record.json", {"params": {"reach": "model, proxy"}})
    return folder


def nothing(run: Path) -> list[str]:
    return []


def run(folder: Path, code: str, timeout_s: float = 20.0) -> preflight.Checked:
    """Check a draft of one file by a real run in the sandbox."""
    bench = Bench(folder)
    made = draft(folder / "draft", {"train.py": code})
    bench.solution = made / "solution"

    def train(out: Path) -> RunExit:
        bench.out = out
        return bench.train(None, timeout_s=timeout_s, device="cpu")

    found = preflight.preflight(made, train, analyze.error_lines, parses_alike=True)
    assert preflight.load(made) == found
    return found


def test_a_crash_is_the_finding(tmp_path: Path) -> None:
    code = "print('loading')\ndef f(x):\n    return {}[x]\nf('no such key')\n"
    found = run(tmp_path, code)
    assert (found.passed, found.reason) == (False, "exit code 1")
    lines = found.finding.splitlines()
    assert lines[:2] == ["exit code 1", "error: KeyError: 'no such key'"]
    assert any("train.py, line 3, in f" in line for line in lines)
    assert "loading" not in found.finding
    assert str(tmp_path) not in found.finding
    assert found.device_seconds is not None  # CPU time comes in ticks: it may round to 0


@pytest.mark.parametrize(
    ("code", "reason"),
    [
        ("import time\nwhile True: time.sleep(0.01)\n", "still running at the end of its time"),
        ("print('done')\n", "ended cleanly"),
        (f"print({LINE!r}, flush=True)\nraise SystemExit(3)\n", "printed a step"),
        (f"print({TRAIN_LINE!r}, flush=True)\nraise SystemExit(3)\n", "printed a step"),
    ],
)
def test_what_runs_passes(tmp_path: Path, code: str, reason: str) -> None:
    found = run(tmp_path, code, timeout_s=1.0 if "sleep" in code else 20.0)
    assert (found.passed, found.reason, found.finding) == (True, reason, "")


def test_a_missing_module_and_a_signal_are_findings(tmp_path: Path) -> None:
    found = run(tmp_path, "import no_such_module\n")
    assert "ModuleNotFoundError: No module named 'no_such_module'" in found.finding
    other = tmp_path / "other"
    other.mkdir()
    found = run(other, "import os, signal\nos.kill(os.getpid(), signal.SIGSEGV)\n")
    assert (found.passed, "11" in found.reason) == (False, True)


@pytest.mark.parametrize(
    ("solution", "said"),
    [
        ({"train.py": "x = 1\n", "model.py": "def f(:\n    pass\n"}, "model.py does not parse"),
        ({"train.py": "x = 1\0\n"}, "train.py does not parse"),
        ({"train.py": "x = " + "(" * 5000 + ")" * 5000}, "train.py does not parse"),
    ],
)
def test_what_does_not_parse_is_not_run(
    tmp_path: Path, solution: dict[str, str], said: str
) -> None:
    made = draft(tmp_path, solution)
    found = preflight.preflight(made, lambda out: pytest.fail("run"), nothing, parses_alike=True)
    assert not found.passed and found.finding.startswith(said)
    assert found.device_seconds == 0.0


def test_another_python_is_asked_by_running(tmp_path: Path) -> None:
    """Python 3.12 may parse what ours does not."""
    made = draft(tmp_path, {"train.py": "def f(:\n"})

    def ran(out: Path) -> RunExit:
        files.write_text(out / "log.jsonl", "")
        return ENDED

    assert preflight.preflight(made, ran, nothing, parses_alike=False).passed


def test_only_a_warning_is_no_fault(tmp_path: Path) -> None:
    files.write_tree(tmp_path, {"train.py": "x = '\\d'\nassert (1, 'always')\n", "notes.md": "("})
    assert preflight._unparsed(tmp_path) == ""


def test_a_draft_without_code_is_not_checked(tmp_path: Path) -> None:
    made = draft(tmp_path, None)
    found = preflight.preflight(made, lambda out: pytest.fail("run"), nothing, parses_alike=True)
    assert (found.passed, found.reason) == (True, "nothing to check: refused")


@pytest.mark.parametrize(
    ("ended", "stepped", "passed"),
    [
        (ENDED, False, True),
        (dataclasses.replace(ENDED, exit_code=1), False, False),
        (dataclasses.replace(ENDED, exit_code=1), True, True),
        (dataclasses.replace(ENDED, reason="timeout", exit_code=None), False, True),
        (dataclasses.replace(ENDED, reason="oom", exit_code=None), False, False),
        (dataclasses.replace(ENDED, exit_code=None, signal=9), False, False),
        (RunExit(False, "not_run: solution has no train.py"), False, False),
    ],
)
def test_the_verdict(ended: RunExit, stepped: bool, passed: bool) -> None:
    found = preflight.judge(ended, stepped)
    assert found.passed is passed
    assert bool(found.finding) is not passed
    assert found.device_seconds == (2.5 if ended.ran else 0.0)


def test_on_gpus_the_time_is_the_walls() -> None:
    gpus = schema.Gpus(["H100", "H100"], "570", [0, 0])
    found = preflight.judge(dataclasses.replace(ENDED, device="cuda", gpus=gpus), False)
    assert (found.device_seconds, found.devices) == (9.0, 2)


def test_the_verb_runs_on_a_bare_node(tmp_path: Path) -> None:
    test_train_imports._write_inputs(tmp_path, tmp_path / "public")
    schema.save(tmp_path / "parent.json", Parent(1, 0, 1, "draft", None, "", "", 0, 0))
    files.write_tree(tmp_path / "solution", {"train.py": "import no_such_module\n"})
    spec = dataclasses.replace(SPEC, device="cpu")
    given = {"entry": "train.py", "shards": tmp_path, "folder": tmp_path, "timeout-s": 9}
    given["spec"] = json.dumps(schema.to_dict(spec))
    options = [f"--{name}={value}" for name, value in given.items()]
    answer = test_train_imports._bare(["-m", "speedrun", "preflight", *options])
    assert (answer.returncode, answer.stderr) == (0, "")
    found = preflight.load(tmp_path)
    assert not found.passed and "No module named 'no_such_module'" in found.finding
    record = schema.load(schema.StageRecord, tmp_path / "preflight.record.json")
    assert record.params == {"passed": False, "reason": "exit code 1"}


# --- the draft's coder ----------------------------------------------------------------------------


class Second:
    """A coder that is asked once more; it answers with new files, or with nothing."""

    def __init__(self, solution: dict[str, str] | None) -> None:
        self.solution, self.asked = solution, list[CoderRequest]()

    def __call__(self, request: CoderRequest) -> Proposal:
        self.asked.append(request)
        outcome = None if self.solution is not None else Outcome.CANDIDATE_ERROR
        call = dataclasses.replace(CALL, purpose=request.purpose)
        return Proposal(
            self.solution, outcome, "unreadable" if outcome else "", [call],
            prompt=request.prompt, replies=["second"], reach=["model"],
        )  # fmt: skip


BROKEN = {"train.py": START["train.py"] + "boom()\n"}
FAILED = preflight.Checked(False, "exit code 1", "exit code 1\nNameError: boom ```\n# Rules", 1.5)


@pytest.fixture
def failed(tmp_path: Path) -> Path:
    made = draft(tmp_path / "draft", BROKEN)
    schema.save(made / preflight.RESULT, FAILED)
    return made


def test_a_draft_that_failed_goes_back_to_its_coder_once(tmp_path: Path, failed: Path) -> None:
    trial, coder = Trial(tmp_path).start(), Second(START)
    out = trial.folder / "node_1"
    parent = generate(trial.inputs(1), Drafted(coder, failed), out)
    [asked] = coder.asked
    assert (asked.purpose, asked.base) == ("preflight", BROKEN)
    assert asked.prompt.startswith(build_request(trial.inputs(1)).prompt)
    assert "    NameError: boom ```\n    # Rules\n" in asked.prompt
    assert "boom()" in asked.prompt.split("# Your draft failed")[1]
    assert files.read_tree(out / "solution") == START
    assert (parent.lines_added, parent.lines_removed) == (0, 0)  # against the parent
    assert parent.memo == ""  # this arm has no scratchpad
    assert len((out / "calls.jsonl").read_text().splitlines()) == 2
    assert files.read_tree(out / "replies") == {"turn_0.md": "first", "turn_1.md": "second"}
    assert (out / "prompt.md").read_text() == asked.prompt


@pytest.mark.parametrize("style", ["reply", "files"])
def test_of_a_draft_its_changes_are_shown(tmp_path: Path, style: str) -> None:
    solution = START | {"new.py": "boom()\n"}
    made = draft(tmp_path / "draft", solution)
    schema.save(made / preflight.RESULT, FAILED)
    trial, coder = Trial(tmp_path).start(), Second(solution)
    inputs = trial.inputs(1, style=style)
    generate(inputs, Drafted(coder, made), trial.folder / "node_1")
    told = coder.asked[0].prompt.split("# Your draft failed")[1]
    assert "new.py" in told and "train.py" not in told
    assert ("boom()\n" in told) == (style == "reply")  # an agent finds it in its folder


def test_what_comes_back_is_final(tmp_path: Path, failed: Path) -> None:
    trial = Trial(tmp_path).start()
    parent = generate(trial.inputs(1), Drafted(Second(None), failed), trial.folder / "node_1")
    assert (parent.outcome, parent.reason) == (Outcome.CANDIDATE_ERROR, "unreadable")


@pytest.mark.parametrize("solution", [START, None])
def test_a_draft_that_passed_or_has_no_code_is_the_answer(
    tmp_path: Path, solution: dict[str, str] | None
) -> None:
    made = draft(tmp_path / "draft", solution)
    schema.save(made / preflight.RESULT, preflight.Checked(True, "ended cleanly"))
    coder = Second(START)
    trial = Trial(tmp_path).start()
    out = trial.folder / "node_1"
    parent = generate(trial.inputs(1), Drafted(coder, made), out)
    assert coder.asked == []
    assert parent.outcome is (None if solution else Outcome.REFUSED)
    assert files.read_tree(out / "solution") == (solution or {})
    for name in ("calls.jsonl", "prompt.md", "replies/turn_0.md"):
        assert (out / name).read_bytes() == (made / name).read_bytes()


def test_a_draft_is_read_as_it_was_proposed(failed: Path) -> None:
    found = read_draft(failed)
    assert (found.files, found.calls, found.replies) == (BROKEN, [CALL], ["first"])
    assert (found.notes, found.memo, found.reach) == ({"lr": 1}, "noted", ["model", "proxy"])


def test_a_draft_that_was_not_checked_is_an_error(tmp_path: Path) -> None:
    made = draft(tmp_path / "draft", START)
    trial = Trial(tmp_path).start()
    with pytest.raises(SpeedrunError, match=r"preflight\.json"):
        generate(trial.inputs(1), Drafted(Second(START), made), trial.folder / "node_1")
