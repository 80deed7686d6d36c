"""analyze: rules of conduct, by code and by what the harness saw, on runs that are otherwise ok."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from analyze_run import ENDED, GOOD, TRACK, Run, protocol_line
from speedrun import cli, files, schema
from speedrun.rules import RULES
from speedrun.schema import Analysis, Outcome, Read, RunExit
from speedrun.stages import analyze as stage
from speedrun.stages.analyze import conduct, digest

START = "import os\n\nlr = 0.1\nprint(os.environ['SPEEDRUN_SEED'], lr)\n"
TARGET = START.replace("0.1", "0.4").replace("import os", "import os\nimport urllib.request")
RULED = dataclasses.replace(TRACK, rules=[*RULES, "reads"])
OPENED = [Read("train_000000.bin", 1, 0.2, 0.2), Read("val_000000.bin", 3, 1.0, 9.0)]
UNOPENED = [Read("train_000000.bin", 0, None, None), Read("val_000000.bin", 3, 1.0, 9.0)]
ATTACKS = {
    "network": "import socket\nsocket.create_connection(('198.51.100.1', 80))\n",
    "paths": "text = open('/etc/passwd').read()\n",
    "timers": "import time\ntime.perf_counter = lambda: 0.0\n",
}


@pytest.fixture
def run(tmp_path: Path) -> Run:
    task = tmp_path / "task"
    files.write_tree(task / "public" / "start", {"train.py": START})
    files.write_tree(task / "private" / "target", {"train.py": TARGET})
    (tmp_path / "node_1").mkdir()
    return Run(tmp_path / "node_1")


def analysed(
    run: Run,
    code: str,
    lines: list[tuple[float, str]] = GOOD,
    ended: RunExit = ENDED,
    track: schema.TrackSpec = RULED,
    task: bool = True,
    start: Path | None = None,
) -> Analysis:
    """Analyse a node with ``code`` whose run left ``lines``."""
    node = run.folder.parent
    run.analyze(lines, ended)
    files.write_tree(node / "solution", {"train.py": code})
    parent = schema.Parent(1, 0, 1, "draft", None, "", "", 3, 1)
    schema.save(node / "parent.json", parent)
    root = node.parent / "task" if task else None
    return stage.analyze_node(node, track, run.targets, task=root, start=start)


@pytest.mark.parametrize("rule", ATTACKS)
def test_a_violation_in_the_code_ends_an_otherwise_ok_node(run: Run, rule: str) -> None:
    found = analysed(run, START + ATTACKS[rule])
    assert found.outcome is Outcome.RULE_VIOLATION
    assert f"rule {rule}: " in found.reason
    assert "(train.py:" in found.reason
    assert found.time_s is None
    assert found.reason[:80] in found.digest


def test_a_cumulative_trial_is_not_blamed_for_what_its_own_start_does(
    run: Run, tmp_path: Path
) -> None:
    """The record beside it no longer reads that file; what is added is a breach all the same."""
    own, start = START + ATTACKS["paths"], tmp_path / "start"
    files.write_tree(start / "solution", {"train.py": own})
    link = {"from": "results/trials/nano/r01-r02/arm/s0", "node": 1, "ended": False}
    link |= {"reason": "r", "solution_digest": "d"}
    files.write_json(start / "chain.json", link)
    assert analysed(run, own).outcome is Outcome.RULE_VIOLATION
    assert analysed(run, own.replace("0.1", "0.3"), start=start).outcome is Outcome.OK
    for more in (ATTACKS["timers"], ATTACKS["paths"]):
        assert analysed(run, own + more, start=start).outcome is Outcome.RULE_VIOLATION
    files.write_json(start / "chain.json", link | {"ended": True, "node": None})
    assert analysed(run, own, start=start).outcome is Outcome.RULE_VIOLATION


@pytest.mark.parametrize("code", [START, TARGET, START.replace("0.1", "0.3")])
def test_start_target_and_honest_work_are_ok(run: Run, code: str) -> None:
    found = analysed(run, code)
    assert (found.outcome, found.reason) == (Outcome.OK, "")


def test_what_the_target_does_too_is_allowed_and_not_named(run: Run) -> None:
    found = analysed(run, TARGET + ATTACKS["paths"])
    assert found.outcome is Outcome.RULE_VIOLATION
    assert "urllib" not in found.reason + found.digest


def test_a_reason_tells_nothing_of_the_target(run: Run) -> None:
    target = run.folder.parent.parent / "task" / "private" / "target" / "train.py"
    target.write_text(TARGET + "SECRET_IDEA = 'muon'\n")
    found = analysed(run, START + "".join(ATTACKS.values()))
    page = (run.folder.parent / "summary.md").read_text()
    assert found.outcome is Outcome.RULE_VIOLATION
    for word in ("SECRET", "muon", "0.4", "urllib"):
        assert word not in found.reason + found.digest + page


def test_other_outcomes_stay_what_they_were(run: Run) -> None:
    cheat = START + ATTACKS["network"]
    missed = [(10.0, protocol_line(20, 3.9, 9800))]
    assert analysed(run, cheat, missed).outcome is Outcome.MISSED_TARGET
    crashed = dataclasses.replace(ENDED, exit_code=1)
    assert analysed(run, cheat, ended=crashed).outcome is Outcome.CANDIDATE_ERROR


def test_only_rules_of_the_track_are_held_against_a_node(run: Run) -> None:
    kept = dataclasses.replace(TRACK, rules=["paths"])
    assert analysed(run, START + ATTACKS["network"], track=kept).outcome is Outcome.OK
    assert analysed(run, START + ATTACKS["paths"], track=kept).outcome is Outcome.RULE_VIOLATION


def test_a_reference_is_run_without(run: Run) -> None:
    assert analysed(run, START + ATTACKS["network"], task=False).outcome is Outcome.OK


@pytest.mark.parametrize("reads", [None, OPENED, [OPENED[1]], []])
def test_a_run_that_opened_its_shard_or_was_not_watched_is_ok(
    run: Run, reads: list[Read] | None
) -> None:
    assert analysed(run, START, ended=dataclasses.replace(ENDED, reads=reads)).outcome is Outcome.OK


def test_a_run_that_never_opened_a_training_shard_learned_nothing_from_it(run: Run) -> None:
    ended = dataclasses.replace(ENDED, reads=UNOPENED)
    found = analysed(run, START, ended=ended)
    assert found.outcome is Outcome.RULE_VIOLATION
    assert found.reason == "rule reads: it never opened a training shard under data/"
    without = dataclasses.replace(RULED, rules=list(RULES))
    assert analysed(run, START, ended=ended, track=without).outcome is Outcome.OK


def test_a_run_that_rewrote_its_own_files_is_a_violation(run: Run) -> None:
    ended = dataclasses.replace(ENDED, changed=["train.py\x1b[2J", "b.py"])
    found = analysed(run, START, ended=ended)
    assert found.outcome is Outcome.RULE_VIOLATION
    assert found.reason.startswith("rule files: it changed its own files as it ran (train.py")
    assert found.reason.isprintable()


def test_many_violations_are_counted_and_bounded(run: Run) -> None:
    many = "".join(f"text_{i} = open('/etc/passwd{i}').read()\n" for i in range(9))
    found = analysed(run, START + many)
    assert found.reason.count("rule paths: ") == conduct.REASONS
    assert found.reason.endswith(" more")
    assert len(found.digest.splitlines()) <= digest.LINES


@settings(
    max_examples=5, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(st.text(max_size=300).filter(lambda text: text.isprintable()))
def test_any_code_gives_an_outcome(run: Run, code: str) -> None:
    found = analysed(run, code)
    assert found.outcome in (Outcome.OK, Outcome.RULE_VIOLATION)


def test_the_command_line_holds_a_node_to_the_rules(run: Run) -> None:
    analysed(run, START + ATTACKS["network"], task=False)
    node, track = run.folder.parent, json.dumps(schema.to_dict(RULED))
    (node / "meta.json").write_text(json.dumps({"vocab_size": None}))
    words = ["analyze", "--track", track, "--shards", str(node), "--folder", str(node)]
    words += ["--targets", str(run.targets)]
    for more, outcome in (([], "ok"), (["--task", str(node.parent / "task")], "rule_violation")):
        assert cli.main([*words, *more]) == 0
        assert files.read_json(node / "analysis.json")["outcome"] == outcome
