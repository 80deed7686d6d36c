"""The digest: what the next generation reads of a run, whatever the run printed."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from digest_runs import CRASHED, ENDED, GOOD, SLOWER, TRACK, Lines, analyzed, point
from running import PROTOCOL
from speedrun import cli, schema
from speedrun.files import SpeedrunError
from speedrun.schema import Outcome, Parent, RunExit
from speedrun.stages import analyze as stage
from speedrun.stages.analyze import digest, reading

# --- the digest of a run that came to its end ---


def test_a_good_run_without_a_parent(tmp_path: Path) -> None:
    assert analyzed(tmp_path, GOOD).digest.splitlines() == [
        "outcome: ok",
        "time: 10.00 s to the target",
        "memory at most: 99 MB of main memory",
        "val_loss by step, of 20: 10: 4.0000 at 4.0 s; 20: 3.4000 at 10.0 s",
    ]


def test_a_run_is_held_against_its_parent(tmp_path: Path) -> None:
    parent = analyzed(tmp_path, SLOWER)
    lines = analyzed(tmp_path, GOOD, before=parent).digest.splitlines()
    assert lines[1] == "time: 10.00 s to the target, 0.800 times that of attempt 1 (12.50 s)"
    assert lines[-2:] == [
        "val_loss less that of attempt 1 at the same steps: 10: -0.2000; 20: -0.0500",
        "last val_loss: 3.4000 at step 20, attempt 1 had 3.4500 at step 20 (-0.0500)",
    ]


def test_a_run_that_missed_the_target_is_compared_too(tmp_path: Path) -> None:
    parent = analyzed(tmp_path, SLOWER)
    missed = analyzed(tmp_path, [point(7, 5.0, 4.0, 14), point(14, 3.6, 10.0, 14)], before=parent)
    lines = missed.digest.splitlines()
    assert lines[:3] == [
        "outcome: missed_target",
        "reason: the last val_loss is 3.6, the target 3.5",
        "time: 10.00 s to its end, 0.800 times that of attempt 1 (12.50 s)",
    ]
    assert lines[-2].endswith("at the same steps: no step in common")
    assert lines[-1].endswith("3.6000 at step 14, attempt 1 had 3.4500 at step 20 (+0.1500)")


def test_a_parent_without_a_curve_is_not_compared(tmp_path: Path) -> None:
    parent = analyzed(tmp_path, [], CRASHED)
    assert "attempt 1" not in analyzed(tmp_path, GOOD, before=parent).digest


def test_printed_gpu_memory_is_told(tmp_path: Path) -> None:
    lines = [*GOOD, (10.0, "peak memory allocated: 30141 MiB reserved: 45096 MiB")]
    found = analyzed(tmp_path, lines).digest
    assert "30141 MiB allocated on a GPU, as printed, 45096 MiB reserved there" in found


@pytest.mark.parametrize(
    ("reason", "outcome"), [("timeout", Outcome.TIMEOUT), ("oom", Outcome.OOM)]
)
def test_a_cap_is_told_with_how_far_the_run_came(
    tmp_path: Path, reason: str, outcome: Outcome
) -> None:
    ended = dataclasses.replace(ENDED, reason=reason, exit_code=None, signal=9)
    lines = analyzed(tmp_path, GOOD[:1], ended).digest.splitlines()
    assert lines[0] == f"outcome: {outcome}"
    assert "time: ended after 11.0 s" in lines
    assert lines[-1] == "val_loss by step, of 20: 10: 4.0000 at 4.0 s"


def test_a_run_that_never_began_quotes_nothing(tmp_path: Path) -> None:
    ended = RunExit(ran=False, reason="not_run: solution has no train.py")
    found = analyzed(tmp_path, [], ended).digest
    assert found == "outcome: candidate_error\nreason: solution has no train.py"


# --- where the parent's analysis lies ---


def node(trial: Path, number: int, parent: int, lines: Lines) -> Path:
    folder = trial / f"node_{number}"
    analyzed(folder, lines)
    schema.save(
        folder / "parent.json", Parent(number, parent, 1, "draft", None, "", "d" * 64, 0, 0)
    )
    return folder


def test_the_parents_analysis_lies_beside_or_is_the_roots(tmp_path: Path) -> None:
    root = tmp_path / "root.json"
    schema.save(root, analyzed(tmp_path / "reference", SLOWER))
    first = stage.analyze_node(node(tmp_path, 1, 0, GOOD), TRACK, None, root_analysis=root)
    assert "0.800 times that of the start record (12.50 s)" in first.digest
    second = stage.analyze_node(node(tmp_path, 2, 1, SLOWER), TRACK, None, root_analysis=root)
    assert "1.250 times that of attempt 1 (10.00 s)" in second.digest
    assert "times that" not in stage.analyze_node(tmp_path / "node_1", TRACK, None).digest


def test_a_parent_that_is_not_analysed_is_our_failure(tmp_path: Path) -> None:
    folder = node(tmp_path, 2, 1, GOOD)
    with pytest.raises(SpeedrunError, match=r"node_1/analysis\.json is missing"):
        stage.analyze_node(folder, TRACK, None)


def test_the_command_line_takes_the_roots_analysis(tmp_path: Path) -> None:
    schema.save(tmp_path / "root.json", analyzed(tmp_path / "reference", SLOWER))
    (tmp_path / "meta.json").write_text('{"vocab_size": null}')
    folder = node(tmp_path, 1, 0, GOOD)
    words = ["analyze", "--track", json.dumps(schema.to_dict(TRACK)), "--shards", str(tmp_path)]
    words += ["--folder", str(folder), "--root-analysis", str(tmp_path / "root.json")]
    assert cli.main(words) == 0
    assert "times that of the start record" in (folder / "summary.md").read_text()


# --- nothing that was printed is trusted ---

printed = st.text(max_size=60) | st.sampled_from(
    ["Traceback (most recent call last):", '  File "/candidate/a.py", line 3, in f',
     "ValueError: x", "    source()", "```", "~~~~", "# Task",
     "[rank1]: Traceback (most recent call last):",
     '[rank1]:   File "b.py", line 1, in <module>', "[rank1]: OSError", "", "\x1b[31mred",
     "During handling of the above exception, another exception occurred:", "x" * 5000,
     "E1122 10:50:53.1 17 torch/distributed/elastic/x", PROTOCOL, "A.ChildFailedError: "]
)  # fmt: skip


@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(printed, max_size=25))
def test_any_output_gives_a_bounded_harmless_digest(tmp_path: Path, lines: list[str]) -> None:
    stamped = [(1.0, line) for line in lines]
    found = analyzed(tmp_path, stamped, CRASHED, before=analyzed(tmp_path, SLOWER)).digest
    assert found == analyzed(tmp_path, stamped, CRASHED, before=analyzed(tmp_path, SLOWER)).digest
    shown = found.split("\n")
    assert len(shown) <= digest.LINES
    assert max(map(len, shown)) <= reading.COLUMNS
    assert all(line.isprintable() for line in shown)
    assert "```" not in found
    assert "~~~" not in found
    starts = ("outcome: ", "reason: ", "error", "  | ", "last ", "raised in: ", "time: ",
              "memory ", "val_loss ")  # fmt: skip
    assert all(line.startswith(starts) for line in shown)


def test_a_coders_reason_stays_one_line(tmp_path: Path) -> None:
    folder = node(tmp_path, 1, 0, [])
    reason = "unreadable reply:\n```python\n\x07" + "y" * 900
    unreadable = Parent(1, 0, 1, "draft", Outcome.CANDIDATE_ERROR, reason, "", 0, 0)
    schema.save(folder / "parent.json", unreadable)
    schema.save(folder / "run" / "exit.json", RunExit(ran=False, reason="not_run"))
    lines = stage.analyze_node(folder, TRACK, None).digest.split("\n")
    assert len(lines) == 2
    assert lines[1].startswith("reason: unreadable reply: '''python \N{REPLACEMENT CHARACTER}yyy")
    assert lines[1].endswith("y...")
